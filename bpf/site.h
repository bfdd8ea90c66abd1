/*
 * A place of a program, a library or the kernel, and the values to be found there.
 *
 * A program that is attached to many places, which differ in where their arguments are, is loaded once for
 * each of them. What is known of the place is read-only data, so the verifier drops what does not concern
 * it; nothing has to be looked up when the place is hit, on any kernel.
 */
#pragma once

#include "filter.h"

const volatile struct site_event site SEC(".rodata.site") = {};

/* Contexts are read by a helper: the verifier wants offsets that stand in the instruction. */
static __always_inline __u64 register_at(void *ctx, __s32 at)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + at);
	return value;
}

/* The `bytes` last bytes of a value, as a number of 64 bits. */
static __always_inline __u64 number(__u64 value, __s32 bytes, __s32 is_signed)
{
	switch (bytes) {
	case 1:
		return is_signed ? (__u64)(__s64)(__s8)value : (__u8)value;
	case 2:
		return is_signed ? (__u64)(__s64)(__s16)value : (__u16)value;
	case 4:
		return is_signed ? (__u64)(__s64)(__s32)value : (__u32)value;
	default:
		return value;
	}
}

/* The value of an operand; whether it could be read. */
static __always_inline bool operand(void *ctx, const volatile struct operand *it, __u64 *result)
{
	__u64 value = 0, address;
	__u32 bytes = it->bytes == 1 ? 1 : it->bytes == 2 ? 2 : it->bytes == 4 ? 4 : 8;
	bool known = true;

	switch (it->place) {
	case PLACE_REGISTER:
		value = register_at(ctx, it->register_at);
		break;
	case PLACE_CONSTANT:
		value = (__u64)it->displacement;
		break;
	case PLACE_MEMORY:
		address = (__u64)it->displacement;
		if (it->register_at >= 0)
			address += register_at(ctx, it->register_at);
		if (it->index_at >= 0)
			address += register_at(ctx, it->index_at) * (__u64)it->scale;
		known = !bpf_probe_read_user(&value, bytes, (void *)address);
		break;
	case PLACE_FIELD:
		known = !bpf_probe_read_kernel(&value, bytes, ctx + it->displacement);
		break;
	default:
		known = false;
	}
	*result = number(value, it->bytes, it->is_signed);
	return known;
}

/* The same, or UNKNOWN_64. */
static __always_inline __s64 operand_or_unknown(void *ctx, const volatile struct operand *it)
{
	__u64 value;

	return operand(ctx, it, &value) ? (__s64)value : UNKNOWN_64;
}

/*
 * Copies the text that an operand is, or is the address of, into the TEXT_BYTES at `to`. Its length with its
 * NUL, or without where it was cut; 0 if it cannot be read.
 */
static __always_inline __u32 operand_text(void *ctx, const volatile struct operand *it, char *to)
{
	__u32 place = 0;
	__u64 address;
	long length;

	if (it->place == PLACE_LOCATED) {
		if (bpf_probe_read_kernel(&place, sizeof(place), ctx + it->displacement))
			return 0;
		length = bpf_probe_read_kernel_str(to, TEXT_BYTES, ctx + (place & 0xffff));
	} else if (it->text == 3) {
		/* A field of fixed length, which need not end with NUL. */
		__u32 room = it->bytes < TEXT_BYTES ? (__u32)it->bytes : TEXT_BYTES;

		length = bpf_probe_read_kernel(to, room, ctx + it->displacement);
		length = length ? length : room;
		return length < 0 ? 0 : (__u32)length;
	} else {
		if (!operand(ctx, it, &address) || !address)
			return 0;
		length = it->text == 1 ? bpf_probe_read_user_str(to, TEXT_BYTES, (void *)address) :
					 bpf_probe_read_kernel_str(to, TEXT_BYTES, (void *)address);
	}
	if (length < 0 || length > TEXT_BYTES)
		return 0;
	/* Of an empty text in user memory, kernels before 6.15 tell 0 bytes (strncpy_from_user_nofault). */
	if (!length)
		length = 1;
	return length == TEXT_BYTES ? TEXT_BYTES - 1 : (__u32)length;
}

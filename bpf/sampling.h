/*
 * Which allocations of programs are recorded, where some are left out: by size, or by lot. Of a block whose
 * allocation was left out the free is left out too, so recorded blocks are known here.
 */
#pragma once

#include "filter.h"

/* A recorded block, where some allocations are left out: then only the frees of recorded ones are kept. */
struct block {
	__u64 address;
	__u64 tgid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, struct block);
	__type(value, __u8);
} heap_blocks SEC(".maps");

/* What allocations stand for, by their size in steps of the sampling rate. User space fills it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* user space puts its own map in place of this */
	__type(key, __u32);
	__type(value, __u64);
} weights SEC(".maps");

static __always_inline bool selective(void)
{
	return settings.alloc_sample || settings.min_size || settings.max_size;
}

/*
 * How many bytes a sampled allocation stands for: s / P(s), with P(s) = 1 - e^(-s/R), the chance that one
 * of the points that a Poisson process scatters over the bytes, one for each R, falls into it. Between the
 * steps of the table it is interpolated, and P is taken as s / weight: whatever the table's error, the
 * estimate has none.
 */
static __always_inline __u64 weight(__u64 bytes)
{
	__u64 rate = (__u64)settings.alloc_sample, scaled = bytes * WEIGHT_STEPS;
	__u32 step, next;
	__u64 *low, *high;

	if (bytes >= rate * (WEIGHTS / WEIGHT_STEPS))
		return bytes;
	step = (__u32)(scaled / rate);
	next = step + 1;
	low = bpf_map_lookup_elem(&weights, &step);
	high = bpf_map_lookup_elem(&weights, &next);
	if (!low || !high)
		return bytes;
	return *low + (*high - *low) * (scaled % rate) / rate;
}

/* Whether an allocation of so many bytes is recorded, and what it stands for then. */
static __always_inline bool choose(__s64 size, __s64 *stands_for)
{
	__u64 bytes = size > 0 ? (__u64)size : 1, rate = (__u64)settings.alloc_sample, lot, represented;

	*stands_for = UNKNOWN_64;
	/* A size that is not known did not fit 64 bits. */
	if (size == UNKNOWN_64 ? settings.max_size :
				 size < settings.min_size || (settings.max_size && size > settings.max_size))
		return false;
	if (!rate || size == UNKNOWN_64)
		return true;
	lot = bpf_get_prandom_u32();
	/* What it would stand for is never less than R: for most this is the end. */
	if (bytes < rate && lot * rate >= bytes << 32)
		return false;
	represented = weight(bytes);
	*stands_for = (__s64)represented;
	return represented <= bytes || lot * represented < bytes << 32;
}

/* Forgets a recorded block; whether it was one. Children that inherited their parent's have no list. */
static __always_inline bool forget_block(__u64 address)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct block block = { address, tgid };
	__u8 *target;

	/* Most frees are of others: looking takes no lock. */
	if (bpf_map_lookup_elem(&heap_blocks, &block) && !bpf_map_delete_elem(&heap_blocks, &block))
		return true;
	target = settings.alloc_follow ? bpf_map_lookup_elem(&targets, &tgid) : NULL;
	return target && *target == TARGET_FORKED;
}

static __always_inline bool remember_block(__u64 address)
{
	struct block block = { address, bpf_get_current_pid_tgid() >> 32 };
	__u8 one = 1;

	return !bpf_map_update_elem(&heap_blocks, &block, &one, BPF_ANY);
}

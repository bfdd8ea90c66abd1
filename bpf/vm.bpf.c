// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Memory that programs map and unmap, by their system calls. Calls of 32-bit programs are left out: their
 * numbers mean others.
 */
#include "calls.h"
#include "pending.h"
#include "stacks.h"

#define MAP_ANONYMOUS 0x20

struct pending {
	__u64 since;
	__u64 address; /* the first argument */
	__u64 length;
	__u64 new_length;
	__u64 heap_end; /* before brk */
	__s32 flags;
	__s32 protection;
	__s32 fd;
	__u32 call;
};

PENDING;

static __always_inline __u64 pages(__u64 length)
{
	__u64 page = (__u64)settings.page_size;

	return (length + page - 1) & ~(page - 1);
}

#if defined(__TARGET_ARCH_x86)
/* Further behind its start than this no function that only makes a system call has the instruction. */
#define WRAPPER_BYTES 64

static __always_inline bool makes_the_call(__u64 function, __u64 ip)
{
	return function < ip && ip - function <= WRAPPER_BYTES;
}

/* The first bytes of code, as a number. */
static __always_inline __u32 first_bytes(__u64 address, __u32 count)
{
	__u32 bytes = 0;

	bpf_probe_read_user(&bytes, count, (void *)address);
	return bytes;
}

/* Where a `jmp` or `call` through a pointer leads, whose displacement ends at `next`. */
static __always_inline __u64 through_pointer(__u64 next)
{
	__s32 displacement = 0;
	__u64 to = 0;

	bpf_probe_read_user(&displacement, sizeof(displacement), (void *)(next - 4));
	bpf_probe_read_user(&to, sizeof(to), (void *)(next + displacement));
	return to;
}

/*
 * The function that called the one which makes the system call. The C library's have no frame, so that a
 * walk by frame pointers misses their caller; but the return address is where the stack pointer points.
 * It is one if the instruction before it is a call of the function that we are in: directly, through a
 * pointer, or through an entry of the procedure linkage table. Anything else is no frame of ours to tell.
 */
static __always_inline __u64 caller(struct pt_regs *regs)
{
	__u64 ip = BPF_CORE_READ(regs, ip), sp = BPF_CORE_READ(regs, sp), address = 0, to;
	__u8 code[6] = {};
	__s32 displacement = 0;

	if (bpf_probe_read_user(&address, sizeof(address), (void *)sp) ||
	    bpf_probe_read_user(code, sizeof(code), (void *)(address - sizeof(code))))
		return 0;
	if (code[0] == 0xff && code[1] == 0x15) /* call *displacement(%rip) */
		return makes_the_call(through_pointer(address), ip) ? address : 0;
	if (code[1] != 0xe8) /* call displacement */
		return 0;
	bpf_probe_read_user(&displacement, sizeof(displacement), (void *)(address - 4));
	to = address + displacement;
	if (makes_the_call(to, ip))
		return address;
	/* An entry of the table: maybe endbr64, maybe bnd, then jmp *displacement(%rip). */
	if (first_bytes(to, 4) == 0xfa1e0ff3)
		to += 4;
	if (first_bytes(to, 1) == 0xf2)
		to++;
	if (first_bytes(to, 2) != 0x25ff)
		return 0;
	return makes_the_call(through_pointer(to + 6), ip) ? address : 0;
}
#else
static __always_inline __u64 caller(struct pt_regs *regs)
{
	return 0;
}
#endif

/* The call of this number, or -1. */
static __always_inline int call_of(long number)
{
	switch (number) {
	case NR_MMAP:
		return CALL_MMAP;
	case NR_MUNMAP:
		return CALL_MUNMAP;
	case NR_MREMAP:
		return CALL_MREMAP;
	case NR_BRK:
		return CALL_BRK;
	default:
		return -1;
	}
}

SEC("raw_tp/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long number)
{
	struct pending *call;
	int which = call_of(number);

	if (which < 0 || !wanted_current() || compat_call(current_task()))
		return 0;
	call = BEGIN((__u32)bpf_get_current_pid_tgid(), TABLE_VM);
	if (!call)
		return 0;
	call->call = (__u32)which;
	call->address = PT_REGS_PARM1_CORE_SYSCALL(regs);
	call->length = PT_REGS_PARM2_CORE_SYSCALL(regs);
	call->new_length = PT_REGS_PARM3_CORE_SYSCALL(regs);
	call->protection = (__s32)PT_REGS_PARM3_CORE_SYSCALL(regs);
	call->flags = (__s32)PT_REGS_PARM4_CORE_SYSCALL(regs);
	call->fd = (__s32)PT_REGS_PARM5_CORE_SYSCALL(regs);
	call->heap_end = BPF_CORE_READ(current_task(), mm, brk);
	call->since = bpf_ktime_get_ns();
	return 0;
}

/* What the columns say that not every call has. */
static __always_inline void fill(struct vm_event *row, struct pending *call, long result, bool failed)
{
	__s64 length = (__s64)pages(call->length);

	row->address = failed ? UNKNOWN_64 : result;
	row->bytes = length;
	row->old = UNKNOWN_64;
	row->old_bytes = UNKNOWN_64;
	row->flags = UNKNOWN_32;
	row->protection = UNKNOWN_32;
	row->fd = UNKNOWN_32;
	switch (call->call) {
	case CALL_MMAP:
		row->flags = call->flags;
		row->protection = call->protection;
		if (!(call->flags & MAP_ANONYMOUS))
			row->fd = call->fd;
		break;
	case CALL_MUNMAP:
		row->address = failed ? UNKNOWN_64 : (__s64)call->address;
		break;
	case CALL_MREMAP:
		row->flags = call->flags;
		row->old = (__s64)call->address;
		row->old_bytes = length;
		row->bytes = (__s64)pages(call->new_length);
		break;
	default: /* BRK */
		row->old = (__s64)call->heap_end;
		row->bytes = UNKNOWN_64;
	}
}

SEC("raw_tp/sys_exit")
int BPF_PROG(on_leave, struct pt_regs *regs, long result)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid(), now;
	struct pending *call;
	struct vm_event *row;
	bool failed;
	__s64 stack;
	struct walk walk;

	if (call_of(number_of(regs)) < 0)
		return 0;
	call = PENDING_OF((__u32)pid_tgid);
	if (!call) {
		if (wanted_current() && !compat_call(current_task()))
			count(TABLE_VM, UNPAIRED);
		return 0;
	}
	now = bpf_ktime_get_ns();
	failed = result < 0 && result >= -4095;
	walk = walk_of(current_task());
	walk.table = TABLE_VM;
	if (call->call != CALL_MREMAP)
		walk.caller = caller(regs);
	stack = user_stack_from(ctx, current_task(), walk);
	row = RESERVE(vm, VM);
	if (row) {
		fill(row, call, result, failed);
		row->ts = call->call == CALL_MUNMAP ? call->since : now;
		row->duration = now - call->since;
		row->call = (__s32)call->call;
		row->error = failed ? (__s32)-result : UNKNOWN_32;
		row->stack = stack;
		row->pid = pid_tgid >> 32;
		row->tid = (__s32)pid_tgid;
		row->cpu = bpf_get_smp_processor_id();
		SUBMIT(row);
	}
	call->since = 0;
	return 0;
}

SEC("raw_tp/sched_process_exit")
int forget_thread(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	if (PENDING_OF(tid))
		count(TABLE_VM, UNPAIRED);
	bpf_map_delete_elem(&pending, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

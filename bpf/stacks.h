/*
 * Call stacks, sent once.
 *
 * A stack is hashed; the hash is its id. Only a stack whose id is not in `stacks_seen` is sent, raw,
 * and user space turns it into frames that outlive the process. Where the map is full, stacks are
 * sent each time: more bytes, nothing lost.
 */
#pragma once

#include "events.h"
#include "filter.h"

#define MAX_FRAMES 127 /* the default of kernel.perf_event_max_stack */

/*
 * A stack as it is sent. The kernel's walk begins at the second place, so that a frame which it misses
 * can be put in. The build ids begin where the frames would end if there were all of them.
 */
struct raw_stack {
	struct stack_event event;
	__u64 frames[MAX_FRAMES + 1];
	struct bpf_stack_build_id build_ids[MAX_FRAMES];
	/* Not sent: */
	volatile __u32 owner; /* the thread whose stack it is */
	volatile __u32 frame_count; /* noted here, or the verifier would look at each count by itself */
};

/*
 * Where a stack is put together. A raw tracepoint's program is not entered a second time on its CPU while
 * it runs: on old kernels preemption is off in it, later ones count it as missed (05b24ff9b2cf, 6.1). But
 * one at a uprobe can be, since 6.0 (8c7dcb84e3b7), by another thread. So threads have different places,
 * and one that finds another's mark in its place leaves the stack out.
 */
#define SCRATCHES 8

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, __u32);
	__type(value, struct raw_stack);
} stack_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space puts its own map in place of this */
	__type(key, __u64);
	__type(value, __u8);
} stacks_seen SEC(".maps");

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* What is to be known of a stack beside what the kernel walks. */
struct walk {
	__u64 address_space; /* tells equal addresses of different programs apart */
	__u64 caller; /* the second frame, where the kernel's walk misses it; 0 where it does not */
	bool returned; /* the first frame too is a return address */
	bool probed; /* the context has the user's registers, as a uprobe's */
	__u32 table; /* whose event has the stack: it is told of stacks that could not be read */
};

/* The shape of a stack, as bits of `stack_event.shape`. */
#define FIRST_RETURNED 1
#define SECOND_PUT_IN 2

/* No stack is larger: a frame pointer that leads further away is none. */
#define STACK_BYTES (64ULL << 20)

/*
 * Walks the frames of user code from its registers; returns how many. The kernel does the same, but
 * follows what is left in the register by code that has no frame pointer, as the C library that calls
 * main: so most of its walks end in a page fault, that takes longer than all the rest.
 */
static __always_inline __u32 walk_frames(struct pt_regs *regs, __u64 *frames)
{
	__u64 fp = PT_REGS_FP(regs), below = PT_REGS_SP(regs), top = below + STACK_BYTES;
	struct {
		__u64 fp;
		__u64 returns_to;
	} frame;
	__u32 count = 1;

	frames[0] = PT_REGS_IP(regs);
	for (; count < MAX_FRAMES; count++) {
		if (fp < below || fp >= top || fp % 8 || bpf_probe_read_user(&frame, sizeof(frame), (void *)fp))
			break;
		if (!frame.returns_to)
			break;
		frames[count] = frame.returns_to;
		below = fp + sizeof(frame);
		fp = frame.fp;
	}
	return count;
}

/* The id of the current stack, user or kernel; UNKNOWN_64 where there is none or it cannot be read. */
static __always_inline __s64 stack_id(void *ctx, __u64 flags, struct walk walk)
{
	struct raw_stack *stack;
	__u64 hash, size, fixed;
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), place = tid % SCRATCHES, frames, i;
	bool put_in;
	__u8 one = 1;
	long length;

	stack = bpf_map_lookup_elem(&stack_scratch, &place);
	if (!stack)
		return UNKNOWN_64;
	stack->owner = tid;
	if (walk.probed) {
		stack->frame_count = walk_frames(ctx, stack->frames + 1);
		length = (stack->frame_count & MAX_FRAMES) * 8;
	} else {
		length = bpf_get_stack(ctx, stack->frames + 1, MAX_FRAMES * 8, flags);
	}
	if (length <= 0) {
		/* A kernel stack is empty where the task ran in user mode; a user stack should not be. */
		if (flags & BPF_F_USER_STACK)
			count(walk.table, STACK_UNREADABLE);
		return UNKNOWN_64;
	}
	frames = (__u32)length / 8;
	/*
	 * Since 6.12 the kernel itself puts in the caller, where a probe is on the `push %rbp` that a function
	 * begins with (is_uprobe_at_func_entry in arch/x86/events/core.c). Where it walks, we do not then.
	 */
	if (walk.caller && !walk.probed && frames >= 2 && stack->frames[2] == walk.caller)
		walk.caller = 0;
	hash = mix(walk.address_space, frames << 1 | walk.returned);
	if (walk.caller) {
		hash = mix(hash, walk.caller);
		stack->frames[0] = stack->frames[1];
		stack->frames[1] = walk.caller;
		hash = mix(hash, stack->frames[0]);
	} else {
		hash = mix(hash, stack->frames[1]);
	}
	for (i = 2; i <= MAX_FRAMES; i++) {
		if (i > frames)
			break;
		hash = mix(hash, stack->frames[i]);
	}
	if (stack->owner != tid)
		goto disturbed;
	if (hash == (__u64)UNKNOWN_64)
		hash = 0;
	if (bpf_map_lookup_elem(&stacks_seen, &hash))
		return (__s64)hash;

	stack->event.ts = bpf_ktime_get_ns();
	stack->event.id = hash;
	stack->event.pid = flags & BPF_F_USER_STACK ? (__s32)(bpf_get_current_pid_tgid() >> 32) : UNKNOWN_32;
	stack->event.tid = (__s32)tid;
	put_in = walk.caller;
	/* Where we walk, the caller has a build id then. */
	if (walk.caller && walk.probed &&
	    bpf_get_stack(ctx, stack->build_ids, 2 * sizeof(__u64), flags) == 2 * sizeof(__u64))
		put_in = ((__u64 *)stack->build_ids)[1] != walk.caller;
	stack->event.shape = (walk.returned ? FIRST_RETURNED : 0) | (put_in ? SECOND_PUT_IN : 0);
	fixed = sizeof(stack->event);
	stack->event.frames = walk.caller ? loc((__u32)fixed, (frames + 1) * 8) : loc((__u32)fixed + 8, frames * 8);
	stack->event.build_ids = 0;
	size = fixed + sizeof(stack->frames);
	if (flags & BPF_F_USER_STACK && settings.build_ids) {
		length = bpf_get_stack(ctx, stack->build_ids, sizeof(stack->build_ids),
				       flags | BPF_F_USER_BUILD_ID);
		if (length > 0 && length <= sizeof(stack->build_ids)) {
			stack->event.build_ids = loc((__u32)size, (__u32)length);
			size += length;
		}
	} else {
		size = fixed + (frames + 1) * 8;
	}
	/* The verifier of 6.1 must see the very value that is sent compared, and not one that leads to it. */
	asm volatile("" : "+r"(size));
	if (size > offsetof(struct raw_stack, owner))
		size = offsetof(struct raw_stack, owner);
	if (stack->owner != tid)
		goto disturbed;
	count(TABLE_STACK, SEEN);
	if (emit(TABLE_STACK, stack, size))
		/* A full map is no loss: the stack is sent again with its next event. */
		bpf_map_update_elem(&stacks_seen, &hash, &one, BPF_ANY);
	return (__s64)hash;
disturbed:
	count(walk.table, STACK_UNREADABLE);
	return UNKNOWN_64;
}

static __always_inline __s64 kernel_stack(void *ctx, __u32 table)
{
	return stack_id(ctx, 0, (struct walk){ .table = table });
}

/* The user stack of the current task. In a uretprobe `returned` is true. */
static __always_inline __s64 user_stack_of(void *ctx, struct task_struct *task, struct walk walk)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);

	if (!mm || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return UNKNOWN_64;
	walk.address_space = (__u64)mm;
	return stack_id(ctx, BPF_F_USER_STACK, walk);
}

static __always_inline __s64 user_stack(void *ctx, struct task_struct *task, __u32 table)
{
	return user_stack_of(ctx, task, (struct walk){ .table = table });
}

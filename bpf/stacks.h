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

/* A stack as it is sent. The build ids begin where the frames would end if there were all of them. */
struct raw_stack {
	struct stack_event event;
	__u64 frames[MAX_FRAMES];
	struct bpf_stack_build_id build_ids[MAX_FRAMES];
};

/*
 * One for each CPU and object. A program is not entered a second time on its CPU while it runs: on old
 * kernels preemption is off in it, later ones count it as missed (05b24ff9b2cf, 6.1).
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
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

/*
 * The id of the current stack, user or kernel; UNKNOWN_64 where there is none or it cannot be read.
 * `address_space` tells equal addresses of different programs apart. `table` is the table whose
 * event has the stack: it is told of stacks that could not be read.
 */
static __always_inline __s64 stack_id(void *ctx, __u64 flags, __u64 address_space, __u32 table)
{
	struct raw_stack *stack;
	__u64 hash, size, fixed;
	__u32 zero = 0, frames, i;
	__u8 one = 1;
	long length;

	stack = bpf_map_lookup_elem(&stack_scratch, &zero);
	if (!stack)
		return UNKNOWN_64;
	length = bpf_get_stack(ctx, stack->frames, sizeof(stack->frames), flags);
	if (length <= 0) {
		/* A kernel stack is empty where the task ran in user mode; a user stack should not be. */
		if (flags & BPF_F_USER_STACK)
			count(table, STACK_UNREADABLE);
		return UNKNOWN_64;
	}
	frames = (__u32)length / 8;
	hash = mix(address_space, frames);
	for (i = 0; i < MAX_FRAMES; i++) {
		if (i >= frames)
			break;
		hash = mix(hash, stack->frames[i]);
	}
	if (hash == (__u64)UNKNOWN_64)
		hash = 0;
	if (bpf_map_lookup_elem(&stacks_seen, &hash))
		return (__s64)hash;

	stack->event.ts = bpf_ktime_get_ns();
	stack->event.id = hash;
	stack->event.pid = flags & BPF_F_USER_STACK ? (__s32)(bpf_get_current_pid_tgid() >> 32) : UNKNOWN_32;
	stack->event.tid = (__s32)bpf_get_current_pid_tgid();
	fixed = sizeof(stack->event);
	stack->event.frames = loc((__u32)fixed, frames * 8);
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
		size = fixed + frames * 8;
	}
	if (size > sizeof(*stack))
		size = sizeof(*stack);
	count(TABLE_STACK, SEEN);
	if (emit(TABLE_STACK, stack, size))
		/* A full map is no loss: the stack is sent again with its next event. */
		bpf_map_update_elem(&stacks_seen, &hash, &one, BPF_ANY);
	return (__s64)hash;
}

static __always_inline __s64 kernel_stack(void *ctx, __u32 table)
{
	return stack_id(ctx, 0, 0, table);
}

static __always_inline __s64 user_stack(void *ctx, struct task_struct *task, __u32 table)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);

	if (!mm || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return UNKNOWN_64;
	return stack_id(ctx, BPF_F_USER_STACK, (__u64)mm, table);
}

/*
 * Call stacks, sent once.
 *
 * A stack is hashed; the hash is its id. Only a stack whose id is not in `stacks_seen` is sent, raw,
 * and user space turns it into frames that outlive the process. Where the map is full, stacks are
 * sent each time: more bytes, nothing lost.
 */
#pragma once

#include "filter.h"
#include "registers.h"
#include "unwind.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space puts its own map in place of this */
	__type(key, __u64);
	__type(value, __u8);
} stacks_seen SEC(".maps");

/* Where a walk of user code begins. */
struct walk {
	__u64 ip;
	__u64 sp;
	__u64 fp;
	__u64 caller; /* the second frame, where frame pointers miss it; 0 where they do not */
	bool returned; /* the first frame too is a return address */
	bool by_kernel; /* the code has 32 bits, or its registers are not known */
	__u32 table; /* whose event has the stack: it is told of stacks that could not be read */
};

#if defined(__TARGET_ARCH_x86)
static __always_inline bool has_32_bits(__u64 code)
{
	return (code & 0xffff) == USER32_CODE;
}
#define IP_OF(regs) BPF_CORE_READ(regs, ip)
#define SP_OF(regs) BPF_CORE_READ(regs, sp)
#define FP_OF(regs) BPF_CORE_READ(regs, bp)
#define COMPAT_OF(regs) has_32_bits(BPF_CORE_READ(regs, cs))
#define PROBE_COMPAT(regs) has_32_bits((regs)->cs)
#elif defined(__TARGET_ARCH_arm64)
#define IP_OF(regs) BPF_CORE_READ((struct user_pt_regs *)(regs), pc)
#define SP_OF(regs) BPF_CORE_READ((struct user_pt_regs *)(regs), sp)
#define FP_OF(regs) BPF_CORE_READ((struct user_pt_regs *)(regs), regs[29])
#define COMPAT_OF(regs) false
#define PROBE_COMPAT(regs) false
#endif

static __always_inline bool is_first_thread(void)
{
	__u64 ids = bpf_get_current_pid_tgid();

	return ids >> 32 == (__u32)ids;
}

static __always_inline struct walk walk_of(struct task_struct *task)
{
	struct pt_regs *regs = user_registers(task);

	if (!regs)
		return (struct walk){ .by_kernel = true };
	return (struct walk){
		.ip = IP_OF(regs),
		.sp = SP_OF(regs),
		.fp = FP_OF(regs),
		.by_kernel = COMPAT_OF(regs),
	};
}

/* The same where the context has the program's registers, as a uprobe's. */
static __always_inline struct walk walk_of_probe(struct pt_regs *regs)
{
	return (struct walk){
		.ip = PT_REGS_IP(regs),
		.sp = PT_REGS_SP(regs),
		.fp = PT_REGS_FP(regs),
		.by_kernel = PROBE_COMPAT(regs),
	};
}

/*
 * The id of the stack of `length` frames that lies in `stack`; sends it if it is new. `address_space` tells
 * equal addresses of different programs apart.
 */
static __always_inline __s64 interned(struct raw_stack *stack, __u64 length, __u64 address_space, __u32 table)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 hash, size;
	__u8 one = 1;

	hash = mix(address_space, length << 8 | (__u32)stack->event.shape);
	for (__u32 i = 0; i < MAX_FRAMES; i++) {
		if (i >= length)
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
	stack->event.pid = address_space ? (__s32)(bpf_get_current_pid_tgid() >> 32) : UNKNOWN_32;
	stack->event.tid = (__s32)tid;
	size = length * 8;
	stack->event.frames = loc(sizeof(stack->event), (__u32)size);
	size += sizeof(stack->event);
	/* The verifier of 6.1 must see the very value that is sent compared, and not one that leads to it. */
	asm volatile("" : "+r"(size));
	if (size > offsetof(struct raw_stack, walker))
		size = offsetof(struct raw_stack, walker);
	if (stack->owner != tid)
		goto disturbed;
	count(TABLE_STACK, SEEN);
	if (emit(TABLE_STACK, stack, size))
		/* A full map is no loss: the stack is sent again with its next event. */
		bpf_map_update_elem(&stacks_seen, &hash, &one, BPF_ANY);
	return (__s64)hash;
disturbed:
	count(table, STACK_UNREADABLE);
	return UNKNOWN_64;
}

/* Where this thread puts its stack together. */
static __always_inline struct raw_stack *scratch(__u32 *place)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct raw_stack *stack;

	*place = tid % SCRATCHES;
	stack = bpf_map_lookup_elem(&stack_scratch, place);
	if (!stack)
		return NULL;
	stack->owner = tid;
	stack->event.shape = 0;
	stack->event.interrupted = 0;
	stack->event.interrupted_further = 0;
	return stack;
}

/* How many frames the kernel finds, by frame pointers in user code, and by what it has in its own. */
static __always_inline __u64 walked_by_kernel(void *ctx, struct raw_stack *stack, __u64 flags)
{
	long length = bpf_get_stack(ctx, stack->frames, MAX_FRAMES * 8, flags);

	if (length == MAX_FRAMES * 8)
		stack->event.shape |= SHAPE_TRUNCATED;
	return length <= 0 ? 0 : (__u64)length / 8;
}

/* The id of the kernel's stack; UNKNOWN_64 where the task ran in user mode. */
static __always_inline __s64 kernel_stack(void *ctx, __u32 table)
{
	struct raw_stack *stack;
	__u32 place;
	__u64 length;

	stack = is_stopped(table) ? NULL : scratch(&place);
	if (!stack)
		return UNKNOWN_64;
	length = walked_by_kernel(ctx, stack, 0);
	return length ? interned(stack, length, 0, table) : UNKNOWN_64;
}

/* The id of the user stack of the current task; UNKNOWN_64 where there is none or it cannot be read. */
static __always_inline __s64 user_stack_from(void *ctx, struct task_struct *task, struct walk walk)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct walker *walker;
	struct raw_stack *stack;
	__u32 place, i;
	__u64 length;

	if (is_stopped(walk.table))
		return UNKNOWN_64;
	if (!mm || BPF_CORE_READ(task, flags) & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER))
		return UNKNOWN_64;
	stack = scratch(&place);
	if (!stack)
		return UNKNOWN_64;
	if (walk.by_kernel) {
		length = walked_by_kernel(ctx, stack, BPF_F_USER_STACK);
		stack->event.shape |= SHAPE_BY_FRAME_POINTERS;
	} else {
		walker = &stack->walker;
		walker->ip = walk.ip;
		walker->sp = walk.sp;
		walker->fp = walk.fp;
		walker->caller = walk.caller;
		walker->trampoline = 0;
		if (bpf_core_field_exists(mm->uprobes_state))
			walker->trampoline = BPF_CORE_READ(mm, uprobes_state.xol_area, vaddr);
		walker->count = 0;
		walker->shape = walk.returned ? SHAPE_FIRST_RETURNED : 0;
		walker->exact = !walk.returned;
		walker->guessed = 0;
		walker->first_sp = is_first_thread() ? BPF_CORE_READ(mm, start_stack) : 0;
		find_space(walker, mm);
		for (i = 0; i <= MAX_FRAMES; i++) {
			if (walk_step(place))
				break;
		}
		length = walker->count;
		stack->event.shape = (__s32)walker->shape;
	}
	if (!length || length > MAX_FRAMES) {
		count(walk.table, STACK_UNREADABLE);
		return UNKNOWN_64;
	}
	return interned(stack, length, (__u64)mm, walk.table);
}

static __always_inline __s64 user_stack(void *ctx, struct task_struct *task, __u32 table)
{
	struct walk walk = walk_of(task);

	walk.table = table;
	return user_stack_from(ctx, task, walk);
}

/*
 * Walks a stack of user code.
 *
 * Where tables are known of the code (schemas/src/unwind.rs), they tell for each instruction how far the
 * caller's frame is, so that the code needs no frame pointers. Where not, as in code that was made at run
 * time, the frame pointer is followed.
 *
 * A walk is a loop of steps, and a step is a global function: the verifier looks at it once, by itself, and
 * not again in each turn of the loop. What steps have in common lies in a map, since before 5.13
 * (e5069b9c23b3) such a function takes only numbers.
 */
#pragma once

#include "events.h"

#define MAX_FRAMES 127 /* the default of kernel.perf_event_max_stack */

/* No stack is larger: what leads further away leads nowhere. */
#define STACK_BYTES (64ULL << 20)
/* What the first function of a program may have put on the stack. */
#define FIRST_BYTES 64

/* How far a walk is. */
struct walker {
	__u64 ip;
	__u64 sp;
	__u64 fp;
	__u64 caller; /* the second frame, where frame pointers miss it, or 0 */
	__u64 trampoline; /* where functions return to that have return probes, or 0 */
	__u64 first_sp; /* the stack pointer that the program began with, if this is its first thread, or 0 */
	struct unwind_space space; /* without ranges, if nothing is known of the process */
	struct unwind_row row; /* of `ip`; its address is not 0 if `ip` lies in a range */
	__u32 count;
	__u32 shape;
	__u32 exact; /* the thread is at `ip`, which is no return address */
	__u32 guessed; /* the frame pointer has led here */
};

/* A stack as it is sent. */
struct raw_stack {
	struct stack_event event;
	__u64 frames[MAX_FRAMES + 1];
	/* Not sent: */
	struct walker walker;
	volatile __u32 owner; /* the thread whose stack it is */
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

/* User space puts its own maps in place of these. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unwind_space);
} unwind_spaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unwind_range);
} unwind_ranges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, ARENA_PAGES);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(struct unwind_page)); /* clang leaves out the type's members here */
	});
} unwind_arenas SEC(".maps");

/*
 * Rows that were found lately, since the same addresses come again and again. An entry counts only if
 * `check` is `key ^ row`: one that two programs have written at once does not.
 */
#define LATELY 2048

struct lately {
	__u64 check;
	__u64 row;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LATELY);
	__type(key, __u32);
	__type(value, struct lately);
} unwind_lately SEC(".maps");

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* How many times a range of so many can be halved. */
#define RANGE_HALVINGS 17
#define PAGE_HALVINGS 11

/* The range of the process that has `pc`, or NULL. */
static __always_inline struct unwind_range *range_of(struct walker *walker, __u64 pc)
{
	__u32 low = walker->space.first, high = low + walker->space.count, middle;
	struct unwind_range *range;

	for (int i = 0; i < RANGE_HALVINGS && low < high; i++) {
		middle = low + (high - low) / 2;
		range = bpf_map_lookup_elem(&unwind_ranges, &middle);
		if (!range)
			return NULL;
		if (pc < range->start)
			high = middle;
		else if (pc >= range->end)
			low = middle + 1;
		else
			return range;
	}
	return NULL;
}

/* The last page of a range that begins at `address` or before it, or NULL. */
static __always_inline struct unwind_page *page_of(struct unwind_range *range, __u32 address)
{
	__u32 arena = range->page / ARENA_PAGES, low = range->page % ARENA_PAGES, high = low + range->pages;
	struct unwind_page *page;
	__u32 middle;
	void *pages;

	pages = bpf_map_lookup_elem(&unwind_arenas, &arena);
	if (!pages)
		return NULL;
	for (int i = 0; i < PAGE_HALVINGS && low + 1 < high; i++) {
		middle = low + (high - low) / 2;
		page = bpf_map_lookup_elem(pages, &middle);
		if (!page)
			return NULL;
		if (address < page->rows[0].address)
			high = middle;
		else
			low = middle;
	}
	return bpf_map_lookup_elem(pages, &low);
}

/* Finds the row of `ip`, or none: then its rule is CFA_NONE. */
__noinline int find_row(__u32 place)
{
	struct raw_stack *stack = bpf_map_lookup_elem(&stack_scratch, &place);
	struct unwind_row row = {};
	struct unwind_range *range;
	struct unwind_page *page;
	struct walker *walker;
	struct lately *lately;
	__u32 slot, at = 0, address;
	__u64 pc, key, bits;

	if (!stack)
		return 0;
	walker = &stack->walker;
	/* What called lies before its return address. */
	pc = walker->ip - !walker->exact;
	/* A version is a small number: alone it would only move an address by a little. */
	key = mix(mix(0, walker->space.version), pc);
	slot = (__u32)key % LATELY;
	lately = bpf_map_lookup_elem(&unwind_lately, &slot);
	if (lately && (lately->check ^ lately->row) == key) {
		*(__u64 *)&walker->row = lately->row;
		return 0;
	}
	range = range_of(walker, pc);
	if (range) {
		row.address = 1;
		address = (__u32)(pc - range->base);
		page = range->pages && pc >= range->base ? page_of(range, address) : NULL;
		if (page && page->rows[0].address <= address) {
			for (__u32 step = ROWS / 2; step; step /= 2) {
				if (page->rows[(at + step) % ROWS].address <= address)
					at += step;
			}
			row = page->rows[at % ROWS];
			row.address = 1;
		}
	}
	walker->row = row;
	bits = *(__u64 *)&walker->row;
	if (lately) {
		lately->check = key ^ bits;
		lately->row = bits;
	}
	return 0;
}

#if defined(__TARGET_ARCH_x86)
/* In how many probed functions a thread can be at once: MAX_URETPROBE_DEPTH in kernel/events/uprobes.c. */
#define MOST_RETURN_PROBES 64

/* Where a return probe has put itself in the place of the return address: what stood there. */
static __always_inline __u64 returns_to(struct walker *walker, __u64 address, __u64 place)
{
	struct return_instance *it;

	if (address != walker->trampoline || !address)
		return address;
	it = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), utask, return_instances);
	for (int i = 0; it && i < MOST_RETURN_PROBES; i++) {
		if (BPF_CORE_READ(it, stack) == place)
			return BPF_CORE_READ(it, orig_ret_vaddr);
		it = BPF_CORE_READ(it, next);
	}
	return 0;
}

/* Where the kernel leaves registers for a signal handler: in a `struct ucontext`, from here on, the stack
 * pointer and then the instruction's address (arch/x86/include/uapi/asm/sigcontext.h). */
#define SIGNAL_FP 120
#define SIGNAL_SP 160

static __always_inline int leave_signal(struct walker *walker)
{
	struct {
		__u64 sp;
		__u64 ip;
	} saved;
	__u64 fp;

	if (bpf_probe_read_user(&saved, sizeof(saved), (void *)(walker->sp + SIGNAL_SP)) ||
	    bpf_probe_read_user(&fp, sizeof(fp), (void *)(walker->sp + SIGNAL_FP)))
		return 1;
	walker->ip = saved.ip;
	walker->sp = saved.sp;
	walker->fp = fp;
	walker->exact = 1;
	walker->guessed = 0;
	walker->shape |= SHAPE_BY_TABLES;
	return 0;
}

/* A frame pointer that leads nowhere. */
#define NO_FRAME 1

/* To the caller, as the row says. Not 0 if there is none, or it cannot be found. */
static __always_inline int by_row(struct walker *walker, struct unwind_row row)
{
	__s64 distance = row.cfa * 8LL, fp_distance = row.fp * 8LL;
	__u64 cfa = 0, address = 0, fp = walker->fp;

	switch (row.rule & 15) {
	case CFA_SP:
		cfa = walker->sp + distance;
		break;
	case CFA_FP:
		cfa = walker->fp + distance;
		break;
	case CFA_AT_SP:
		bpf_probe_read_user(&cfa, sizeof(cfa), (void *)(walker->sp + distance));
		cfa += fp_distance;
		break;
	case CFA_AT_FP:
		bpf_probe_read_user(&cfa, sizeof(cfa), (void *)(walker->fp + distance));
		break;
	case CFA_PLT:
		cfa = walker->sp + 8 + (((walker->ip - !walker->exact) & 15) >= (__u64)row.cfa) * 8;
		break;
	default:
		return 1;
	}
	/* Stacks grow downwards. */
	if (cfa <= walker->sp || cfa - walker->sp > STACK_BYTES || cfa % 8)
		return 1;
	if (bpf_probe_read_user(&address, sizeof(address), (void *)(cfa - 8)))
		return 1;
	switch (row.rule >> 4) {
	case FP_SAME:
		break;
	case FP_AT_CFA:
		if (bpf_probe_read_user(&fp, sizeof(fp), (void *)(cfa + fp_distance)))
			fp = NO_FRAME;
		break;
	case FP_AT_FP:
		if (bpf_probe_read_user(&fp, sizeof(fp), (void *)(walker->fp + fp_distance)))
			fp = NO_FRAME;
		break;
	default:
		fp = NO_FRAME;
	}
	walker->shape |= SHAPE_BY_TABLES;
	if (!address) {
		walker->shape |= SHAPE_COMPLETE;
		return 1;
	}
	walker->ip = returns_to(walker, address, cfa - 8);
	walker->sp = cfa;
	walker->fp = fp;
	walker->exact = 0;
	walker->guessed = 0;
	return !walker->ip;
}
/*
 * What code that was called does next, if that is `add $N,%rsp; ret`: then the return address is N bytes from
 * the stack pointer. So Python's trampolines, which have neither rows nor a frame pointer
 * (Python/asm_trampoline.S, 3.12). Not 0 if it does something else.
 */
static __always_inline int by_next_instructions(struct walker *walker)
{
	__u8 code[5] = {};
	__u64 address = 0, place;

	if (walker->exact || bpf_probe_read_user(code, sizeof(code), (void *)walker->ip))
		return 1;
	if (code[0] != 0x48 || code[1] != 0x83 || code[2] != 0xc4 || code[3] > 0x7f || code[4] != 0xc3)
		return 1;
	place = walker->sp + code[3];
	if (bpf_probe_read_user(&address, sizeof(address), (void *)place) || !address)
		return 1;
	walker->ip = returns_to(walker, address, place);
	walker->sp = place + 8;
	return !walker->ip;
}
#else
static __always_inline int by_next_instructions(struct walker *walker)
{
	return 1;
}

static __always_inline __u64 returns_to(struct walker *walker, __u64 address, __u64 place)
{
	return address;
}

static __always_inline int leave_signal(struct walker *walker)
{
	return 1;
}

static __always_inline int by_row(struct walker *walker, struct unwind_row row)
{
	return 1;
}
#endif

static __always_inline int by_frame_pointer(struct walker *walker)
{
	struct {
		__u64 fp;
		__u64 returns_to;
	} frame;
	bool guessed = walker->guessed;

	if (settings.ways == WAYS_TABLES)
		return 1;
	/* Without tables the stack pointer is not known well enough. */
	if (walker->space.count && !by_next_instructions(walker)) {
		walker->guessed = 1;
		walker->shape |= SHAPE_BY_FRAME_POINTERS;
		return 0;
	}
	walker->exact = 0;
	walker->guessed = 1;
	if (walker->caller && walker->count == 1) {
		walker->ip = walker->caller;
		walker->shape |= SHAPE_BY_FRAME_POINTERS;
		return 0;
	}
	/*
	 * The outermost frame's pointer is 0 (System V ABI for AMD64, section 3.4.1). But so may be what code
	 * without frame pointers has in the register: it counts only where a frame pointer has led to, and
	 * where the program began, if that is known. The first thread may run on other stacks too: goroutines
	 * begin on their own.
	 */
	if (!walker->fp) {
		__u64 used = walker->first_sp - walker->sp;

		if (guessed && (!walker->first_sp || used <= FIRST_BYTES || used > STACK_BYTES))
			walker->shape |= SHAPE_COMPLETE;
		return 1;
	}
	if (walker->fp < walker->sp || walker->fp - walker->sp > STACK_BYTES || walker->fp % 8 ||
	    bpf_probe_read_user(&frame, sizeof(frame), (void *)walker->fp))
		return 1;
	if (!frame.returns_to)
		return 1;
	walker->shape |= SHAPE_BY_FRAME_POINTERS;
	walker->ip = returns_to(walker, frame.returns_to, walker->fp + 8);
	walker->sp = walker->fp + sizeof(frame);
	walker->fp = frame.fp;
	return !walker->ip;
}

/* Notes the frame that the walk is at, and goes to its caller. Not 0 where the walk ends. */
__noinline int walk_step(__u32 place)
{
	struct raw_stack *stack = bpf_map_lookup_elem(&stack_scratch, &place);
	struct unwind_row row = {};
	struct walker *walker;
	__u32 count;

	if (!stack)
		return 1;
	walker = &stack->walker;
	count = walker->count;
	if (count >= MAX_FRAMES) {
		walker->shape |= SHAPE_TRUNCATED;
		return 1;
	}
	if (walker->space.count) {
		find_row(place);
		row = walker->row;
		/* Something else was in the register. */
		if (walker->guessed && !row.address)
			return 1;
	}
	stack->frames[count % (MAX_FRAMES + 1)] = walker->ip;
	if (walker->exact && count) {
		if (count < 64)
			stack->event.interrupted |= 1LL << count;
		else
			stack->event.interrupted_further |= 1LL << (count - 64);
	}
	walker->count = count + 1;
	switch (row.rule & 15) {
	case CFA_NONE:
		/* What begins a program says nothing of its frame in the loader, nor in some C libraries. */
		if (walker->sp == walker->first_sp) {
			walker->shape |= SHAPE_COMPLETE;
			return 1;
		}
		return by_frame_pointer(walker);
	case CFA_END:
		walker->shape |= SHAPE_BY_TABLES | SHAPE_COMPLETE;
		return 1;
	case CFA_SIGNAL:
		return leave_signal(walker);
	default:
		return by_row(walker, row);
	}
}

/* What is known of the code of the current process, if it is of the program that it has now. */
static __always_inline void find_space(struct walker *walker, struct mm_struct *mm)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct unwind_space *space;

	walker->space.count = 0;
	if (settings.ways == WAYS_FRAME_POINTERS)
		return;
	space = bpf_map_lookup_elem(&unwind_spaces, &tgid);
	if (!space)
		return;
	walker->space = *space;
	/* It may have become another's meanwhile. */
	if (space->version != walker->space.version || walker->space.code_end != BPF_CORE_READ(mm, end_code))
		walker->space.count = 0;
}

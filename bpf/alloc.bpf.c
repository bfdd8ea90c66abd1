// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Memory that programs allocate: calls of their allocators, by probes at their functions.
 *
 * Only the outermost call of a thread counts. An inner one is told by the stack pointer: while a call
 * runs, what it calls lies deeper. So nothing has to be counted up and down, and a return that the kernel
 * does not report (a thread killed in the call, a longjmp over it) is noticed at the thread's next call.
 *
 * An allocation is stamped when the allocator returns, a free when it is entered: then a free comes before
 * the next allocation of its address, on any CPU.
 */
#include "stacks.h"
#include "pending.h"
#include "sampling.h"
#include "thread_stack.h"

/* How far the stack pointer is above that of the entry when a function has returned. */
#if defined(__TARGET_ARCH_x86)
#define RETURN_POPS 8
#else
#define RETURN_POPS 0
#endif

/* The outermost call that a thread is in. */
struct pending {
	__u64 since; /* when it was entered, for realloc; else not 0 while the call runs */
	__u64 sp; /* the stack pointer at its entry */
	__s64 bytes;
	__s64 old;
	__u64 result; /* where posix_memalign puts the address */
	__s64 stands_for;
	__u64 caller; /* who called the wrapper that calls, or 0 */
	struct wrapper {
		__u64 sp; /* the stack pointer at the outermost one's entry */
		__u64 caller; /* where that returns to */
		__u64 ip; /* the beginning of the innermost one */
	} wrapper; /* the last one that was entered */
	struct deletion {
		__u64 sp;
		__u64 address;
		__u64 ip;
		__u64 returns_to;
	} deletion; /* the last operator delete that was entered */
	__u32 function;
	bool chosen; /* whether the allocation is recorded */
	bool ends_old; /* whether the block that realloc was given is recorded */
};

PENDING;

/* Probes for a process are in that process alone. */
static __always_inline bool wanted_here(void)
{
	return wanted_current_by(settings.alloc_follow);
}

/* Whether the frame at `sp` returns to a return probe. */
static __always_inline bool returns_to_probe(__u64 sp)
{
	struct xol_area *area = BPF_CORE_READ(current_task(), mm, uprobes_state.xol_area);
	__u64 address = 0;

	bpf_probe_read_user(&address, sizeof(address), (void *)sp);
	return area && address == BPF_CORE_READ(area, vaddr);
}

/* Whether the thread is still in the call that it was last seen to enter. If not, that has ended unseen. */
static __always_inline bool inside(struct pending *call, __u64 sp)
{
	if (!call || !call->since)
		return false;
	/* A return that the kernel did not report must not swallow what comes after it: as long as the call
	 * runs, its frame returns to the probe. Another call made from there writes its own address. */
	if (RETURN_POPS ? sp <= call->sp && returns_to_probe(call->sp) : sp < call->sp)
		return true;
	count(TABLE_ALLOC, UNPAIRED);
	call->since = 0;
	return false;
}

/*
 * The C++ library's operators call malloc, and have no frame: a walk by frame pointers misses who called
 * them, which is just what one wants to know. Their return must not be probed, since the exception that they
 * may throw could not pass. But at their entry the stack pointer points to the address that they will return
 * to. It is theirs still, when malloc is called, if it stands there still, and malloc returns into them.
 */
#define WRAPPER_BYTES 1024

static __always_inline bool called_by(struct wrapper *wrapper, __u64 sp, __u64 returns_to)
{
	__u64 caller = 0;

	if (sp > wrapper->sp || returns_to - wrapper->ip >= WRAPPER_BYTES)
		return false;
	bpf_probe_read_user(&caller, sizeof(caller), (void *)wrapper->sp);
	return caller == wrapper->caller;
}

static __always_inline __u64 return_address(__u64 sp)
{
	__u64 address = 0;

	if (RETURN_POPS)
		bpf_probe_read_user(&address, sizeof(address), (void *)sp);
	return address;
}

/* A size that a program asked for; beyond 2^63 nothing can be allocated, nor stored. */
static __always_inline __s64 size_of(__u64 bytes)
{
	return bytes >> 63 ? UNKNOWN_64 : (__s64)bytes;
}

static __always_inline __s64 product(__u64 count, __u64 size)
{
	__u64 bytes = count * size;

	barrier_var(bytes); /* or clang multiplies 128 bits, which BPF cannot */
	if ((count | size) >> 32 && count && bytes / count != size)
		return UNKNOWN_64;
	return size_of(bytes);
}

static __always_inline __s64 requested(struct pt_regs *ctx, __u32 function)
{
	switch (function) {
	case FUNCTION_MALLOC:
	case FUNCTION_VALLOC:
	case FUNCTION_PVALLOC:
	case FUNCTION_NEW:
		return size_of(PT_REGS_PARM1(ctx));
	case FUNCTION_CALLOC:
		return product(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx));
	case FUNCTION_REALLOC:
	case FUNCTION_ALIGNED_ALLOC:
	case FUNCTION_MEMALIGN:
		return size_of(PT_REGS_PARM2(ctx));
	case FUNCTION_REALLOCARRAY:
		return product(PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx));
	case FUNCTION_POSIX_MEMALIGN:
		return size_of(PT_REGS_PARM3(ctx));
	default: /* strdup */
		return UNKNOWN_64;
	}
}

/* What is known of the thread, or NULL if there is no room. */
static __always_inline struct pending *thread_entry(__u32 tid)
{
	struct pending *thread = bpf_map_lookup_elem(&pending, &tid), new = {};

	if (thread)
		return thread;
	bpf_map_update_elem(&pending, &tid, &new, BPF_NOEXIST);
	return bpf_map_lookup_elem(&pending, &tid);
}

/* Of so many bytes a request to operator new may well fail. */
#define MAY_THROW (1LL << 30)

/* A thread enters an allocating function; whether its return is of interest. */
static __always_inline bool enter(struct pt_regs *ctx, __u32 function)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 sp = PT_REGS_SP(ctx);
	struct pending *call;
	__s64 bytes, stands_for = UNKNOWN_64;
	bool chosen;

	if (bpf_get_current_pid_tgid() >> 32 == (__u32)settings.own_pid)
		return true; /* the recorder measures what a probe costs */
	if (!wanted_here())
		return false;
	bytes = requested(ctx, function);
	/* What strdup takes, and whether it is chosen, its malloc tells. */
	chosen = function != FUNCTION_STRDUP && choose(bytes, &stands_for);
	/* malloc calls no other function of these; what the others call is theirs. */
	if (!chosen && function == FUNCTION_MALLOC)
		return false;
	call = bpf_map_lookup_elem(&pending, &tid);
	if (inside(call, sp)) {
		if (call->function == FUNCTION_STRDUP && chosen) {
			call->bytes = bytes;
			call->stands_for = stands_for;
			call->chosen = true;
		}
		return false;
	}
	/* Whether it can fail is not known, and where it throws, the return probe would end the program. */
	if (function == FUNCTION_NEW && (bytes == UNKNOWN_64 || bytes >= MAY_THROW)) {
		count(TABLE_ALLOC, SEEN);
		count(TABLE_ALLOC, RETURN_UNWATCHED);
		return false;
	}
	if (!call) {
		call = thread_entry(tid);
		if (!call) {
			count(TABLE_ALLOC, SEEN);
			count(TABLE_ALLOC, MAP_FULL);
			return false;
		}
	}
	call->caller = 0;
	if (call->wrapper.sp && called_by(&call->wrapper, sp, return_address(sp)))
		call->caller = call->wrapper.caller;
	call->function = function;
	call->sp = sp;
	call->bytes = bytes;
	call->stands_for = stands_for;
	call->chosen = chosen;
	call->since = 1;
	if (function == FUNCTION_REALLOC || function == FUNCTION_REALLOCARRAY) {
		call->old = (__s64)PT_REGS_PARM1(ctx);
		/* Before the block is free for others. */
		call->ends_old = call->old && (!selective() || forget_block(call->old));
		call->since = bpf_ktime_get_ns();
	}
	if (function == FUNCTION_POSIX_MEMALIGN)
		call->result = PT_REGS_PARM1(ctx);
	return true;
}

static __always_inline struct alloc_event *new_row(void)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct alloc_event *row = RESERVE(alloc, ALLOC);

	if (!row)
		return NULL;
	row->duration = UNKNOWN_64;
	row->old = UNKNOWN_64;
	row->bytes = UNKNOWN_64;
	row->stands_for = UNKNOWN_64;
	row->stack = UNKNOWN_64;
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	row->cpu = bpf_get_smp_processor_id();
	return row;
}

static __always_inline void freed(__u64 ts, __u64 address, __u32 function)
{
	struct alloc_event *row = new_row();

	if (!row)
		return;
	row->ts = ts;
	row->address = (__s64)address;
	row->function = function;
	SUBMIT(row);
}

/* What the call returned: the address, or 0 where it failed. */
static __always_inline __u64 outcome(struct pt_regs *ctx, struct pending *call)
{
	__u64 address = 0;

	if (call->function != FUNCTION_POSIX_MEMALIGN)
		return PT_REGS_RC(ctx);
	if (!(__u32)PT_REGS_RC(ctx))
		bpf_probe_read_user(&address, sizeof(address), (void *)call->result);
	return address;
}

static __always_inline void ended(struct pt_regs *ctx, struct pending *call)
{
	bool moves = call->function == FUNCTION_REALLOC || call->function == FUNCTION_REALLOCARRAY;
	__u64 address = outcome(ctx, call);
	__s64 stack = UNKNOWN_64;
	struct alloc_event *row;
	__u64 now;

	if (moves && call->ends_old && !address && call->bytes) {
		/* It failed, and the old block stays. */
		if (selective())
			remember_block(call->old);
	} else if (moves && call->ends_old && !call->chosen) {
		freed(call->since, call->old, FUNCTION_FREE);
	}
	/* realloc to nothing: chosen or not, the old block has an end. */
	if (!call->chosen)
		return;
	if (address && selective() && !remember_block(address)) {
		count(TABLE_ALLOC, SEEN);
		count(TABLE_ALLOC, MAP_FULL);
		return;
	}
	if (settings.alloc_stacks) {
		struct walk walk = walk_of_probe(ctx);

		walk.caller = call->caller;
		walk.table = TABLE_ALLOC;
		walk.returned = true;
		stack = user_stack_from(ctx, current_task(), walk);
	}
	now = bpf_ktime_get_ns();
	row = new_row();
	if (!row)
		return;
	row->ts = now;
	row->address = address ? (__s64)address : UNKNOWN_64;
	row->bytes = call->bytes;
	row->stands_for = call->stands_for;
	row->stack = stack;
	row->function = call->function;
	if (moves) {
		row->duration = now - call->since;
		if (call->ends_old)
			row->old = call->old;
	}
	SUBMIT(row);
}

/* A thread returns from an allocating function: from the outermost, where the stack is as it was there. */
static __always_inline int leave(struct pt_regs *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct pending *call = PENDING_OF(tid);

	if (!call || PT_REGS_SP(ctx) != call->sp + RETURN_POPS)
		return 0;
	ended(ctx, call);
	call->since = 0;
	return 0;
}

/*
 * Whether an operator delete that was seen already is what calls, or jumped here: then the block is freed
 * once. It is another function, and it has been entered at the same place of the stack to return to the same
 * place, or it is what is returned to.
 */
static __always_inline bool part_of(struct deletion *deletion, __u64 address, __u64 sp, __u64 ip)
{
	__u64 returns_to;

	if (deletion->address != address || deletion->ip == ip)
		return false;
	returns_to = return_address(sp);
	return sp == deletion->sp ? returns_to == deletion->returns_to :
				    sp < deletion->sp && returns_to - deletion->ip < WRAPPER_BYTES;
}

static __always_inline int give_back(struct pt_regs *ctx, __u32 function)
{
	__u64 address = PT_REGS_PARM1(ctx), sp = PT_REGS_SP(ctx), ip = PT_REGS_IP(ctx);
	struct pending *thread;
	__u32 tid;

	if (!address || !wanted_here())
		return 0;
	/* A block that realloc was given is forgotten by now, and what an inner call returned was never known. */
	if (selective() && !forget_block(address))
		return 0;
	tid = (__u32)bpf_get_current_pid_tgid();
	thread = function == FUNCTION_DELETE ? thread_entry(tid) : bpf_map_lookup_elem(&pending, &tid);
	if (thread) {
		if (inside(thread, sp) || part_of(&thread->deletion, address, sp, ip))
			return 0;
		if (function == FUNCTION_DELETE)
			thread->deletion = (struct deletion){ sp, address, ip, return_address(sp) };
	}
	freed(bpf_ktime_get_ns(), address, function);
	return 0;
}

/* A thread enters an operator new that calls malloc. */
static __always_inline int enter_wrapper(struct pt_regs *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 sp = PT_REGS_SP(ctx), caller;
	struct pending *thread;

	if (!wanted_here())
		return 0;
	caller = return_address(sp);
	thread = thread_entry(tid);
	/* Without room the stack lacks a frame, and the allocation itself is counted as lost. */
	if (!thread)
		return 0;
	if (!thread->wrapper.sp || !called_by(&thread->wrapper, sp, caller)) {
		thread->wrapper.sp = sp;
		thread->wrapper.caller = caller;
	}
	thread->wrapper.ip = PT_REGS_IP(ctx);
	return 0;
}

#ifdef SESSIONS
/* Since 6.13 (535a3692ba72): one probe for entry and return, and the entry says if the return is wanted. */
extern bool bpf_session_is_return(void) __weak __ksym;
/* It takes the context in 7.x. */
extern bool bpf_session_is_return___by_context(void *ctx) __weak __ksym;

static __always_inline bool is_return(struct pt_regs *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___by_context))
		return bpf_session_is_return___by_context(ctx);
	return bpf_session_is_return();
}

SEC("uprobe.session")
int session(struct pt_regs *ctx)
{
	keep_thread_stack(ctx);
	if (is_return(ctx))
		return leave(ctx);
	return enter(ctx, (__u32)bpf_get_attach_cookie(ctx)) ? 0 : 1;
}

SEC("uprobe.multi")
int session_free(struct pt_regs *ctx)
{
	keep_thread_stack(ctx);
	return give_back(ctx, (__u32)bpf_get_attach_cookie(ctx));
}

SEC("uprobe.multi")
int session_wrapper(struct pt_regs *ctx)
{
	keep_thread_stack(ctx);
	return enter_wrapper(ctx);
}
#else
/* Before that, a probe for each. Attach cookies are there since 5.15 (47a71c1f9af0), so each function has
 * a program of its own. */
#define ENTER(name, FUNCTION)                                                                            \
	SEC("uprobe")                                                                                    \
	int enter_##name(struct pt_regs *ctx)                                                            \
	{                                                                                                \
		keep_thread_stack(ctx);                                                                  \
		enter(ctx, FUNCTION);                                                                    \
		return 0;                                                                                \
	}

ENTER(malloc, FUNCTION_MALLOC)
ENTER(calloc, FUNCTION_CALLOC)
ENTER(realloc, FUNCTION_REALLOC)
ENTER(reallocarray, FUNCTION_REALLOCARRAY)
ENTER(posix_memalign, FUNCTION_POSIX_MEMALIGN)
ENTER(aligned_alloc, FUNCTION_ALIGNED_ALLOC)
ENTER(memalign, FUNCTION_MEMALIGN)
ENTER(valloc, FUNCTION_VALLOC)
ENTER(pvalloc, FUNCTION_PVALLOC)
ENTER(strdup, FUNCTION_STRDUP)
ENTER(new, FUNCTION_NEW)

SEC("uretprobe")
int leave_any(struct pt_regs *ctx)
{
	keep_thread_stack(ctx);
	return leave(ctx);
}

SEC("uprobe")
int enter_free(struct pt_regs *ctx)
{
	keep_thread_stack(ctx);
	return give_back(ctx, FUNCTION_FREE);
}

SEC("uprobe")
int enter_delete(struct pt_regs *ctx)
{
	keep_thread_stack(ctx);
	return give_back(ctx, FUNCTION_DELETE);
}

SEC("uprobe")
int wrapper(struct pt_regs *ctx)
{
	keep_thread_stack(ctx);
	return enter_wrapper(ctx);
}

#endif

/* How often processes that are recorded have mapped more code, and how often the command has called exec. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); /* user space puts its own map in place of this */
	__type(key, __u32);
	__type(value, __u64);
} code_changes SEC(".maps");

static __always_inline __u64 *code_change(__u32 what)
{
	return bpf_map_lookup_elem(&code_changes, &what);
}

static __always_inline int code_changed(void)
{
	__u64 *changes = code_change(0);

	if (changes)
		__sync_fetch_and_add(changes, 1);
	return 0;
}

/* The dynamic linker has mapped or unmapped libraries. */
SEC("uprobe")
int linker(struct pt_regs *ctx)
{
	keep_thread_stack(ctx);
	return wanted_current() ? code_changed() : 0;
}

#define SIGSTOP 19

/*
 * A process has another program. The command itself, which is the recorder's child, waits until that
 * program's allocator has its probes; for the first one they are there before. Other processes go on: their
 * parents might not expect that they stop.
 */
SEC("raw_tp/sched_process_exec")
int program_changed(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 *execs = code_change(1);

	if (!wanted_current())
		return 0;
	if (settings.command && bpf_get_current_pid_tgid() >> 32 == (__u32)settings.command && execs) {
		/* First the signal: who sees the count can take it back. */
		if (*execs)
			bpf_send_signal(SIGSTOP);
		__sync_fetch_and_add(execs, 1);
	}
	return code_changed();
}

/* Its allocator's functions will not return. */
SEC("raw_tp/sched_process_exit")
int forget_thread(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct pending *call = PENDING_OF(tid);

	if (call)
		count(TABLE_ALLOC, UNPAIRED);
	bpf_map_delete_elem(&pending, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

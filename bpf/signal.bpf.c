// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Signals: each one that the kernel generates, and each call that sends one, with its result.
 */
#include "filter.h"

#define SIGALRM 14
#define SI_USER 0
#define SI_KERNEL 0x80
#define SI_TIMER (-2)

/* In place of a pointer to the signal's information (include/linux/sched/signal.h). */
#define SEND_SIG_NOINFO 0UL
#define SEND_SIG_PRIV 1UL

SEC("raw_tp/signal_generate")
int BPF_PROG(on_signal, __u64 sig, struct kernel_siginfo *info, struct task_struct *target, __u64 group,
	     __u64 result)
{
	struct task_struct *sender = current_task();
	struct signal_event *row;
	bool timer;
	int code;

	if (!wanted(sender) && !wanted(target))
		return 0;
	if ((unsigned long)info == SEND_SIG_NOINFO)
		code = SI_USER;
	else if ((unsigned long)info == SEND_SIG_PRIV)
		code = SI_KERNEL;
	else
		code = BPF_CORE_READ(info, si_code);
	/* Timers expire in an interrupt, whoever it interrupts. setitimer's sends PRIV (it_real_fn). */
	timer = code == SI_TIMER || (code == SI_KERNEL && sig == SIGALRM);

	row = RESERVE(signal, SIGNAL);
	if (!row)
		return 0;
	row->ts = bpf_ktime_get_ns();
	row->pid = timer ? UNKNOWN_32 : BPF_CORE_READ(sender, tgid);
	row->tid = timer ? UNKNOWN_32 : BPF_CORE_READ(sender, pid);
	row->uid = timer ? UNKNOWN_32 : BPF_CORE_READ(sender, cred, uid.val);
	row->sig = (__s32)sig;
	row->code = code;
	row->target_pid = BPF_CORE_READ(target, tgid);
	row->target_tid = BPF_CORE_READ(target, pid);
	row->target_uid = BPF_CORE_READ(target, cred, uid.val);
	row->result = (__s32)result;
	row->group = (__u32)group;
	__builtin_memset(&row->comm, 0, sizeof(row->comm));
	if (!timer)
		BPF_CORE_READ_STR_INTO(&row->comm, sender, comm);
	BPF_CORE_READ_STR_INTO(&row->target_comm, target, comm);
	SUBMIT(row);
	return 0;
}

enum call { KILL, TKILL, TGKILL };

struct pending {
	__u64 entered;
	__s32 call;
	__s32 target_pid;
	__s32 target_tid;
	__s32 sig;
};

/* Calls under way, by thread. There cannot be more than threads inside these calls at once. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct pending);
} calls SEC(".maps");

static __always_inline int enter(enum call call, __u64 target_pid, __u64 target_tid, __u64 sig)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct pending pending = {
		.entered = bpf_ktime_get_ns(),
		.call = call,
		.target_pid = (__s32)target_pid,
		.target_tid = (__s32)target_tid,
		.sig = (__s32)sig,
	};

	if (!wanted(current_task()))
		return 0;
	if (bpf_map_update_elem(&calls, &tid, &pending, BPF_ANY)) {
		count(TABLE_KILL, SEEN);
		count(TABLE_KILL, MAP_FULL);
	}
	return 0;
}

static __always_inline int leave(__s64 result)
{
	struct task_struct *task = current_task();
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct pending *pending = bpf_map_lookup_elem(&calls, &tid);
	struct kill_event *row;

	if (!pending)
		return 0;
	row = RESERVE(kill, KILL);
	if (row) {
		row->ts = pending->entered;
		row->duration = bpf_ktime_get_ns() - pending->entered;
		row->pid = BPF_CORE_READ(task, tgid);
		row->tid = tid;
		row->uid = BPF_CORE_READ(task, cred, uid.val);
		row->call = pending->call;
		row->target_pid = pending->target_pid;
		row->target_tid = pending->target_tid;
		row->sig = pending->sig;
		row->result = (__s32)result;
		BPF_CORE_READ_STR_INTO(&row->comm, task, comm);
		SUBMIT(row);
	}
	bpf_map_delete_elem(&calls, &tid);
	return 0;
}

/* The syscall tracepoints' records (trace_event_raw_sys_enter, ..._exit); stable since 2.6. */
struct sys_enter {
	__u64 common;
	long number;
	unsigned long args[6];
};

struct sys_exit {
	__u64 common;
	long number;
	long result;
};

SEC("tp/syscalls/sys_enter_kill")
int enter_kill(struct sys_enter *ctx)
{
	return enter(KILL, ctx->args[0], UNKNOWN_32, ctx->args[1]);
}

SEC("tp/syscalls/sys_enter_tkill")
int enter_tkill(struct sys_enter *ctx)
{
	return enter(TKILL, UNKNOWN_32, ctx->args[0], ctx->args[1]);
}

SEC("tp/syscalls/sys_enter_tgkill")
int enter_tgkill(struct sys_enter *ctx)
{
	return enter(TGKILL, ctx->args[0], ctx->args[1], ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_kill")
int leave_kill(struct sys_exit *ctx)
{
	return leave(ctx->result);
}

SEC("tp/syscalls/sys_exit_tkill")
int leave_tkill(struct sys_exit *ctx)
{
	return leave(ctx->result);
}

SEC("tp/syscalls/sys_exit_tgkill")
int leave_tgkill(struct sys_exit *ctx)
{
	return leave(ctx->result);
}

/*
 * Without tracefs, or on kernels without CONFIG_FTRACE_SYSCALLS: every call of every process passes
 * here, so the number is tested first. 32-bit callers use other numbers and are left out, as the
 * tracepoints above leave them out.
 */
#if defined(__TARGET_ARCH_x86)
#define NR_KILL 62
#define NR_TKILL 200
#define NR_TGKILL 234
#elif defined(__TARGET_ARCH_arm64)
#define NR_KILL 129
#define NR_TKILL 130
#define NR_TGKILL 131
#else
#error "unknown architecture: its numbers of kill, tkill and tgkill are missing here"
#endif

SEC("raw_tp/sys_enter")
int BPF_PROG(enter_any, struct pt_regs *regs, long number)
{
	if (number == NR_KILL)
		return enter(KILL, PT_REGS_PARM1_CORE_SYSCALL(regs), UNKNOWN_32,
			     PT_REGS_PARM2_CORE_SYSCALL(regs));
	if (number == NR_TKILL)
		return enter(TKILL, UNKNOWN_32, PT_REGS_PARM1_CORE_SYSCALL(regs),
			     PT_REGS_PARM2_CORE_SYSCALL(regs));
	if (number == NR_TGKILL)
		return enter(TGKILL, PT_REGS_PARM1_CORE_SYSCALL(regs), PT_REGS_PARM2_CORE_SYSCALL(regs),
			     PT_REGS_PARM3_CORE_SYSCALL(regs));
	return 0;
}

SEC("raw_tp/sys_exit")
int BPF_PROG(leave_any, struct pt_regs *regs, long result)
{
	return leave(result);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

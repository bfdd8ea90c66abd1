// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * System calls: those that were chosen, or all, each with how long it took and what it returned.
 */
#include "calls.h"
#include "pending.h"

struct pending {
	__u64 since;
	__u64 number;
	__u64 args[6];
};

PENDING;

struct syscall_record {
	struct syscall_event row;
	__u64 args[6];
};

/* Where some calls were chosen, numbers of 32-bit programs mean others, and are left out. */
static __always_inline bool chosen(long number)
{
	if (!settings.some_syscalls)
		return true;
	if (number < 0 || number >= SYSCALLS)
		return false;
	return settings.syscalls[(number & (SYSCALLS - 1)) / 64] >> (number & 63) & 1;
}

SEC("raw_tp/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long number)
{
	struct pending *call;

	if (!chosen(number) || !wanted_current())
		return 0;
	if (settings.some_syscalls && compat_call(current_task()))
		return 0;
	call = BEGIN((__u32)bpf_get_current_pid_tgid(), TABLE_SYSCALL);
	if (!call)
		return 0;
	call->number = (__u64)number;
	if (settings.syscall_args) {
		call->args[0] = PT_REGS_PARM1_CORE_SYSCALL(regs);
		call->args[1] = PT_REGS_PARM2_CORE_SYSCALL(regs);
		call->args[2] = PT_REGS_PARM3_CORE_SYSCALL(regs);
		call->args[3] = PT_REGS_PARM4_CORE_SYSCALL(regs);
		call->args[4] = PT_REGS_PARM5_CORE_SYSCALL(regs);
#if defined(__TARGET_ARCH_x86)
		call->args[5] = BPF_CORE_READ(regs, r9);
#else
		call->args[5] = BPF_CORE_READ((struct user_pt_regs *)regs, regs[5]);
#endif
	}
	call->since = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void fill(struct syscall_event *row, struct pending *call, __u64 pid_tgid,
				 __s64 duration, __s64 result)
{
	row->ts = call->since;
	row->duration = duration;
	row->result = result;
	row->number = (__s32)call->number;
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	row->uid = (__s32)bpf_get_current_uid_gid();
	row->args = 0;
	row->compat = !settings.some_syscalls && compat_call(current_task());
	bpf_get_current_comm(&row->comm, sizeof(row->comm));
}

static __always_inline void ended(struct pending *call, __u64 pid_tgid, __s64 duration, __s64 result)
{
	if (settings.syscall_args) {
		struct syscall_record *record = reserve(TABLE_SYSCALL, sizeof(*record));

		if (record) {
			fill(&record->row, call, pid_tgid, duration, result);
			record->row.args = loc(offsetof(struct syscall_record, args), sizeof(record->args));
			__builtin_memcpy(record->args, call->args, sizeof(record->args));
			SUBMIT(record);
		}
	} else {
		struct syscall_event *row = RESERVE(syscall, SYSCALL);

		if (row) {
			fill(row, call, pid_tgid, duration, result);
			SUBMIT(row);
		}
	}
}

SEC("raw_tp/sys_exit")
int BPF_PROG(on_leave, struct pt_regs *regs, long result)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid(), duration;
	struct pending *call = PENDING_OF((__u32)pid_tgid);
	long number;

	if (!call) {
		number = number_of(regs);
		/* A new thread returns from its parent's call. */
		if (chosen(number) && !makes_a_thread(number) && wanted_current())
			count(TABLE_SYSCALL, UNPAIRED);
		return 0;
	}
	duration = bpf_ktime_get_ns() - call->since;
	if (duration >= (__u64)settings.min_latency)
		ended(call, pid_tgid, (__s64)duration, result);
	call->since = 0;
	return 0;
}

/* exec by a thread that is not the first: the others end, and the thread takes the first one's id. */
SEC("raw_tp/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, __u64 old_pid)
{
	__u32 from = (__u32)old_pid, to = BPF_CORE_READ(task, pid);
	struct pending *call;

	if (from == to)
		return 0;
	call = bpf_map_lookup_elem(&pending, &from);
	if (call) {
		if (bpf_map_update_elem(&pending, &to, call, BPF_ANY) && call->since) {
			count(TABLE_SYSCALL, SEEN);
			count(TABLE_SYSCALL, MAP_FULL);
		}
		bpf_map_delete_elem(&pending, &from);
	}
	return 0;
}

/* A thread that ends in a call: exit itself, or it was killed there. */
SEC("raw_tp/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)pid_tgid;
	struct pending *call = PENDING_OF(tid);

	if (call)
		ended(call, pid_tgid, UNKNOWN_64, UNKNOWN_64);
	bpf_map_delete_elem(&pending, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Time off the CPU: from the switch by which a thread leaves its CPU to the one by which it gets one again.
 *
 * What is known when it leaves (stacks, system call, state) is noted in the very row that its return
 * completes. So what has not come back when the recording ends is in the map as a row without a duration.
 *
 * Who woke it, `sched_waking` tells: it always runs where the waker does, while `sched_wakeup` may run
 * on the CPU that the woken thread gets. A waker that is faster than the switch comes before it; what
 * counts is the last wakeup since the thread had a CPU.
 *
 * Programs that need a task's members are there twice, as in runq.bpf.c.
 */
#include "calls.h"
#include "context.h"
#include "pending.h"
#include "stacks.h"
#include "tasks.h"

struct pending {
	__u64 since; /* 0: it has a CPU */
	__u64 woken; /* 0: not since it had a CPU */
	__u64 new; /* it never had one */
	struct offcpu_event row;
};

PENDING;

static __always_inline void without_waker(struct offcpu_event *row)
{
	row->woken_by_interrupt = UNKNOWN_32;
	row->waker_pid = UNKNOWN_32;
	row->waker_tid = UNKNOWN_32;
	__builtin_memset(row->waker_comm, 0, sizeof(row->waker_comm));
}

/* The current thread leaves its CPU. */
static __always_inline void leaves(void *ctx, bool preempted, struct task_struct *task, const bool typed)
{
	__u64 now = bpf_ktime_get_ns(), pid_tgid = bpf_get_current_pid_tgid();
	/* One that was about to sleep and is preempted can run. */
	__u32 tid = (__u32)pid_tgid, state = preempted ? 0 : task_state(task, typed);
	struct offcpu_event *row;
	struct pending *wait;

	if (!tid)
		return;
	if (state & TASK_DEAD) {
		bpf_map_delete_elem(&pending, &tid);
		return;
	}
	if (!wanted_current())
		return;
	wait = BEGIN(tid, TABLE_OFFCPU);
	if (!wait)
		return;
	row = &wait->row;
	row->ts = (__s64)now;
	row->duration = UNKNOWN_64;
	row->runnable = UNKNOWN_64;
	row->user_stack = user_stack(ctx, task, TABLE_OFFCPU);
	row->kernel_stack = kernel_stack(ctx, TABLE_OFFCPU);
	row->state = state & TASK_WAKING ? UNKNOWN_32 : (__s32)state;
	row->io = (__u32)BPF_CORE_READ_BITFIELD_PROBED(task, in_iowait);
	row->syscall = current_call(task);
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)tid;
	row->uid = (__s32)bpf_get_current_uid_gid();
	row->cpu = (__s32)bpf_get_smp_processor_id();
	row->next_cpu = UNKNOWN_32;
	row->prio = MEMBER(typed, task, prio);
	bpf_get_current_comm(&row->comm, sizeof(row->comm));
	if (!wait->woken)
		without_waker(row);
	wait->new = 0;
	wait->since = now;
}

/* A thread gets a CPU. */
static __always_inline void returns(struct task_struct *task, const bool typed)
{
	__u32 tid = MEMBER(typed, task, pid);
	struct offcpu_event *row;
	struct pending *wait;
	__u64 now, length;

	if (!tid)
		return;
	wait = bpf_map_lookup_elem(&pending, &tid);
	if (!wait || !wait->since) {
		if (!(wait && wait->new) && wanted_task(task, typed))
			count(TABLE_OFFCPU, UNPAIRED);
		if (wait)
			wait->woken = wait->new = 0;
		return;
	}
	now = bpf_ktime_get_ns();
	length = now - wait->since;
	if (length >= (__u64)settings.min_latency) {
		row = &wait->row;
		row->duration = (__s64)length;
		row->next_cpu = (__s32)bpf_get_smp_processor_id();
		if (!row->state) {
			row->runnable = (__s64)length;
			without_waker(row);
		} else if (wait->woken) {
			row->runnable = (__s64)(now - (wait->woken > wait->since ? wait->woken : wait->since));
		}
		count(TABLE_OFFCPU, SEEN);
		emit(TABLE_OFFCPU, row, sizeof(*row));
	}
	wait->since = 0;
	wait->woken = 0;
}

/* The current thread, or a handler that interrupts it, wakes another. */
static __always_inline void wakes(__u32 tid)
{
	struct pending *wait = bpf_map_lookup_elem(&pending, &tid);
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct offcpu_event *row;
	__s32 by_interrupt;

	if (!wait)
		return;
	row = &wait->row;
	by_interrupt = in_interrupt();
	without_waker(row);
	row->woken_by_interrupt = by_interrupt;
	if (by_interrupt != 1) {
		row->waker_pid = pid_tgid >> 32;
		row->waker_tid = (__s32)pid_tgid;
		bpf_get_current_comm(&row->waker_comm, sizeof(row->waker_comm));
	}
	wait->woken = bpf_ktime_get_ns();
}

/* A thread that is new gets its first CPU without having left one. */
static __always_inline void begins(struct task_struct *task, const bool typed)
{
	__u32 tid = MEMBER(typed, task, pid);
	struct pending new = { .new = 1 };

	/* Where there is no room, that is counted when it leaves its CPU. */
	if (wanted_task(task, typed))
		bpf_map_update_elem(&pending, &tid, &new, BPF_ANY);
}

/* In this order they are attached, and in the reverse detached: no wait is seen whose wakeup is not. */

SEC("tp_btf/sched_waking")
int BPF_PROG(typed_waking, struct task_struct *task)
{
	wakes(task->pid);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(typed_new, struct task_struct *task)
{
	begins(task, true);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(typed_switch, __u64 preempted, struct task_struct *prev, struct task_struct *next)
{
	leaves(ctx, preempted & 1, prev, true);
	returns(next, true);
	return 0;
}

SEC("raw_tp/sched_waking")
int BPF_PROG(raw_waking, struct task_struct *task)
{
	wakes(BPF_CORE_READ(task, pid));
	return 0;
}

SEC("raw_tp/sched_wakeup_new")
int BPF_PROG(raw_new, struct task_struct *task)
{
	begins(task, false);
	return 0;
}

SEC("raw_tp/sched_switch")
int BPF_PROG(raw_switch, __u64 preempted, struct task_struct *prev, struct task_struct *next)
{
	leaves(ctx, preempted & 1, prev, false);
	returns(next, false);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

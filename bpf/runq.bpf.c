// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Waits for a CPU: from the moment at which a thread could run to the one at which it does.
 *
 * Each program is there twice: where the kernel tells it the types of its arguments (tp_btf), members
 * are read by plain loads; the other (raw_tp) copies each.
 */
#include "pending.h"
#include "tasks.h"

enum cause { WOKEN, PREEMPTED, NEW };

struct pending {
	__u64 since;
	__u32 cause;
	__u32 running; /* it has a CPU, as far as we saw */
	__s64 pid_ns; /* of the thread; it never changes */
};

PENDING;

static __always_inline __s64 pid_namespace(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct upid *number;

	if (!pid)
		return UNKNOWN_64;
	number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
		 BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
	return BPF_CORE_READ(number, ns, ns.inum);
}

static __always_inline int waits(struct task_struct *task, enum cause cause, const bool typed)
{
	__u32 tid = MEMBER(typed, task, pid);
	struct pending *wait;

	if (!tid || !wanted_task(task, typed))
		return 0;
	wait = bpf_map_lookup_elem(&pending, &tid);
	if (!wait) {
		struct pending new = { .pid_ns = pid_namespace(task) };

		bpf_map_update_elem(&pending, &tid, &new, BPF_NOEXIST);
		wait = bpf_map_lookup_elem(&pending, &tid);
		if (!wait) {
			count(TABLE_RUNQ, SEEN);
			count(TABLE_RUNQ, MAP_FULL);
			return 0;
		}
	}
	/* A thread can be woken while it waits already, or between the wish to sleep and the switch. */
	if (cause == WOKEN && (wait->since || wait->running))
		return 0;
	if (wait->since)
		count(TABLE_RUNQ, UNPAIRED); /* it got a CPU unseen */
	wait->since = bpf_ktime_get_ns();
	wait->cause = cause;
	wait->running = 0;
	return 0;
}

static __always_inline int switches(__u64 preempted, struct task_struct *prev, struct task_struct *next,
				    const bool typed)
{
	__u32 tid = MEMBER(typed, prev, pid);
	struct pending *wait;
	struct runq_event *row;
	__u64 length;

	if (tid && (preempted || !task_state(prev, typed))) {
		waits(prev, PREEMPTED, typed);
	} else if (tid) {
		wait = bpf_map_lookup_elem(&pending, &tid);
		if (wait) {
			wait->since = 0;
			wait->running = 0;
		}
	}

	tid = MEMBER(typed, next, pid);
	if (!tid)
		return 0;
	wait = bpf_map_lookup_elem(&pending, &tid);
	if (wait)
		wait->running = 1;
	if (!wait || !wait->since) {
		if (wanted_task(next, typed))
			count(TABLE_RUNQ, UNPAIRED);
		return 0;
	}
	length = bpf_ktime_get_ns() - wait->since;
	if (length >= (__u64)settings.min_latency) {
		row = RESERVE(runq, RUNQ);
		if (row) {
			row->ts = wait->since;
			row->wait = length;
			row->cause = (__s32)wait->cause;
			row->cgroup = MEMBER(typed, next, cgroups, dfl_cgrp, kn, id);
			row->pid_ns = wait->pid_ns;
			row->pid = MEMBER(typed, next, tgid);
			row->tid = tid;
			row->uid = MEMBER(typed, next, cred, uid.val);
			row->prio = MEMBER(typed, next, prio);
			row->cpu = bpf_get_smp_processor_id();
			row->prev_pid = MEMBER(typed, prev, tgid);
			row->prev_tid = MEMBER(typed, prev, pid);
			bpf_probe_read_kernel_str(&row->comm, sizeof(row->comm), next->comm);
			bpf_probe_read_kernel_str(&row->prev_comm, sizeof(row->prev_comm), prev->comm);
			SUBMIT(row);
		}
	}
	wait->since = 0;
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(typed_wakeup, struct task_struct *task)
{
	return waits(task, WOKEN, true);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(typed_wakeup_new, struct task_struct *task)
{
	return waits(task, NEW, true);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(typed_switch, __u64 preempted, struct task_struct *prev, struct task_struct *next)
{
	return switches(preempted & 1, prev, next, true);
}

SEC("raw_tp/sched_wakeup")
int BPF_PROG(raw_wakeup, struct task_struct *task)
{
	return waits(task, WOKEN, false);
}

SEC("raw_tp/sched_wakeup_new")
int BPF_PROG(raw_wakeup_new, struct task_struct *task)
{
	return waits(task, NEW, false);
}

SEC("raw_tp/sched_switch")
int BPF_PROG(raw_switch, __u64 preempted, struct task_struct *prev, struct task_struct *next)
{
	return switches(preempted & 1, prev, next, false);
}

/* The thread is gone; its last switch was after its exit. */
SEC("raw_tp/sched_process_free")
int BPF_PROG(forget, struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid);

	bpf_map_delete_elem(&pending, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

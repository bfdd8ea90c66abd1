// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Keeps `targets` true while processes come and go: children of targets become targets, before they
 * first run, and the dead leave. Attached only where there are targets.
 */
#include "filter.h"

SEC("raw_tp/sched_process_fork")
int BPF_PROG(follow_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = BPF_CORE_READ(parent, tgid);
	__u32 to = BPF_CORE_READ(child, tgid);
	__u8 forked = TARGET_FORKED;

	if (from == to)
		return 0;
	if (!settings.follow || !bpf_map_lookup_elem(&targets, &from)) {
		/* Then it is no target. What is there is left of one that had its pid before. */
		if (bpf_map_lookup_elem(&targets, &to))
			bpf_map_delete_elem(&targets, &to);
		return 0;
	}
	if (bpf_map_update_elem(&targets, &to, &forked, BPF_ANY)) {
		/* A whole process is missing from here on. */
		count(TABLE_FORK, SEEN);
		count(TABLE_FORK, MAP_FULL);
	}
	return 0;
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(follow_exec, struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);
	__u8 *target = bpf_map_lookup_elem(&targets, &tgid);

	if (target)
		*target = TARGET;
	return 0;
}

/*
 * The task is gone for good. Earlier its last events, such as the SIGCHLD of its end, would be missed. Its
 * pid is free since before the grace period that this waited for (free_pid), but pids are given out in turn.
 */
SEC("raw_tp/sched_process_free")
int BPF_PROG(follow_free, struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);

	if (BPF_CORE_READ(task, pid) == tgid)
		bpf_map_delete_elem(&targets, &tgid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

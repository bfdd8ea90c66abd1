/*
 * Which tasks are recorded. All filters must agree; those that the user did not give let all pass.
 * `settings` is read-only data, so that the verifier drops the tests that are off.
 */
#pragma once

#include "events.h"

/* What is noted of a target: whether its memory is a copy of its parent's, until it calls exec. */
#define TARGET 1
#define TARGET_FORKED 2

/* The processes that were asked for, by tgid, and with `follow` their descendants. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space puts its own map in place of this */
	__type(key, __u32);
	__type(value, __u8);
} targets SEC(".maps");

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/*
 * A member of a kernel object. Where the kernel tells the program the object's type (tp_btf), it is
 * a load; elsewhere (raw_tp) a call of bpf_probe_read_kernel. `typed` is a constant.
 */
#define MEMBER(typed, ...) ((typed) ? ___arrow(__VA_ARGS__) : BPF_CORE_READ(__VA_ARGS__))

static __always_inline __u64 cgroup_id(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline bool in_cgroup(struct task_struct *task)
{
	struct cgroup *group = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	int level = settings.cgroup_level;
	struct cgroup *ancestor = NULL;
	__u64 id = 0;

	if (BPF_CORE_READ(group, level) < level)
		return false;
	if (bpf_core_field_exists(struct cgroup___ids, ancestor_ids)) {
		struct cgroup___ids *old = (void *)group;

		bpf_core_read(&id, sizeof(id), &old->ancestor_ids[0] + level);
	} else {
		bpf_core_read(&ancestor, sizeof(ancestor), &group->ancestors[0] + level);
		id = BPF_CORE_READ(ancestor, kn, id);
	}
	return id == (__u64)settings.cgroup;
}

static __always_inline bool has_name(struct task_struct *task)
{
	char comm[TASK_COMM_LEN] = {};

	BPF_CORE_READ_STR_INTO(&comm, task, comm);
	for (int i = 0; i < TASK_COMM_LEN; i++) {
		if (comm[i] != settings.comm[i])
			return false;
		if (!comm[i])
			break;
	}
	return true;
}

static __always_inline bool wanted_task(struct task_struct *task, const bool typed)
{
	__u32 tgid = MEMBER(typed, task, tgid);

	if (tgid == (__u32)settings.own_pid)
		return false;
	if (settings.tid && MEMBER(typed, task, pid) != settings.tid)
		return false;
	if (settings.by_target && !bpf_map_lookup_elem(&targets, &tgid))
		return false;
	if (settings.uid != -1 && BPF_CORE_READ(task, cred, uid.val) != (__u32)settings.uid)
		return false;
	if (settings.cgroup && !in_cgroup(task))
		return false;
	if (settings.comm[0] && !has_name(task))
		return false;
	return true;
}

static __always_inline bool wanted(struct task_struct *task)
{
	return wanted_task(task, false);
}

/*
 * The same for the current task, which helpers tell more about at less cost. `by_target` is false where
 * the program runs in targets only.
 */
static __always_inline bool wanted_current_by(bool by_target)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 tgid = pid_tgid >> 32;

	if (tgid == (__u32)settings.own_pid)
		return false;
	if (settings.tid && (__s32)pid_tgid != settings.tid)
		return false;
	if (by_target && settings.by_target && !bpf_map_lookup_elem(&targets, &tgid))
		return false;
	if (settings.uid != -1 && (__s32)bpf_get_current_uid_gid() != settings.uid)
		return false;
	if (settings.cgroup && !in_cgroup(current_task()))
		return false;
	if (settings.comm[0] && !has_name(current_task()))
		return false;
	return true;
}

static __always_inline bool wanted_current(void)
{
	return wanted_current_by(true);
}

/* Whether the user asked for some tasks only. */
static __always_inline bool filtered(void)
{
	return settings.by_target || settings.tid || settings.uid != -1 || settings.cgroup || settings.comm[0];
}

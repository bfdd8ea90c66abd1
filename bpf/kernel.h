/*
 * The kernel's types, as far as we read them. Every struct is relocated (CO-RE): members are found by
 * name in the running kernel's BTF, so that only names and types matter here, not the layout.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>
/* Makes bpf_tracing.h use the kernel's names of the registers, not those of user space's headers. */
#define __VMLINUX_H__
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define TASK_COMM_LEN 16
#define PF_KTHREAD 0x00200000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long dx;
	unsigned long si;
	unsigned long di;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
};

struct pt_regs {
	__u64 orig_x0;
};
#endif

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup_root *root;
	struct cgroup *ancestors[]; /* since 6.1 (7f203bc89eb6) */
};

/* Before 6.1 a cgroup held the ids of its ancestors instead. */
struct cgroup___ids {
	int level;
	__u64 ancestor_ids[];
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

typedef struct {
	int counter;
} atomic_t;

struct task_cputime {
	__u64 stime;
	__u64 utime;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	__u64 utime;
	__u64 stime;
	unsigned long min_flt;
	unsigned long maj_flt;
	unsigned long maxrss;
	unsigned long long sum_sched_runtime;
	int group_exit_code;
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

struct task_struct {
	unsigned int flags;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	__u64 start_time;
	__u64 utime;
	__u64 stime;
	unsigned long min_flt;
	unsigned long maj_flt;
	struct sched_entity se;
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct css_set *cgroups;
	const struct cred *cred;
	const struct cred *real_cred;
	char comm[TASK_COMM_LEN];
};

struct linux_binprm {
	const char *filename;
};

struct kernel_siginfo {
	int si_code;
};

/* The context of perf_event programs; of its registers we need none. */
struct bpf_perf_event_data {
	__u64 sample_period;
};

#pragma clang attribute pop

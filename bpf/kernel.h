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
/* Threads of a process that never run its code: io_uring's, and since 6.4 (54e6842d0775) vhost's. */
#define PF_IO_WORKER 0x00000010
#define PF_USER_WORKER 0x00004000
#define IPPROTO_TCP 6

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long bp;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long cs;
	unsigned long sp;
	unsigned long ss;
};

struct thread_info {
	__u32 status;
};

struct pcpu_hot {
	int preempt_count;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
};

struct pt_regs {
	__u64 orig_x0;
	__s32 syscallno;
};

struct thread_info {
	unsigned long flags;
	__u64 preempt_count;
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

struct file {
	struct path f_path;
};

struct filename {
	const char *name;
};

struct open_how {
	__u64 flags;
	__u64 mode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
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

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[];
};

/* Where the kernel runs probed instructions out of line, and where probed functions return to. */
struct xol_area {
	unsigned long vaddr;
};

struct uprobes_state {
	struct xol_area *xol_area;
};

struct mm_struct {
	unsigned long brk;
	struct uprobes_state uprobes_state;
	unsigned long end_code;
	unsigned long start_stack;
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

/* A function that was entered and whose return is probed. */
struct return_instance {
	unsigned long stack;
	unsigned long orig_ret_vaddr;
	struct return_instance *next;
};

struct uprobe_task {
	struct return_instance *return_instances;
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state; /* since 5.14 (2f064a59a11f) */
	void *stack;
	unsigned int flags;
	int prio;
	unsigned int in_iowait : 1;
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
	struct files_struct *files;
	struct pid *thread_pid;
	struct css_set *cgroups;
	struct uprobe_task *utask;
	const struct cred *cred;
	const struct cred *real_cred;
	char comm[TASK_COMM_LEN];
};

/* Before 5.14. */
struct task_struct___state {
	volatile long state;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	__u16 sk_type;
	__u16 sk_protocol; /* bits of a word before 5.6; we need 5.10 */
};

struct inet_sock {
	struct sock sk;
	__u16 inet_sport;
};

struct tcp_sock {
	__u32 srtt_us;
	__u32 total_retrans;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 bytes_received;
};

struct socket {
	short type;
	struct sock *sk;
};

struct sockaddr {
	unsigned short sa_family;
};

struct in_addr {
	__u32 s_addr;
};

struct sockaddr_in {
	__u16 sin_port;
	struct in_addr sin_addr;
};

struct sockaddr_in6 {
	__u16 sin6_port;
	struct in6_addr sin6_addr;
};

struct irqaction {
	const char *name;
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

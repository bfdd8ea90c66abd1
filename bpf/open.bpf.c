// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Files that are opened, and those that cannot be: open, openat, openat2 and creat.
 *
 * Three ways lead to the same rows: do_sys_openat2, which all four calls go through (since 5.6), by
 * fentry and fexit or by kprobes; and the raw tracepoints of system calls. The path is read when the
 * call is over: the kernel has read it then, so its page is in memory.
 */
#include "calls.h"
#include "paths.h"
#include "pending.h"

#define O_WRONLY 1
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_LARGEFILE 0100000
#define O_TMPFILE 020000000 /* without the O_DIRECTORY that comes with it */

struct pending {
	__u64 since;
	const char *path;
	__s32 dirfd;
	__s32 flags;
	__s64 mode;
};

PENDING;

struct open_record {
	struct open_event row;
	char paths[PATHS_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct open_record);
} open_scratch SEC(".maps");

static __always_inline int enter(__u64 dirfd, const char *path, __u64 flags, __u64 mode)
{
	struct pending *call;

	if (!wanted_current())
		return 0;
	call = BEGIN((__u32)bpf_get_current_pid_tgid(), TABLE_OPEN);
	if (!call)
		return 0;
	call->path = path;
	call->dirfd = (__s32)dirfd;
	/* 64-bit kernels add it to what the caller gave, where it means nothing. */
	call->flags = (__s32)flags & ~O_LARGEFILE;
	call->mode = (__s64)mode;
	call->since = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int leave(__s64 result)
{
	struct pending *call = PENDING_OF((__u32)bpf_get_current_pid_tgid());
	__u64 now = bpf_ktime_get_ns(), pid_tgid = bpf_get_current_pid_tgid(), used = 0;
	const __u64 from = offsetof(struct open_record, paths);
	struct open_record *record;
	struct open_event *row;
	__u32 zero = 0;

	if (!call)
		return 0;
	record = bpf_map_lookup_elem(&open_scratch, &zero);
	if (record && now - call->since >= (__u64)settings.min_latency) {
		count(TABLE_OPEN, SEEN);
		row = &record->row;
		row->ts = call->since;
		row->duration = now - call->since;
		row->result = (__s32)result;
		row->flags = call->flags;
		row->mode = call->flags & (O_CREAT | O_TMPFILE) ? (__s32)call->mode : UNKNOWN_32;
		row->path = append_text(record->paths, &used, from, call->path, true);
		row->dir = append_directory(record->paths, &used, from, row->path, call->dirfd, 0);
		row->pid = pid_tgid >> 32;
		row->tid = (__s32)pid_tgid;
		row->uid = (__s32)bpf_get_current_uid_gid();
		bpf_get_current_comm(&row->comm, sizeof(row->comm));
		if (used <= PATHS_BYTES)
			emit(TABLE_OPEN, record, from + used);
	}
	call->since = 0;
	return 0;
}

SEC("fentry/do_sys_openat2")
int BPF_PROG(fentry_openat2, __u64 dirfd, const char *path, struct open_how *how)
{
	return enter(dirfd, path, BPF_CORE_READ(how, flags), BPF_CORE_READ(how, mode));
}

SEC("fexit/do_sys_openat2")
int BPF_PROG(fexit_openat2, __u64 dirfd, const char *path, struct open_how *how, long result)
{
	return leave(result);
}

SEC("kprobe/do_sys_openat2")
int BPF_KPROBE(kprobe_openat2, __u64 dirfd, const char *path, struct open_how *how)
{
	return enter(dirfd, path, BPF_CORE_READ(how, flags), BPF_CORE_READ(how, mode));
}

SEC("kretprobe/do_sys_openat2")
int BPF_KRETPROBE(kretprobe_openat2, long result)
{
	return leave(result);
}

SEC("raw_tp/sys_enter")
int BPF_PROG(raw_enter, struct pt_regs *regs, long number)
{
	struct open_how *how, copy = {};

	if (number != NR_OPENAT && number != NR_OPEN && number != NR_CREAT && number != NR_OPENAT2)
		return 0;
	if (compat_call(current_task()))
		return 0;
	if (number == NR_OPENAT)
		return enter(PT_REGS_PARM1_CORE_SYSCALL(regs), (void *)PT_REGS_PARM2_CORE_SYSCALL(regs),
			     PT_REGS_PARM3_CORE_SYSCALL(regs), PT_REGS_PARM4_CORE_SYSCALL(regs));
	if (number == NR_OPEN)
		return enter((__u64)AT_FDCWD, (void *)PT_REGS_PARM1_CORE_SYSCALL(regs),
			     PT_REGS_PARM2_CORE_SYSCALL(regs), PT_REGS_PARM3_CORE_SYSCALL(regs));
	if (number == NR_CREAT)
		return enter((__u64)AT_FDCWD, (void *)PT_REGS_PARM1_CORE_SYSCALL(regs),
			     O_CREAT | O_WRONLY | O_TRUNC, PT_REGS_PARM2_CORE_SYSCALL(regs));
	how = (void *)PT_REGS_PARM3_CORE_SYSCALL(regs);
	bpf_probe_read_user(&copy, sizeof(copy), how);
	return enter(PT_REGS_PARM1_CORE_SYSCALL(regs), (void *)PT_REGS_PARM2_CORE_SYSCALL(regs), copy.flags,
		     copy.mode);
}

SEC("raw_tp/sys_exit")
int BPF_PROG(raw_leave, struct pt_regs *regs, long result)
{
	return leave(result);
}

/* A thread that is killed while it opens. Its call did not return, so there is no row. */
SEC("raw_tp/sched_process_exit")
int BPF_PROG(forget, struct task_struct *task)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	if (PENDING_OF(tid))
		count(TABLE_OPEN, UNPAIRED);
	bpf_map_delete_elem(&pending, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Names that leave a directory: unlink, rmdir, rename and their relatives.
 *
 * The kernel's functions have the paths as copies of their own, which are gone when they return; so
 * they are copied when the function is entered, into a record that waits for the result. Called
 * do_unlinkat, do_rmdir and do_renameat2, they became filename_unlinkat and so on by 7.3. Where neither
 * can be probed, the raw tracepoints of system calls serve, and the paths are read from user memory when
 * the call is over.
 */
#include "calls.h"
#include "paths.h"

#define AT_REMOVEDIR 0x200

enum call { UNLINK, RMDIR, RENAME, CALLS };

struct removal {
	__u64 since;
	__u64 used; /* bytes of paths */
	const char *path, *new_path;
	__s32 dirfd, new_dirfd;
	struct unlink_event row;
	char paths[PATHS_ROOM];
};

/* Where `paths` is, seen from the start of the record that is sent. */
#define FROM (offsetof(struct removal, paths) - offsetof(struct removal, row))

/* What threads are removing now; more than this at once are counted as lost. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct removal);
} removals SEC(".maps");

/* By call, for the reason that walks have slots. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CALLS);
	__type(key, __u32);
	__type(value, struct removal);
} removal_scratch SEC(".maps");

struct name {
	__s32 dirfd;
	const char *text;
};

static __always_inline void append_paths(struct removal *removal, bool user, __u32 slot)
{
	struct unlink_event *row = &removal->row;
	__u64 used = 0;

	row->path = append_text(removal->paths, &used, FROM, removal->path, user);
	row->new_path = 0;
	if (row->call == RENAME)
		row->new_path = append_text(removal->paths, &used, FROM, removal->new_path, user);
	row->dir = append_directory(removal->paths, &used, FROM, row->path, removal->dirfd, slot);
	row->new_dir = append_directory(removal->paths, &used, FROM, row->new_path, removal->new_dirfd, slot);
	removal->used = used;
}

static __always_inline int enter(enum call call, struct name path, struct name new_path, __u64 flags, bool user)
{
	__u32 slot = user ? 0 : call, tid = (__u32)bpf_get_current_pid_tgid();
	struct removal *removal = bpf_map_lookup_elem(&removal_scratch, &slot);

	if (!removal || !wanted_current())
		return 0;
	removal->used = 0;
	removal->path = path.text;
	removal->dirfd = path.dirfd;
	removal->new_path = new_path.text;
	removal->new_dirfd = new_path.dirfd;
	removal->row.call = call;
	removal->row.flags = (__s32)flags;
	if (!user)
		append_paths(removal, false, slot);
	removal->since = bpf_ktime_get_ns();
	/* One that still waits has lost its end. */
	if (bpf_map_lookup_elem(&removals, &tid))
		count(TABLE_UNLINK, UNPAIRED);
	if (bpf_map_update_elem(&removals, &tid, removal, BPF_ANY)) {
		count(TABLE_UNLINK, SEEN);
		count(TABLE_UNLINK, MAP_FULL);
	}
	return 0;
}

static __always_inline int leave(__s64 result, bool user)
{
	__u64 now = bpf_ktime_get_ns(), pid_tgid = bpf_get_current_pid_tgid(), used;
	__u32 tid = (__u32)pid_tgid;
	struct removal *removal = bpf_map_lookup_elem(&removals, &tid);
	struct unlink_event *row;

	if (!removal)
		return 0;
	if (now - removal->since >= (__u64)settings.min_latency) {
		count(TABLE_UNLINK, SEEN);
		row = &removal->row;
		if (user)
			append_paths(removal, true, 0);
		row->ts = removal->since;
		row->duration = now - removal->since;
		row->result = (__s32)result;
		row->pid = pid_tgid >> 32;
		row->tid = (__s32)tid;
		row->uid = (__s32)bpf_get_current_uid_gid();
		bpf_get_current_comm(&row->comm, sizeof(row->comm));
		used = removal->used;
		if (used <= PATHS_BYTES)
			emit(TABLE_UNLINK, row, FROM + used);
	}
	bpf_map_delete_elem(&removals, &tid);
	return 0;
}

static __always_inline int enter_names(enum call call, __u64 dirfd, struct filename *path, __u64 new_dirfd,
				       struct filename *new_path, __u64 flags)
{
	struct name from = { (__s32)dirfd, BPF_CORE_READ(path, name) };
	struct name to = { (__s32)new_dirfd, new_path ? BPF_CORE_READ(new_path, name) : NULL };

	return enter(call, from, to, flags, false);
}

/* The programs for functions of one family of names: before 7.3 and after. */
#define PROGRAMS(prefix)                                                                                 \
	SEC("fentry/" #prefix "_unlinkat")                                                               \
	int BPF_PROG(fentry_##prefix##_unlinkat, __u64 dirfd, struct filename *path)                     \
	{                                                                                                \
		return enter_names(UNLINK, dirfd, path, 0, NULL, 0);                                     \
	}                                                                                                \
	SEC("fentry/" #prefix "_rmdir")                                                                  \
	int BPF_PROG(fentry_##prefix##_rmdir, __u64 dirfd, struct filename *path)                        \
	{                                                                                                \
		return enter_names(RMDIR, dirfd, path, 0, NULL, 0);                                      \
	}                                                                                                \
	SEC("fentry/" #prefix "_renameat2")                                                              \
	int BPF_PROG(fentry_##prefix##_renameat2, __u64 dirfd, struct filename *path, __u64 new_dirfd,   \
		     struct filename *new_path, __u64 flags)                                             \
	{                                                                                                \
		return enter_names(RENAME, dirfd, path, new_dirfd, new_path, (__u32)flags);              \
	}                                                                                                \
	SEC("fexit/" #prefix "_unlinkat")                                                                \
	int BPF_PROG(fexit_##prefix##_unlinkat, __u64 dirfd, struct filename *path, long result)         \
	{                                                                                                \
		return leave(result, false);                                                             \
	}                                                                                                \
	SEC("fexit/" #prefix "_rmdir")                                                                   \
	int BPF_PROG(fexit_##prefix##_rmdir, __u64 dirfd, struct filename *path, long result)            \
	{                                                                                                \
		return leave(result, false);                                                             \
	}                                                                                                \
	SEC("fexit/" #prefix "_renameat2")                                                               \
	int BPF_PROG(fexit_##prefix##_renameat2, __u64 dirfd, struct filename *path, __u64 new_dirfd,    \
		     struct filename *new_path, __u64 flags, long result)                                \
	{                                                                                                \
		return leave(result, false);                                                             \
	}                                                                                                \
	SEC("kprobe/" #prefix "_unlinkat")                                                               \
	int BPF_KPROBE(kprobe_##prefix##_unlinkat, __u64 dirfd, struct filename *path)                   \
	{                                                                                                \
		return enter_names(UNLINK, dirfd, path, 0, NULL, 0);                                     \
	}                                                                                                \
	SEC("kprobe/" #prefix "_rmdir")                                                                  \
	int BPF_KPROBE(kprobe_##prefix##_rmdir, __u64 dirfd, struct filename *path)                      \
	{                                                                                                \
		return enter_names(RMDIR, dirfd, path, 0, NULL, 0);                                      \
	}                                                                                                \
	SEC("kprobe/" #prefix "_renameat2")                                                              \
	int BPF_KPROBE(kprobe_##prefix##_renameat2, __u64 dirfd, struct filename *path, __u64 new_dirfd, \
		       struct filename *new_path, __u64 flags)                                           \
	{                                                                                                \
		return enter_names(RENAME, dirfd, path, new_dirfd, new_path, (__u32)flags);              \
	}                                                                                                \
	SEC("kretprobe/" #prefix "_unlinkat")                                                            \
	int BPF_KRETPROBE(kretprobe_##prefix##_unlinkat, long result)                                    \
	{                                                                                                \
		return leave(result, false);                                                             \
	}                                                                                                \
	SEC("kretprobe/" #prefix "_rmdir")                                                               \
	int BPF_KRETPROBE(kretprobe_##prefix##_rmdir, long result)                                       \
	{                                                                                                \
		return leave(result, false);                                                             \
	}                                                                                                \
	SEC("kretprobe/" #prefix "_renameat2")                                                           \
	int BPF_KRETPROBE(kretprobe_##prefix##_renameat2, long result)                                   \
	{                                                                                                \
		return leave(result, false);                                                             \
	}

PROGRAMS(do)
PROGRAMS(filename)

SEC("raw_tp/sys_enter")
int BPF_PROG(raw_enter, struct pt_regs *regs, long number)
{
	struct name path = { AT_FDCWD }, new_path = { AT_FDCWD };
	enum call call = UNLINK;
	__u64 flags = 0;

	if (number != NR_UNLINK && number != NR_UNLINKAT && number != NR_RMDIR && number != NR_RENAME &&
	    number != NR_RENAMEAT && number != NR_RENAMEAT2)
		return 0;
	if (compat_call(current_task()))
		return 0;
	if (number == NR_UNLINK || number == NR_RMDIR) {
		call = number == NR_UNLINK ? UNLINK : RMDIR;
		path.text = (void *)PT_REGS_PARM1_CORE_SYSCALL(regs);
	} else if (number == NR_UNLINKAT) {
		call = PT_REGS_PARM3_CORE_SYSCALL(regs) & AT_REMOVEDIR ? RMDIR : UNLINK;
		path.dirfd = (__s32)PT_REGS_PARM1_CORE_SYSCALL(regs);
		path.text = (void *)PT_REGS_PARM2_CORE_SYSCALL(regs);
	} else if (number == NR_RENAME) {
		call = RENAME;
		path.text = (void *)PT_REGS_PARM1_CORE_SYSCALL(regs);
		new_path.text = (void *)PT_REGS_PARM2_CORE_SYSCALL(regs);
	} else {
		call = RENAME;
		path.dirfd = (__s32)PT_REGS_PARM1_CORE_SYSCALL(regs);
		path.text = (void *)PT_REGS_PARM2_CORE_SYSCALL(regs);
		new_path.dirfd = (__s32)PT_REGS_PARM3_CORE_SYSCALL(regs);
		new_path.text = (void *)PT_REGS_PARM4_CORE_SYSCALL(regs);
		if (number == NR_RENAMEAT2)
			flags = (__u32)PT_REGS_PARM5_CORE_SYSCALL(regs);
	}
	return enter(call, path, new_path, flags, true);
}

SEC("raw_tp/sys_exit")
int BPF_PROG(raw_leave, struct pt_regs *regs, long result)
{
	return leave(result, true);
}

/* A thread that is killed in the call. It did not return, so there is no row. */
SEC("raw_tp/sched_process_exit")
int BPF_PROG(forget, struct task_struct *task)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	if (!bpf_map_delete_elem(&removals, &tid))
		count(TABLE_UNLINK, UNPAIRED);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

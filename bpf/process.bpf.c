// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The lives of processes: fork, exec, exit, and the cgroups that are made for them.
 *
 * Data comes from the tasks that the tracepoints hand over, not from the tracepoints' own fields:
 * those of sched_process_exit moved in 6.16.
 */
#include "filter.h"

#define ARGV_BYTES 4096
#define FILENAME_BYTES 1024
#define CWD_BYTES 512
#define CWD_COMPONENTS 24
#define CWD_STEPS (CWD_COMPONENTS + 16) /* mount points on the way, and the root, are steps too */
#define NAME_BYTES 256 /* NAME_MAX and the NUL */

SEC("raw_tp/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct fork_event *row;

	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid) || !wanted(child))
		return 0;
	row = RESERVE(fork, FORK);
	if (!row)
		return 0;
	row->ts = bpf_ktime_get_ns();
	row->pid = BPF_CORE_READ(child, tgid);
	row->ppid = BPF_CORE_READ(child, real_parent, tgid);
	row->caller_tid = BPF_CORE_READ(parent, pid);
	row->uid = BPF_CORE_READ(child, cred, uid.val);
	row->cgroup = cgroup_id(child);
	BPF_CORE_READ_STR_INTO(&row->comm, child, comm);
	SUBMIT(row);
	return 0;
}

/*
 * A record of exec as it is sent. Each text has a place of its own, so that the verifier sees constant
 * offsets; arguments come last and end the record.
 */
struct exec_record {
	struct exec_event row;
	char filename[FILENAME_BYTES];
	char cwd[CWD_BYTES + NAME_BYTES];
	char argv[ARGV_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_record);
} exec_scratch SEC(".maps");

/* A walk from the working directory up to the process's root, as d_path walks. */
struct walk {
	struct vfsmount *mnt;
	struct dentry *dentry;
	struct vfsmount *root_mnt;
	struct dentry *root;
	__u64 length;
	__u64 components;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walk_scratch SEC(".maps");

enum step { ON, DONE, TOO_LONG };

/*
 * One step: up a dentry, whose name is appended, or from the root of a mount to where it is mounted.
 * A function of its own, and global, so that the verifier looks at it once and not once for each way
 * to get here; its state is in a map because on 5.10 such a function takes no pointers.
 */
__noinline int walk_step(void)
{
	__u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&walk_scratch, &zero);
	struct exec_record *record = bpf_map_lookup_elem(&exec_scratch, &zero);
	struct dentry *dentry, *parent;
	struct vfsmount *mnt;
	struct mount *mount;
	long part;

	if (!walk || !record)
		return TOO_LONG;
	dentry = walk->dentry;
	mnt = walk->mnt;
	if (dentry == walk->root && mnt == walk->root_mnt)
		return DONE;
	if (dentry == BPF_CORE_READ(mnt, mnt_root)) {
		mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		if (BPF_CORE_READ(mount, mnt_parent) == mount)
			return DONE;
		mount = BPF_CORE_READ(mount, mnt_parent);
		walk->mnt = (void *)mount + bpf_core_field_offset(struct mount, mnt);
		return ON;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	if (dentry == parent)
		return DONE;
	if (walk->length >= CWD_BYTES || walk->components >= CWD_COMPONENTS)
		return TOO_LONG;
	part = bpf_probe_read_kernel_str(record->cwd + (walk->length & (CWD_BYTES - 1)), NAME_BYTES,
					 BPF_CORE_READ(dentry, d_name.name));
	if (part <= 0)
		return TOO_LONG;
	walk->components++;
	walk->length += part;
	walk->dentry = parent;
	return ON;
}

/*
 * The components of the working directory into the record, the last one first; their length, or 0
 * where they do not fit. The root itself has none: its length is that of one empty component.
 */
static __always_inline __u32 working_directory(struct task_struct *task, struct exec_record *record)
{
	__u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&walk_scratch, &zero);

	if (!walk)
		return 0;
	walk->mnt = BPF_CORE_READ(task, fs, pwd.mnt);
	walk->dentry = BPF_CORE_READ(task, fs, pwd.dentry);
	walk->root_mnt = BPF_CORE_READ(task, fs, root.mnt);
	walk->root = BPF_CORE_READ(task, fs, root.dentry);
	walk->length = 0;
	walk->components = 0;
	for (int i = 0; i < CWD_STEPS; i++) {
		int step = walk_step();

		if (step == TOO_LONG)
			return 0;
		if (step == DONE) {
			if (walk->length > CWD_BYTES)
				return 0;
			if (walk->length)
				return (__u32)walk->length;
			record->cwd[0] = 0;
			return 1;
		}
	}
	return 0;
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, __u64 old_pid, struct linux_binprm *bprm)
{
	struct exec_record *record;
	struct exec_event *row;
	__u64 start, length;
	__u32 zero = 0, cwd;
	long filename;

	if (!wanted(task))
		return 0;
	count(TABLE_EXEC, SEEN);
	record = bpf_map_lookup_elem(&exec_scratch, &zero);
	if (!record)
		return 0;
	row = &record->row;
	row->ts = bpf_ktime_get_ns();
	row->pid = BPF_CORE_READ(task, tgid);
	row->ppid = BPF_CORE_READ(task, real_parent, tgid);
	row->caller_tid = (__s32)old_pid;
	row->uid = BPF_CORE_READ(task, cred, uid.val);
	row->cgroup = cgroup_id(task);
	BPF_CORE_READ_STR_INTO(&row->comm, task, comm);

	filename = bpf_probe_read_kernel_str(record->filename, sizeof(record->filename),
					     BPF_CORE_READ(bprm, filename));
	/* One that fills its place may have been cut. */
	row->filename = filename > 0 && filename < (long)sizeof(record->filename) ?
				loc(offsetof(struct exec_record, filename), (__u32)filename) : 0;
	cwd = working_directory(task, record);
	row->cwd = cwd ? loc(offsetof(struct exec_record, cwd), cwd) : 0;

	start = BPF_CORE_READ(task, mm, arg_start);
	length = BPF_CORE_READ(task, mm, arg_end) - start;
	row->argv_bytes = (__s32)length;
	if (length > ARGV_BYTES)
		length = ARGV_BYTES;
	if (bpf_probe_read_user(record->argv, (__u32)length, (void *)start))
		length = 0;
	row->argv = length ? loc(offsetof(struct exec_record, argv), (__u32)length) : 0;
	emit(TABLE_EXEC, record, offsetof(struct exec_record, argv) + length);
	return 0;
}

/*
 * Processes with several threads whose end was recorded. Two threads that exit at the same moment
 * can both see that none is left, since the kernel counts them down before the tracepoint.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} ended SEC(".maps");

static __always_inline bool ends_the_process(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	/* A process's own key: its pid may be another's by the time the entry is evicted. */
	__u64 key = (__u64)BPF_CORE_READ(task, tgid) << 32 ^ BPF_CORE_READ(task, group_leader, start_time);
	__u8 one = 1;

	if (BPF_CORE_READ(signal, live.counter))
		return false;
	/* The others are gone; one of them may have been taken for the last. */
	if (BPF_CORE_READ(signal, nr_threads) == 1)
		return !bpf_map_lookup_elem(&ended, &key);
	return !bpf_map_update_elem(&ended, &key, &one, BPF_NOEXIST);
}

SEC("raw_tp/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	__u64 now = bpf_ktime_get_ns(), start, user, system, run, minor, major, share;
	struct exit_event *row;
	int status;
	bool last;

	if (!wanted(task))
		return 0;
	last = ends_the_process(task);
	if (!last && !settings.thread_exits)
		return 0;
	start = BPF_CORE_READ(last ? leader : task, start_time);
	if (now - start < (__u64)settings.min_duration)
		return 0;

	user = BPF_CORE_READ(task, utime);
	system = BPF_CORE_READ(task, stime);
	run = BPF_CORE_READ(task, se.sum_exec_runtime);
	minor = BPF_CORE_READ(task, min_flt);
	major = BPF_CORE_READ(task, maj_flt);
	status = BPF_CORE_READ(task, exit_code);
	if (last) {
		/* Threads that were released before are in `signal`; the leader never is. */
		user += BPF_CORE_READ(signal, utime);
		system += BPF_CORE_READ(signal, stime);
		run += BPF_CORE_READ(signal, sum_sched_runtime);
		minor += BPF_CORE_READ(signal, min_flt);
		major += BPF_CORE_READ(signal, maj_flt);
		if (leader != task) {
			user += BPF_CORE_READ(leader, utime);
			system += BPF_CORE_READ(leader, stime);
			run += BPF_CORE_READ(leader, se.sum_exec_runtime);
			minor += BPF_CORE_READ(leader, min_flt);
			major += BPF_CORE_READ(leader, maj_flt);
			/* What wait4 reports (wait_task_zombie): the group's code, else the leader's. */
			status = BPF_CORE_READ(signal, group_exit_code);
			if (!status)
				status = BPF_CORE_READ(leader, exit_code);
		}
	}

	row = RESERVE(exit, EXIT);
	if (!row)
		return 0;
	row->ts = now;
	row->start = start;
	row->duration = now - start;
	/*
	 * utime and stime are counted by ticks; getrusage gives the exact run time in their ratio
	 * (cputime_adjust, kernel/sched/cputime.c).
	 */
	if (!system)
		share = 0;
	else if (!user)
		share = 1 << 20;
	else
		share = (system >> 10 << 20) / ((user + system) >> 10);
	row->system = (run >> 20) * share + (((run & 0xfffff) * share) >> 20);
	row->user = run - row->system;
	row->max_rss = last ? BPF_CORE_READ(signal, maxrss) * settings.page_size : UNKNOWN_64;
	row->minor_faults = minor;
	row->major_faults = major;
	row->cgroup = cgroup_id(task);
	row->pid = BPF_CORE_READ(task, tgid);
	row->tid = BPF_CORE_READ(task, pid);
	row->ppid = BPF_CORE_READ(task, real_parent, tgid);
	row->uid = BPF_CORE_READ(task, cred, uid.val);
	row->signal = status & 0x7f ? status & 0x7f : UNKNOWN_32;
	row->code = status & 0x7f ? UNKNOWN_32 : (status >> 8) & 0xff;
	row->core = !!(status & 0x80);
	row->process_ended = last;
	BPF_CORE_READ_STR_INTO(&row->comm, last ? leader : task, comm);
	SUBMIT(row);
	return 0;
}

struct cgroup_record {
	struct cgroup_event row;
	char path[FILENAME_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cgroup_record);
} cgroup_scratch SEC(".maps");

/* Names are context, whoever made the group: filters do not apply. */
SEC("raw_tp/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *group, const char *path)
{
	struct cgroup_record *record;
	__u32 zero = 0;
	long length;

	if (BPF_CORE_READ(group, root, hierarchy_id)) /* version 1 */
		return 0;
	count(TABLE_CGROUP, SEEN);
	record = bpf_map_lookup_elem(&cgroup_scratch, &zero);
	if (!record)
		return 0;
	record->row.ts = bpf_ktime_get_ns();
	record->row.id = BPF_CORE_READ(group, kn, id);
	record->row.pid = (__s32)(bpf_get_current_pid_tgid() >> 32);
	length = bpf_probe_read_kernel_str(record->path, sizeof(record->path), path);
	/* One that fills its place may have been cut. */
	if (length < 0 || length >= (long)sizeof(record->path))
		length = 0;
	record->row.path = length ? loc(offsetof(struct cgroup_record, path), (__u32)length) : 0;
	emit(TABLE_CGROUP, record, offsetof(struct cgroup_record, path) + length);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

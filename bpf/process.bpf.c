// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The lives of processes: fork, exec, exit, and the cgroups that are made for them.
 *
 * Data comes from the tasks that the tracepoints hand over, not from the tracepoints' own fields:
 * those of sched_process_exit moved in 6.16.
 */
#include "directory.h"

#define ARGV_BYTES 4096
#define FILENAME_BYTES 1024

/* The pid in the innermost namespace that the task is in. */
static __always_inline __s32 own_pid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	__s32 number = UNKNOWN_32;

	bpf_core_read(&number, sizeof(number), &pid->numbers[level].nr);
	return number;
}

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
	row->memory_of = BPF_CORE_READ(child, mm) == BPF_CORE_READ(parent, mm) ? BPF_CORE_READ(parent, tgid) : row->pid;
	row->own_pid = own_pid(child);
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
	char cwd[DIRECTORY_BYTES];
	char argv[ARGV_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_record);
} exec_scratch SEC(".maps");

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
	cwd = directory(task, AT_FDCWD, record->cwd, 0);
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

// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What runs on each CPU when its sampling clock ticks. The idle task is left out.
 */
#include "stacks.h"


SEC("perf_event")
int sample(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = current_task();
	__u64 id = bpf_get_current_pid_tgid();
	__s64 user, kernel;
	struct sample_event *row;

	if (!(__u32)id || !wanted(task))
		return 0;
	user = user_stack(ctx, task, TABLE_SAMPLE);
	kernel = kernel_stack(ctx, TABLE_SAMPLE);
	row = RESERVE(sample, SAMPLE);
	if (!row)
		return 0;
	row->ts = bpf_ktime_get_ns();
	row->user_stack = user;
	row->kernel_stack = kernel;
	row->period = (__s64)ctx->sample_period;
	row->pid = (__s32)(id >> 32);
	row->tid = (__s32)id;
	row->uid = BPF_CORE_READ(task, cred, uid.val);
	row->cpu = (__s32)bpf_get_smp_processor_id();
	BPF_CORE_READ_STR_INTO(&row->comm, task, comm);
	SUBMIT(row);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

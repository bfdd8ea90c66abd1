// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Soft interrupts: how long each vector was served, and whom it interrupted.
 */
#include "irq.h"

SEC("raw_tp/softirq_entry")
int BPF_PROG(on_entry, __u64 vector)
{
	return irq_begins((__u32)vector, TABLE_SOFTIRQ);
}

SEC("raw_tp/softirq_exit")
int BPF_PROG(on_exit, __u64 vector)
{
	__u64 since, length = irq_ends((__u32)vector, TABLE_SOFTIRQ, &since), pid_tgid;
	struct softirq_event *row;

	if (!length)
		return 0;
	row = RESERVE(softirq, SOFTIRQ);
	if (!row)
		return 0;
	pid_tgid = bpf_get_current_pid_tgid();
	row->ts = since;
	row->duration = length;
	row->vector = (__s32)vector;
	row->cpu = bpf_get_smp_processor_id();
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	SUBMIT(row);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

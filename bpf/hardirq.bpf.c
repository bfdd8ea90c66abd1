// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Handlers of hardware interrupts: how long each ran, and whom it interrupted.
 */
#include "irq.h"

SEC("raw_tp/irq_handler_entry")
int BPF_PROG(on_entry, __u64 irq, struct irqaction *action)
{
	return irq_begins((__u64)action, TABLE_HARDIRQ);
}

SEC("raw_tp/irq_handler_exit")
int BPF_PROG(on_exit, __u64 irq, struct irqaction *action, __u64 result)
{
	__u64 since, length = irq_ends((__u64)action, TABLE_HARDIRQ, &since), pid_tgid;
	struct hardirq_event *row;

	if (!length)
		return 0;
	row = RESERVE(hardirq, HARDIRQ);
	if (!row)
		return 0;
	pid_tgid = bpf_get_current_pid_tgid();
	row->ts = since;
	row->duration = length;
	row->irq = (__s32)irq;
	row->cpu = bpf_get_smp_processor_id();
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	row->handled = (__s32)result != 0; /* IRQ_NONE is 0 */
	row->name[0] = 0;
	bpf_probe_read_kernel_str(&row->name, sizeof(row->name), BPF_CORE_READ(action, name));
	SUBMIT(row);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

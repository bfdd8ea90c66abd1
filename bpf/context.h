/*
 * Whether a program runs in a thread's own context, or an interrupt handler took the CPU from a thread
 * that has nothing to do with it.
 */
#pragma once

#include "kernel.h"

/*
 * Of the kernel's preempt_count (include/linux/preempt.h): a soft interrupt is handled (code that only
 * keeps them off counts by twice that); and hard interrupts and NMIs, which made room in 7.x for a count of
 * those that keep them off.
 */
#define SOFTIRQ_OFFSET 0x100
#define HARDIRQ_AND_NMI 0xff0000
#define HARDIRQ_AND_NMI_SHIFTED 0x1f000000

/*
 * Addresses from /proc/kallsyms, as numbers: 0 where there is no such symbol, or it does not show them, for
 * want of privileges or of CONFIG_KALLSYMS_ALL.
 */
extern const void __per_cpu_offset __ksym __weak;
extern const void local_interrupt_disable_state __ksym __weak;
#if defined(__TARGET_ARCH_x86)
/* It moved into pcpu_hot in 6.2 (64701838bf05), and out again in 6.15 (46e8fff6d45f). */
extern const void __preempt_count __ksym __weak;
extern const void pcpu_hot __ksym __weak;
#endif

/* Reads the count of this CPU; false where the kernel does not tell. */
static __always_inline bool preempt_count(__u32 *count)
{
#if defined(__TARGET_ARCH_x86)
	__u64 offset = (__u64)&__per_cpu_offset, place = (__u64)&__preempt_count;

	if (!place && &pcpu_hot)
		place = (__u64)&pcpu_hot + bpf_core_field_offset(struct pcpu_hot, preempt_count);
	if (!place)
		return false;
	offset += sizeof(offset) * bpf_get_smp_processor_id();
	return !bpf_probe_read_kernel(&offset, sizeof(offset), (void *)offset) &&
	       !bpf_probe_read_kernel(count, sizeof(*count), (void *)(offset + place));
#else
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	*count = (__u32)BPF_CORE_READ(task, thread_info.preempt_count);
	return true;
#endif
}

/* 1 if an interrupt is handled, 0 if not; UNKNOWN_32 where the kernel does not tell. */
static __always_inline __s32 in_interrupt(void)
{
	__u32 hard = &local_interrupt_disable_state ? HARDIRQ_AND_NMI_SHIFTED : HARDIRQ_AND_NMI, count;

	/* The idle task does nothing by itself. */
	if (!(__u32)bpf_get_current_pid_tgid())
		return 1;
	/* Without symbols it is not known how the count is laid out. */
	if (!&__per_cpu_offset || !preempt_count(&count))
		return UNKNOWN_32;
	return !!(count & (SOFTIRQ_OFFSET | hard));
}

/*
 * The registers of programs.
 */
#pragma once

#include "kernel.h"

/* Selectors of code and data (arch/x86/include/asm/segment.h). */
#define USER32_CODE 0x23
#define USER_CODE 0x33
#define USER_DATA 0x2b

/* The registers with which the current thread entered the kernel; NULL where the kernel does not tell. */
static __always_inline struct pt_regs *user_registers(struct task_struct *task)
{
	/* Since 5.15 (dd6e10fbd9fb). */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
#if defined(__TARGET_ARCH_x86)
	/* Before, they are at the end of a stack of 16 KiB. Where that has another size, these are no selectors. */
	const __u64 stack_bytes = 16384;
	struct pt_regs *regs = BPF_CORE_READ(task, stack) + stack_bytes - bpf_core_type_size(struct pt_regs);
	__u64 code = BPF_CORE_READ(regs, cs);

	if ((code == USER_CODE || code == USER32_CODE) && BPF_CORE_READ(regs, ss) == USER_DATA)
		return regs;
#endif
	return NULL;
}

/*
 * What the scheduler says about a task.
 */
#pragma once

#include "filter.h"

/* The bits that we ask for (include/linux/sched.h). */
#define TASK_DEAD 0x80
#define TASK_WAKING 0x200

/* The state of a task, which was renamed in 5.14. */
static __always_inline __u32 task_state(struct task_struct *task, const bool typed)
{
	struct task_struct___state *old = (void *)task;

	if (bpf_core_field_exists(task->__state))
		return MEMBER(typed, task, __state);
	return (__u32)BPF_CORE_READ(old, state);
}

/*
 * Programs at uprobes keep to the stack of the thread.
 *
 * From 6.13 on (a76ab5731e32) the kernel gives programs of this type, if they need 64 bytes of stack or more, a stack of
 * their own for each CPU, as if none could come upon itself there. At uprobes it can: they run with preemption since
 * 6.0 (8c7dcb84e3b7, 88bf18581375), so another thread that hits the same probe meanwhile has the same stack. Then
 * rows have values of another thread's, and pointers go wild: where threads are preempted within the kernel (seen on
 * 7.3, which does so by default), it panics. A program with a tail call anywhere has no such stack. This one is never
 * made, and the verifier drops it; whether there is one, the kernel looks at before.
 *
 * On aarch64, kernels before 6.0 (d4609a5d8c70) take no program that has both tail calls and functions.
 */
#pragma once

#include "filter.h"

static __always_inline void keep_thread_stack(void *ctx)
{
	if (!settings.page_size)
		bpf_tail_call(ctx, NULL, 0);
}

/*
 * System calls by the raw tracepoints sys_enter and sys_exit, through which every call of every
 * process passes.
 */
#pragma once

#include "kernel.h"
#include "events.gen.h"
#include "registers.h"

/* Of syscalls that programs of ours look for; the numbers never change (arch/.../syscall.tbl). */
#if defined(__TARGET_ARCH_x86)
#define NR_OPEN 2
#define NR_MMAP 9
#define NR_MUNMAP 11
#define NR_BRK 12
#define NR_MREMAP 25
#define NR_CLONE 56
#define NR_FORK 57
#define NR_VFORK 58
#define NR_RENAME 82
#define NR_RMDIR 84
#define NR_CREAT 85
#define NR_UNLINK 87
#define NR_OPENAT 257
#define NR_UNLINKAT 263
#define NR_RENAMEAT 264
#define NR_RENAMEAT2 316
#elif defined(__TARGET_ARCH_arm64)
/* The old calls without a directory do not exist there. */
#define NR_OPEN -2
#define NR_MMAP 222
#define NR_MUNMAP 215
#define NR_BRK 214
#define NR_MREMAP 216
#define NR_CLONE 220
#define NR_FORK -3
#define NR_VFORK -4
#define NR_RENAME -5
#define NR_RMDIR -6
#define NR_CREAT -7
#define NR_UNLINK -8
#define NR_OPENAT 56
#define NR_UNLINKAT 35
#define NR_RENAMEAT 38
#define NR_RENAMEAT2 276
#else
#error "unknown architecture: its system calls are missing here"
#endif
#define NR_CLONE3 435
#define NR_OPENAT2 437

/* Whether a 32-bit program makes the call: numbers and arguments are then others. */
static __always_inline bool compat_call(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(task, thread_info.status) & 2; /* TS_COMPAT */
#else
	return BPF_CORE_READ(task, thread_info.flags) & 1UL << 22; /* TIF_32BIT */
#endif
}

/* The number of the call that returns with these registers. */
static __always_inline long number_of(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return (long)BPF_CORE_READ(regs, orig_ax);
#else
	return BPF_CORE_READ(regs, syscallno);
#endif
}

/* Whether the call makes a thread, which then also returns from it. */
static __always_inline bool makes_a_thread(long number)
{
	return number == NR_CLONE || number == NR_CLONE3 || number == NR_FORK || number == NR_VFORK;
}

/*
 * The number of the system call that the current thread is in; UNKNOWN_32 where it is in none, it is one of
 * a 32-bit program, or the kernel does not tell.
 */
static __always_inline __s32 current_call(struct task_struct *task)
{
	struct pt_regs *regs;
	long number;

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD || compat_call(task))
		return UNKNOWN_32;
	regs = user_registers(task);
	/* Threads that the kernel made in a program, as those of io_uring, have no code there. */
	if (!regs || !PT_REGS_IP_CORE(regs))
		return UNKNOWN_32;
	number = number_of(regs);
	return number >= 0 && number <= 0x7fffffff ? (__s32)number : UNKNOWN_32;
}

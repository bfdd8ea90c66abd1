/*
 * What the compiler's own unwinder says of a stack: the judge of the recorder's.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifndef WITHOUT_JUDGE
#include <unwind.h>
#endif

/* Not inlined, not copied, and with a frame in which calls return: none is a jump. */
#define LINK __attribute__((noinline, noclone))
#define RETURN_HERE __asm__ volatile("" ::: "memory")

#ifdef WITHOUT_JUDGE
#define say_callers() ((void)0)
#else
struct place {
	uintptr_t address;
	long long offset;
};

static inline int find_place(struct dl_phdr_info *file, size_t size, void *data)
{
	struct place *place = (struct place *)data;

	(void)size;
	for (int i = 0; i < file->dlpi_phnum; i++) {
		uintptr_t start = file->dlpi_addr + file->dlpi_phdr[i].p_vaddr;

		if (file->dlpi_phdr[i].p_type == PT_LOAD && place->address >= start &&
		    place->address - start < file->dlpi_phdr[i].p_filesz) {
			place->offset = (long long)(place->address - start + file->dlpi_phdr[i].p_offset);
			return 1;
		}
	}
	return 0;
}

static inline _Unwind_Reason_Code say_caller(struct _Unwind_Context *context, void *data)
{
	struct place place = { _Unwind_GetIP(context), -1 };
	int *depth = (int *)data;

	/* This function itself, and the one that asks. */
	if ((*depth)++ < 2 || !place.address)
		return _URC_NO_REASON;
	dl_iterate_phdr(find_place, &place);
	printf("%s%lld", *depth == 3 ? "" : ",", place.offset);
	return _URC_NO_REASON;
}

/* Says where in their files the callers of the function are that calls this; -1 in no file. */
static __attribute__((noinline, noclone, unused)) void say_callers(void)
{
	int depth = 0;

	printf("callers pid=%d tid=%ld offsets=", getpid(), (long)syscall(SYS_gettid));
	_Unwind_Backtrace(say_caller, &depth);
	printf("\n");
	fflush(stdout);
}
#endif

static inline long long nanoseconds(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* The end of most chains: says who calls it, and takes so much CPU time. */
static LINK __attribute__((unused)) void spin(long ms)
{
	long long began = nanoseconds(CLOCK_MONOTONIC), end;

	say_callers();
	end = nanoseconds(CLOCK_THREAD_CPUTIME_ID) + ms * 1000000LL;
	while (nanoseconds(CLOCK_THREAD_CPUTIME_ID) < end)
		for (volatile long i = 0; i < 100000; i++)
			;
	printf("spun pid=%d tid=%ld began=%lld ended=%lld\n", getpid(), (long)syscall(SYS_gettid), began,
	       nanoseconds(CLOCK_MONOTONIC));
	fflush(stdout);
}

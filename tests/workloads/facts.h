/*
 * What the workloads share. Each of them says on its standard output what it did, one fact a line:
 * a word, then KEY=VALUE pairs without spaces; texts are in hex. The tests compare the recording
 * with these lines.
 */
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Ends the program, so that a workload that did not do what it says cannot pass for one that did. */
#define must(call)                                                                        \
	({                                                                                \
		__typeof__(call) result_ = (call);                                        \
		if ((long)result_ == -1) {                                                \
			fprintf(stderr, "%s: %s\n", #call, strerror(errno));              \
			_exit(99);                                                        \
		}                                                                         \
		result_;                                                                  \
	})

/* One write for each fact: nothing is left in a buffer when a process forks or is killed. */
#define say(...) (printf(__VA_ARGS__), fflush(stdout))

static inline void say_hex(const char *key, const void *bytes, size_t length)
{
	printf(" %s=", key);
	for (size_t i = 0; i < length; i++)
		printf("%02x", ((const unsigned char *)bytes)[i]);
}

static inline long long now(clockid_t clock)
{
	struct timespec time;

	must(clock_gettime(clock, &time));
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* This thread and those that it makes: the last CPU that is allowed. */
static inline void keep_to_one_cpu(void)
{
	cpu_set_t allowed, last;
	int cpu = CPU_SETSIZE - 1;

	must(sched_getaffinity(0, sizeof(allowed), &allowed));
	while (!CPU_ISSET(cpu, &allowed))
		cpu--;
	CPU_ZERO(&last);
	CPU_SET(cpu, &last);
	must(sched_setaffinity(0, sizeof(last), &last));
}

static inline void sleep_ms(long ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* Waits for a line on the standard input; false at its end. */
static inline bool read_line(void)
{
	char c;

	while (read(0, &c, 1) == 1)
		if (c == '\n')
			return true;
	return false;
}

/* A call's result as the kernel gives it: an errno is negative. */
static inline long raw(long result)
{
	return result == -1 ? -(long)errno : result;
}

/* A thread that must start. */
static inline pthread_t start_thread(void *(*body)(void *), void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, body, argument))
		_exit(99);
	return thread;
}

/* The state of a thread, as /proc shows it: S if it sleeps, Z if it has ended; 0 if it is gone. */
static inline char thread_state(pid_t pid, pid_t tid)
{
	char path[64], state = 0;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	stat = fopen(path, "r");
	if (!stat)
		return 0;
	if (fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
		_exit(99);
	fclose(stat);
	return state;
}

/* Waits until a thread sleeps: what it was to begin it has then begun. */
static inline void await_sleep(pid_t pid, pid_t tid)
{
	char state;

	while ((state = thread_state(pid, tid)) != 'S') {
		if (!state)
			_exit(99);
		sleep_ms(1);
	}
}

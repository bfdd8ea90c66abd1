/*
 * Threads that wait for a CPU, and what the kernel itself counts about their waits.
 *
 *   waits compete MS       two busy threads on one CPU
 *   waits pings COUNT      a thread that is woken COUNT times while it sleeps
 *
 * Each thread says `thread` with the kernel's own figures at some moment between `before` and `after`.
 */
#include "facts.h"

#include <fcntl.h>

enum { NICENESS = 5 };

static long long compete_until;
static int pings, ping[2];
static _Atomic pid_t sleeper;

/* The figures are about the current thread from its first moment on. */
static void say_figures(const char *name)
{
	long long before = now(CLOCK_MONOTONIC), after, cpu_time, delay, waits;
	struct rusage usage;
	char text[128] = "";
	int file;

	must(getrusage(RUSAGE_THREAD, &usage));
	file = must(open("/proc/thread-self/schedstat", O_RDONLY));
	must(read(file, text, sizeof(text) - 1));
	after = now(CLOCK_MONOTONIC);
	close(file);
	/* The time on CPUs, the time of the waits, and how many waits. */
	if (sscanf(text, "%lld %lld %lld", &cpu_time, &delay, &waits) != 3)
		_exit(99);
	say("thread pid=%d tid=%d name=%s niceness=%d cpu=%d before=%lld after=%lld voluntary=%ld involuntary=%ld "
	    "waits=%lld delay=%lld\n",
	    getpid(), gettid(), name, getpriority(PRIO_PROCESS, 0), sched_getcpu(), before, after, usage.ru_nvcsw,
	    usage.ru_nivcsw, waits, delay);
}

static void *be_busy(void *name)
{
	must(prctl(PR_SET_NAME, name));
	while (now(CLOCK_MONOTONIC) < compete_until)
		;
	say_figures(name);
	return NULL;
}

/* Both threads are on the last CPU that is allowed, and never sleep. */
static void compete(int ms)
{
	pthread_t left, right;

	keep_to_one_cpu();
	must(setpriority(PRIO_PROCESS, 0, NICENESS));
	compete_until = now(CLOCK_MONOTONIC) + ms * 1000000LL;
	left = start_thread(be_busy, "left");
	right = start_thread(be_busy, "right");
	pthread_join(left, NULL);
	pthread_join(right, NULL);
}

static void *sleep_until_pinged(void *name)
{
	char byte;

	must(prctl(PR_SET_NAME, name));
	sleeper = gettid();
	for (int i = 0; i < pings; i++)
		must(read(ping[0], &byte, 1));
	say_figures(name);
	return NULL;
}

static void wake(void)
{
	pthread_t thread;

	must(pipe(ping));
	thread = start_thread(sleep_until_pinged, "sleeper");
	while (!sleeper)
		sleep_ms(1);
	for (int i = 0; i < pings; i++) {
		await_sleep(getpid(), sleeper);
		must(write(ping[1], "", 1));
		/* The next look must not find it still asleep. */
		sleep_ms(2);
	}
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (argc < 3)
		return 98;
	say("waits pid=%d\n", getpid());
	pings = atoi(argv[2]);
	if (!strcmp(mode, "compete"))
		compete(atoi(argv[2]));
	else if (!strcmp(mode, "pings"))
		wake();
	else
		return 98;
	return 0;
}

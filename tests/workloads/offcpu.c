/*
 * Threads that leave their CPU a known number of times, for a known reason, until somebody known wakes them.
 *
 *   offcpu each COUNT      each way of waiting, COUNT times
 *   offcpu hang            a line later a thread waits for ever, and the program for another line
 *
 * A way says `waited` with the thread, its waker (0: an interrupt), the system call, and how often the
 * kernel says that the thread slept from `began` to `ended`. Stacks have a function that is named after it:
 * its callee, which calls the C library, is missed by a walk along frame pointers.
 */
#include "facts.h"

#include <linux/futex.h>

#define FAR __attribute__((noinline, noclone))

static int count;
static int word, channel[2];
static _Atomic pid_t waiter;

/* How often a thread has slept. */
static long sleeps_of(pid_t pid, pid_t tid)
{
	char path[64], line[128];
	long sleeps = -1;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	status = fopen(path, "r");
	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &sleeps) == 1)
			break;
	if (!status || sleeps < 0)
		_exit(99);
	fclose(status);
	return sleeps;
}

static long own_sleeps(void)
{
	struct rusage usage;

	must(getrusage(RUSAGE_THREAD, &usage));
	return usage.ru_nvcsw;
}

/* Waits until a thread has left its CPU once more, and a while longer. */
static long await_next_sleep(pid_t pid, pid_t tid, long sleeps)
{
	long now;

	while ((now = sleeps_of(pid, tid)) == sleeps)
		sleep_ms(1);
	sleep_ms(2);
	return now;
}

/* What a thread says of itself after it has waited. */
struct wait {
	const char *way;
	long call, sleeps;
	long long began;
};

static struct wait begin(const char *way, long call)
{
	must(prctl(PR_SET_NAME, way));
	return (struct wait){ way, call, own_sleeps(), now(CLOCK_MONOTONIC) };
}

static void ended(struct wait wait, pid_t waker)
{
	long sleeps = own_sleeps() - wait.sleeps;

	say("waited way=%s pid=%d tid=%d waker=%d call=%ld count=%d sleeps=%ld began=%lld ended=%lld\n", wait.way,
	    getpid(), gettid(), waker, wait.call, count, sleeps, wait.began, now(CLOCK_MONOTONIC));
}

static FAR void sleep_once(void)
{
	struct timespec time = { 0, 10000000 };

	must(syscall(SYS_nanosleep, &time, NULL));
}

static FAR void *way_sleep(void *unused)
{
	struct wait wait = begin("sleep", SYS_nanosleep);

	for (int i = 0; i < count; i++)
		sleep_once();
	ended(wait, 0);
	return unused;
}

static FAR void futex_once(int value)
{
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static FAR void *way_futex(void *waker)
{
	struct wait wait = begin("futex", SYS_futex);

	waiter = gettid();
	for (int i = 0; i < count; i++)
		while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == i)
			futex_once(i);
	ended(wait, *(pid_t *)waker);
	return NULL;
}

static FAR void wake_futex(void)
{
	pid_t self = gettid();
	pthread_t thread = start_thread(way_futex, &self);
	long sleeps = 0;

	while (!waiter)
		sleep_ms(1);
	for (int i = 0; i < count; i++) {
		sleeps = await_next_sleep(getpid(), waiter, sleeps);
		__atomic_store_n(&word, i + 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
	pthread_join(thread, NULL);
}

static FAR void read_once(void)
{
	char byte;

	must(read(channel[0], &byte, 1));
}

/* A child writes what this process reads. */
static FAR void way_pipe(void)
{
	struct wait wait;
	pid_t reader = getpid(), writer;

	must(pipe(channel));
	wait = begin("pipe", SYS_read);
	writer = must(fork());
	if (!writer) {
		long sleeps = wait.sleeps;

		must(prctl(PR_SET_NAME, "writer"));
		for (int i = 0; i < count; i++) {
			sleeps = await_next_sleep(reader, reader, sleeps);
			must(write(channel[1], "", 1));
		}
		_exit(0);
	}
	for (int i = 0; i < count; i++)
		read_once();
	ended(wait, writer);
	must(waitpid(writer, NULL, 0));
}

/* How often the parent of a vfork has slept: its child counts, which has the same memory. */
static long parent_sleeps;

/* Nothing but a signal that kills wakes the parent of a vfork. */
static FAR void vfork_once(void)
{
	pid_t child = vfork();

	if (!child) {
		parent_sleeps = await_next_sleep(getppid(), getppid(), parent_sleeps);
		_exit(0);
	}
	must(child);
}

static FAR void way_vfork(void)
{
	struct wait vforks = begin("vfork", SYS_vfork);

	parent_sleeps = vforks.sleeps;
	for (int i = 0; i < count; i++)
		vfork_once();
	/* Each child is another waker. */
	ended(vforks, -1);
	while (wait(NULL) > 0)
		;
}

static FAR void stop_once(void)
{
	must(kill(getpid(), SIGSTOP));
}

/* A child that is stopped, and goes on. */
static FAR void way_stop(void)
{
	pid_t child = must(fork());

	if (!child) {
		struct wait wait = begin("stop", SYS_kill);

		for (int i = 0; i < count; i++)
			stop_once();
		ended(wait, getppid());
		_exit(0);
	}
	for (int i = 0; i < count; i++) {
		must(waitpid(child, NULL, WUNTRACED));
		sleep_ms(2);
		must(kill(child, SIGCONT));
	}
	must(waitpid(child, NULL, 0));
}

static FAR void *way_hang(void *unused)
{
	waiter = gettid();
	must(prctl(PR_SET_NAME, "hang"));
	pause();
	return unused;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (!strcmp(mode, "hang")) {
		say("ready\n");
		read_line();
		start_thread(way_hang, NULL);
		while (!waiter)
			sleep_ms(1);
		await_sleep(getpid(), waiter);
		sleep_ms(5);
		say("hangs pid=%d tid=%d\n", getpid(), waiter);
		read_line();
		return 0;
	}
	if (strcmp(mode, "each") || argc < 3)
		return 98;
	count = atoi(argv[2]);
	pthread_join(start_thread(way_sleep, NULL), NULL);
	wake_futex();
	way_pipe();
	way_vfork();
	way_stop();
	return 0;
}

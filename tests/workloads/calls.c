/*
 * Makes system calls and says which: how often each thread made each, with what result.
 *
 *   calls counts COUNT     two threads, COUNT of each kind and twice as many
 *   calls later COUNT      the same, once a line on the standard input says so
 *   calls in-turn COUNT    the same, on one CPU
 *   calls ends             calls that never return
 *
 * All calls of a kind have the same six arguments, also where the call takes fewer.
 */
#include "facts.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { THREADS = 2, KINDS = 5, SLEEPS = 2, SLEEP_NS = 20000000 };

struct kind {
	const char *name;
	long number, args[6], result, at_least;
	int count;
};

struct thread {
	pid_t tid;
	long long began, ended;
	struct kind kinds[KINDS];
};

static pthread_barrier_t ready, go;

static void make(const struct kind *kind)
{
	const long *args = kind->args;

	if (raw(syscall(kind->number, args[0], args[1], args[2], args[3], args[4], args[5])) != kind->result)
		_exit(99);
}

/* By turns, so that no call is like the one before. */
static void *make_all(void *argument)
{
	struct thread *thread = argument;

	thread->tid = gettid();
	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&go);
	thread->began = now(CLOCK_MONOTONIC);
	for (int turn = 0;; turn++) {
		bool made = false;

		for (int i = 0; i < KINDS; i++) {
			if (turn < thread->kinds[i].count) {
				make(&thread->kinds[i]);
				made = true;
			}
		}
		if (!made)
			break;
	}
	thread->ended = now(CLOCK_MONOTONIC);
	return NULL;
}

static void counts(int count, bool later)
{
	static struct timespec sleep = { 0, SLEEP_NS };
	static char buffer[8];
	long null = must(open("/dev/null", O_WRONLY)), zero = must(open("/dev/zero", O_RDONLY));
	struct thread threads[THREADS];
	pthread_t handles[THREADS];

	pthread_barrier_init(&ready, NULL, THREADS + 1);
	pthread_barrier_init(&go, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		/* The second thread makes more of them, so that the two cannot be mistaken. */
		int more = count * (i + 1);
		struct thread thread = { .kinds = {
			{ "write", SYS_write, { null, (long)buffer, 3, 4, 5, 6 + i }, 3, 0, more },
			{ "read", SYS_read, { zero, (long)buffer, 5, -1, -2, i }, 5, 0, more },
			{ "getppid", SYS_getppid, { 1, 2, 3, 4, 5, i }, getppid(), 0, more },
			{ "dup", SYS_dup, { -1, 0, 0, 0, 0, i }, -EBADF, 0, more },
			{ "nanosleep", SYS_nanosleep, { (long)&sleep, 0, 0, 0, 0, i }, 0, SLEEP_NS, SLEEPS },
		} };

		threads[i] = thread;
		handles[i] = start_thread(make_all, &threads[i]);
	}
	pthread_barrier_wait(&ready);
	say("ready pid=%d first=%d second=%d\n", getpid(), threads[0].tid, threads[1].tid);
	if (later)
		read_line();
	pthread_barrier_wait(&go);
	for (int i = 0; i < THREADS; i++)
		pthread_join(handles[i], NULL);

	/* Each line is one call of write by this thread. */
	for (int i = 0; i < THREADS; i++) {
		say("thread tid=%d began=%lld ended=%lld\n", threads[i].tid, threads[i].began, threads[i].ended);
		for (int k = 0; k < KINDS; k++) {
			const struct kind *kind = &threads[i].kinds[k];
			const long *args = kind->args;

			say("made tid=%d name=%s number=%ld count=%d result=%ld at_least=%ld "
			    "args=%ld,%ld,%ld,%ld,%ld,%ld\n",
			    threads[i].tid, kind->name, kind->number, kind->count, kind->result, kind->at_least,
			    args[0], args[1], args[2], args[3], args[4], args[5]);
		}
	}
}

/* What a child tells of its threads. */
static struct shared {
	_Atomic pid_t reader, leaver;
} *shared;

static int never[2]; /* a pipe that nobody writes to */

static void *read_for_ever(void *unused)
{
	char byte;

	(void)unused;
	shared->reader = gettid();
	must(read(never[0], &byte, 1));
	_exit(99);
}

static void *leave(void *unused)
{
	(void)unused;
	shared->leaver = gettid();
	syscall(SYS_exit, 0);
	return NULL;
}

static void said_last(const char *why, pid_t pid, pid_t tid, const char *name, long number)
{
	say("last why=%s pid=%d tid=%d name=%s number=%ld\n", why, pid, tid, name, number);
}

static pid_t await(pid_t child)
{
	int status;

	must(waitpid(child, &status, 0));
	return child;
}

static void ends(void)
{
	pid_t child;

	must(pipe(never));
	shared = must(mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

	child = must(fork());
	if (!child)
		syscall(SYS_exit_group, 7);
	await(child);
	said_last("exit", child, child, "exit_group", SYS_exit_group);

	child = must(fork());
	if (!child) {
		pthread_join(start_thread(leave, NULL), NULL);
		syscall(SYS_exit_group, 0);
	}
	await(child);
	said_last("thread", child, shared->leaver, "exit", SYS_exit);
	said_last("exit", child, child, "exit_group", SYS_exit_group);

	/* A thread is in the middle of a call when another ends the process. */
	child = must(fork());
	if (!child) {
		start_thread(read_for_ever, NULL);
		while (!shared->reader)
			sleep_ms(1);
		await_sleep(getpid(), shared->reader);
		syscall(SYS_exit_group, 0);
	}
	await(child);
	said_last("killed", child, shared->reader, "read", SYS_read);
	said_last("exit", child, child, "exit_group", SYS_exit_group);

	/* A process is in the middle of a call when it is killed. */
	child = must(fork());
	if (!child)
		read_for_ever(NULL);
	while (shared->reader != child)
		sleep_ms(1);
	await_sleep(child, child);
	must(kill(child, SIGKILL));
	await(child);
	said_last("killed", child, child, "read", SYS_read);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	say("calls pid=%d\n", getpid());
	if (!strcmp(mode, "in-turn"))
		keep_to_one_cpu();
	if ((!strcmp(mode, "counts") || !strcmp(mode, "later") || !strcmp(mode, "in-turn")) && argc > 2)
		counts(atoi(argv[2]), strcmp(mode, "counts"));
	else if (!strcmp(mode, "ends"))
		ends();
	else
		return 98;
	return 0;
}

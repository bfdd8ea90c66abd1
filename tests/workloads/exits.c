/*
 * Processes that end in known ways.
 *
 *   exits codes            by themselves, and by signals
 *   exits forks COUNT      many that never execute anything
 *   exits leader           the main thread first, another thread later with a code
 *   exits races COUNT      several threads at once
 *   exits threads COUNT    threads one after the other
 *   exits usage            after using a known amount of CPU time and memory
 *   exits lives MS         some at once, some after MS milliseconds
 *   exits outlived         leaves a child behind that sleeps for a minute
 */
#include "facts.h"

/* Waits for a child and says how it ended, by what the kernel tells its parent. */
static void await(pid_t child, const char *what, long long began)
{
	struct rusage usage;
	int status;

	must(wait4(child, &status, 0, &usage));
	say("exit what=%s pid=%d parent=%d code=%d signal=%d core=%d user=%lld system=%lld max_rss=%ld "
	    "minor=%ld major=%ld at_most=%lld\n",
	    what, child, getpid(), WIFEXITED(status) ? WEXITSTATUS(status) : -1,
	    WIFSIGNALED(status) ? WTERMSIG(status) : -1, WIFSIGNALED(status) && WCOREDUMP(status),
	    usage.ru_utime.tv_sec * 1000000000LL + usage.ru_utime.tv_usec * 1000,
	    usage.ru_stime.tv_sec * 1000000000LL + usage.ru_stime.tv_usec * 1000, usage.ru_maxrss * 1024,
	    usage.ru_minflt, usage.ru_majflt, now(CLOCK_MONOTONIC) - began);
}

static void codes(void)
{
	const int codes[] = { 0, 7, 255 };
	const int signals[] = { SIGKILL, SIGSEGV, SIGTERM, SIGABRT };

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		long long began = now(CLOCK_MONOTONIC);
		pid_t child = must(fork());

		if (!child)
			_exit(codes[i]);
		await(child, "code", began);
	}
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		long long began = now(CLOCK_MONOTONIC);
		pid_t child = must(fork());

		if (!child) {
			raise(signals[i]);
			_exit(99);
		}
		await(child, "signal", began);
	}
}

static void forks(int count)
{
	for (int i = 0; i < count; i++) {
		long long began = now(CLOCK_MONOTONIC);
		pid_t child = must(fork());

		if (!child)
			_exit(i % 256);
		await(child, "fork", began);
	}
}

static void *exit_later(void *unused)
{
	(void)unused;
	while (thread_state(getpid(), getpid()) != 'Z')
		sleep_ms(1);
	say("thread pid=%d tid=%ld\n", getpid(), syscall(SYS_gettid));
	exit(3);
}

static void leader(void)
{
	long long began = now(CLOCK_MONOTONIC);
	pid_t child = must(fork());

	if (!child) {
		pthread_t thread;

		pthread_create(&thread, NULL, exit_later, NULL);
		pthread_exit(NULL);
	}
	await(child, "leader", began);
}

static pthread_barrier_t together;

static void *end_together(void *code)
{
	pthread_barrier_wait(&together);
	if (code)
		_exit(*(int *)code);
	return NULL;
}

/* By turns: all threads return at the same moment, or one ends the process while others return. */
static void races(int count)
{
	enum { THREADS = 4 };

	for (int i = 0; i < count; i++) {
		long long began = now(CLOCK_MONOTONIC);
		pid_t child = must(fork());

		if (!child) {
			pthread_t thread;
			int code = i % 200 + 1;

			pthread_barrier_init(&together, NULL, THREADS + 1);
			for (int j = 0; j < THREADS; j++)
				pthread_create(&thread, NULL, end_together, i % 2 && !j ? &code : NULL);
			pthread_barrier_wait(&together);
			pthread_exit(NULL);
		}
		await(child, "race", began);
	}
}

static void *say_thread(void *number)
{
	char name[16];

	snprintf(name, sizeof(name), "worker %d", *(int *)number);
	must(prctl(PR_SET_NAME, name));
	printf("thread pid=%d tid=%ld", getpid(), syscall(SYS_gettid));
	say_hex("name", name, strlen(name));
	say("\n");
	return NULL;
}

static void threads(int count)
{
	for (int i = 0; i < count; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, say_thread, &i);
		pthread_join(thread, NULL);
	}
	say("thread pid=%d tid=%ld name=%s\n", getpid(), syscall(SYS_gettid), "6578697473");
}

static void burn(clockid_t clock, long ms)
{
	long long end = now(clock) + ms * 1000000LL;

	while (now(clock) < end)
		for (volatile int i = 0; i < 10000; i++)
			;
}

static void *burn_in_thread(void *ms)
{
	burn(CLOCK_THREAD_CPUTIME_ID, *(long *)ms);
	return NULL;
}

static void usage(void)
{
	long long began = now(CLOCK_MONOTONIC);
	pid_t child = must(fork());

	if (!child) {
		burn(CLOCK_PROCESS_CPUTIME_ID, 600);
		_exit(0);
	}
	await(child, "user", began);

	child = must(fork());
	if (!child) {
		static char page[1 << 20];
		int zero = must((int)syscall(SYS_open, "/dev/zero", 0));
		long long end = now(CLOCK_PROCESS_CPUTIME_ID) + 400000000;

		while (now(CLOCK_PROCESS_CPUTIME_ID) < end)
			must(read(zero, page, sizeof(page)));
		_exit(0);
	}
	await(child, "system", began);

	/* Threads that are gone, one that ends with the process, and a main thread that went first. */
	child = must(fork());
	if (!child) {
		pthread_t thread;
		long ms = 200;

		pthread_create(&thread, NULL, burn_in_thread, &ms);
		pthread_join(thread, NULL);
		burn(CLOCK_THREAD_CPUTIME_ID, 200);
		pthread_create(&thread, NULL, burn_in_thread, &(long){ 200 });
		pthread_exit(NULL);
	}
	await(child, "threads", began);

	child = must(fork());
	if (!child) {
		size_t bytes = 96 << 20;
		char *memory = malloc(bytes);

		for (size_t i = 0; i < bytes; i += 4096)
			((volatile char *)memory)[i] = 1;
		free(memory);
		_exit(0);
	}
	await(child, "memory", began);
}

static void lives(long long_ms)
{
	enum { LONG = 3, SHORT = 5 };
	long long began = now(CLOCK_MONOTONIC);
	pid_t lasting[LONG];

	for (int i = 0; i < LONG; i++) {
		lasting[i] = must(fork());
		if (!lasting[i]) {
			sleep_ms(long_ms);
			_exit(0);
		}
	}
	for (int i = 0; i < SHORT; i++) {
		long long short_began = now(CLOCK_MONOTONIC);
		pid_t child = must(fork());

		if (!child)
			_exit(0);
		await(child, "short", short_began);
	}
	for (int i = 0; i < LONG; i++)
		await(lasting[i], "long", began);
}

static void outlived(void)
{
	pid_t child = must(fork());

	if (!child) {
		/* Whoever reads the output is not to wait for this process. */
		close(0);
		close(1);
		close(2);
		sleep(60);
		_exit(0);
	}
	say("outlived pid=%d\n", child);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int number = argc > 2 ? atoi(argv[2]) : 0;

	must(setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }));
	say("exits pid=%d parent=%d\n", getpid(), getppid());
	if (!strcmp(mode, "codes"))
		codes();
	else if (!strcmp(mode, "forks"))
		forks(number);
	else if (!strcmp(mode, "leader"))
		leader();
	else if (!strcmp(mode, "races"))
		races(number);
	else if (!strcmp(mode, "threads"))
		threads(number);
	else if (!strcmp(mode, "usage"))
		usage();
	else if (!strcmp(mode, "lives"))
		lives(number);
	else if (!strcmp(mode, "outlived"))
		outlived();
	else
		return 98;
	return 0;
}

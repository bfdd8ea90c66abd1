/*
 * Burns CPU time in functions with known names.
 *
 *   burner shares MS   in `hot` three times as long as in `warm`
 *   burner threads MS  in two threads, `left` in hot, `right` in warm
 *   burner sleep MS    not at all
 */
#include "facts.h"

static inline __attribute__((always_inline)) void spin(long rounds)
{
	for (volatile long i = 0; i < rounds; i++)
		;
}

/* Not inlined, not merged, and each with a frame of its own. */
__attribute__((noinline, noclone)) void hot(long rounds)
{
	spin(rounds);
	__asm__ volatile("" ::: "memory");
}

__attribute__((noinline, noclone)) void warm(long rounds)
{
	spin(rounds);
	__asm__ volatile("nop" ::: "memory");
}

enum { ROUNDS = 200000 };

/*
 * By turns, so that the CPU time of hot is three times that of warm, however fast each of them is. Turns of one
 * length would take about as long as from one sample to the next, and be met at the same place each time.
 */
__attribute__((noinline, noclone)) void work(long ms)
{
	long long begin = now(CLOCK_PROCESS_CPUTIME_ID), end = begin + ms * 1000000LL, in_hot = 0, in_warm = 0;

	for (long long before = begin, after; before < end; before = after) {
		bool hot_is_next = in_hot <= 3 * in_warm;
		long rounds = ROUNDS / 8 * (1 + random() % 16);

		if (hot_is_next)
			hot(rounds);
		else
			warm(rounds);
		after = now(CLOCK_PROCESS_CPUTIME_ID);
		*(hot_is_next ? &in_hot : &in_warm) += after - before;
	}
}

struct job {
	const char *name;
	void (*function)(long);
	long ms;
};

static void *work_in_thread(void *argument)
{
	struct job *job = argument;
	long long end = job->ms * 1000000LL;

	must(prctl(PR_SET_NAME, job->name));
	while (now(CLOCK_THREAD_CPUTIME_ID) < end)
		job->function(ROUNDS);
	say("burned pid=%d tid=%ld name=%s cpu=%lld\n", getpid(), syscall(SYS_gettid), job->name,
	    now(CLOCK_THREAD_CPUTIME_ID));
	return NULL;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	long ms = argc > 2 ? atol(argv[2]) : 0;

	if (!strcmp(mode, "shares")) {
		work(ms);
	} else if (!strcmp(mode, "threads")) {
		struct job jobs[] = { { "left", hot, ms }, { "right", warm, ms } };
		pthread_t threads[2];

		for (int i = 0; i < 2; i++)
			pthread_create(&threads[i], NULL, work_in_thread, &jobs[i]);
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
	} else if (!strcmp(mode, "sleep")) {
		sleep_ms(ms);
	} else {
		return 98;
	}
	say("burned pid=%d tid=%d name=burner cpu=%lld\n", getpid(), getpid(), now(CLOCK_PROCESS_CPUTIME_ID));
	return 0;
}

/*
 * Work at a pace that does not depend on how fast the machine is.
 *
 *   paced COUNT PERIOD_MS WORK_MS    COUNT times, each PERIOD_MS, a call of nanosleep of WORK_MS
 *
 * It waits for the next period by clock_nanosleep, so that all calls of nanosleep are work.
 */
#include "facts.h"

int main(int argc, char **argv)
{
	struct timespec next, work = { 0 };

	if (argc < 4)
		return 98;
	work.tv_nsec = atoi(argv[3]) * 1000000L;
	must(clock_gettime(CLOCK_MONOTONIC, &next));
	for (int i = 0; i < atoi(argv[1]); i++) {
		must(syscall(SYS_nanosleep, &work, NULL));
		next.tv_nsec += atoi(argv[2]) * 1000000L;
		next.tv_sec += next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL))
			;
	}
	say("paced pid=%d\n", getpid());
	return 0;
}

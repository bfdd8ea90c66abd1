/* Calls a function so often, and tells the CPU time of a call. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile long sink;

__attribute__((noinline)) void called(long number, const char *text)
{
	sink += number + text[0];
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(int argc, char **argv)
{
	long calls = argc > 1 ? atol(argv[1]) : 1;
	double start = now();

	for (long i = 0; i < calls; i++)
		called(i, "a text of usual length");
	printf("\nns %f\n", (now() - start) / (double)calls);
	return 0;
}

/*
 * Makes code of its own, and a map of it as runtimes do.
 *
 *   jit MS   runs `int first(int)` for so much CPU time, and then `second` at the same address
 *
 * The first name is written when the code has run for a while, the second before it runs.
 */
#include "facts.h"

#include <sys/mman.h>

enum { SIZE = 256 };

/* Copied to where it runs: it calls nothing. */
__attribute__((noinline, noclone)) static long spin(long rounds)
{
	long sum = 0;

	for (volatile long i = 0; i < rounds; i++)
		sum += i;
	return sum;
}

static long run(long (*code)(long), long ms)
{
	long long end = now(CLOCK_PROCESS_CPUTIME_ID) + ms * 1000000LL;
	long sum = 0;

	while (now(CLOCK_PROCESS_CPUTIME_ID) < end)
		sum += code(100000);
	return sum;
}

/* Each has a stack of its own. */
__attribute__((noinline, noclone)) static long early(long (*code)(long), long ms)
{
	return run(code, ms) + 1;
}

__attribute__((noinline, noclone)) static long late(long (*code)(long), long ms)
{
	return run(code, ms) + 2;
}

int main(int argc, char **argv)
{
	long ms = argc > 1 ? strtol(argv[1], NULL, 10) : 500;
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char name[64];
	long sum;

	if (memory == MAP_FAILED)
		return 1;
	long (*code)(long) = (long (*)(long))memory;

	memcpy(memory, (void *)spin, SIZE);
	__builtin___clear_cache(memory, (char *)memory + SIZE);
	snprintf(name, sizeof(name), "/tmp/perf-%d.map", getpid());
	FILE *map = fopen(name, "w");

	if (!map)
		return 1;
	sum = early(code, ms / 2);
	fprintf(map, "%lx %x int first(int)\n", (unsigned long)memory, SIZE);
	fflush(map);
	sum += early(code, ms / 2);
	/* In two pieces, the second of which is whole only now. */
	fprintf(map, "%lx %x sec", (unsigned long)memory, SIZE);
	fflush(map);
	fprintf(map, "ond\n");
	fclose(map);
	long long changed = now(CLOCK_MONOTONIC);

	/* Whoever reads the map does so a few times in a second. */
	usleep(400000);
	sum += late(code, ms);
	printf("jit pid=%d changed=%lld sum=%ld\n", getpid(), changed, sum);
	return 0;
}

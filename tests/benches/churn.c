/*
 * Allocates and frees, and says how much CPU time that took.
 *
 *   churn mixed PAIRS     blocks of 16 to 512 bytes from 8 places, of which 512 are alive at a time
 *   churn small PAIRS     malloc of 64 bytes, and free at once
 *
 * It says `ready`, waits for a line on the standard input, says what it did, and ends when the input does:
 *
 *   churned calls= ns=    calls of malloc and free since it was let go, and CPU time of PAIRS pairs
 *   ended ns=             CPU time of the whole process
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIVE = 512 };

#define SITE __attribute__((noinline, noclone))

static void *volatile blocks[LIVE];
/* The compiler knows nothing of it, and so cannot turn calls into jumps. */
static volatile int depth;

#define PLACE(name)                                                                                      \
	SITE static void *name(size_t bytes)                                                             \
	{                                                                                                \
		char *block = malloc(bytes);                                                             \
                                                                                                         \
		*block = 1;                                                                              \
		depth++;                                                                                 \
		return block;                                                                            \
	}

PLACE(place_0)
PLACE(place_1)
PLACE(place_2)
PLACE(place_3)

/* Two ways to each: 8 stacks. */
#define WAY(name, P, Q, R, S)                                                                            \
	SITE static void *name(unsigned place, size_t bytes)                                             \
	{                                                                                                \
		void *block = place == 0 ? P(bytes) : place == 1 ? Q(bytes) : place == 2 ? R(bytes) :    \
											   S(bytes);     \
                                                                                                         \
		depth--;                                                                                 \
		return block;                                                                            \
	}

WAY(parse, place_0, place_1, place_2, place_3)
WAY(answer, place_3, place_2, place_1, place_0)

SITE static void *allocate(unsigned random)
{
	size_t bytes = 16 + (random >> 8) % (512 - 16 + 1);
	void *block = random >> 7 & 1 ? parse(random >> 5 & 3, bytes) : answer(random >> 5 & 3, bytes);

	depth += 2;
	return block;
}

SITE static void mixed(long pairs)
{
	unsigned random = 1;

	for (long i = 0; i < pairs; i++) {
		void *volatile *block = &blocks[(random >> 17) % LIVE];

		free(*block);
		*block = allocate(random);
		random = random * 1103515245 + 12345;
	}
}

SITE static void small(long pairs)
{
	for (long i = 0; i < pairs; i++) {
		blocks[0] = malloc(64);
		free(blocks[0]);
	}
	blocks[0] = NULL;
}

static long long cpu_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv)
{
	static char input[4096], output[4096];
	long long began, ended;
	long pairs, calls;
	char line[16];

	if (argc != 3)
		return 2;
	/* Else their buffers are allocated. */
	setvbuf(stdin, input, _IOFBF, sizeof(input));
	setvbuf(stdout, output, _IOFBF, sizeof(output));
	pairs = atol(argv[2]);
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 0;
	if (!strcmp(argv[1], "mixed")) {
		for (int i = 0; i < LIVE; i++)
			blocks[i] = allocate(i * 2654435761u);
		began = cpu_time();
		mixed(pairs);
		ended = cpu_time();
		for (int i = 0; i < LIVE; i++)
			free(blocks[i]);
		calls = 2 * (pairs + LIVE);
	} else {
		began = cpu_time();
		small(pairs);
		ended = cpu_time();
		calls = 2 * pairs;
	}
	printf("churned calls=%ld ns=%lld\n", calls, ended - began);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		;
	printf("ended ns=%lld\n", cpu_time());
	return 0;
}

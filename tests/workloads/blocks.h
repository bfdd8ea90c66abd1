/*
 * What the workloads that allocate share: they keep books of each call of the allocator, and of what
 * each of their sites has outstanding. A site is a line of a function whose name begins with `site_`.
 *
 *   call function= address= old= bytes=    a call, once `log_calls`; 0 is no address, -1 no number
 *   site pid= name= line= bytes= count=    what a site has outstanding
 *   calls pid= allocated= freed= failed=   how many calls there were
 *
 * Nothing here allocates, and nothing of the C library that does is called.
 */
#pragma once

#include "facts.h"

#define SITE __attribute__((noinline))

struct site {
	const char *name;
	int line;
	long long bytes, count;
};

static struct site sites[64];
static pthread_mutex_t books = PTHREAD_MUTEX_INITIALIZER;
static _Atomic long allocated, freed, failed;
static bool log_calls;

/* Adds to what a site has outstanding. */
static inline void book(const char *name, int line, long long bytes, long long count)
{
	struct site *site = sites;

	pthread_mutex_lock(&books);
	while (site->name && (site->line != line || strcmp(site->name, name)))
		site++;
	if (site == sites + sizeof(sites) / sizeof(*sites) - 1)
		_exit(99);
	*site = (struct site){ name, line, site->bytes + bytes, site->count + count };
	pthread_mutex_unlock(&books);
}

static inline void say_call(const char *function, uintptr_t block, uintptr_t old, long long bytes)
{
	if (log_calls)
		printf("call function=%s address=%lld old=%lld bytes=%lld\n", function, (long long)block,
		       (long long)old, bytes);
}

/* Books a call that gave `block`. Not inlined: the compiler must think that anything happens to it. */
__attribute__((noinline, unused)) static void *called(const char *function, void *block, uintptr_t old, long long bytes)
{
	if (block)
		allocated++;
	else
		failed++;
	say_call(function, (uintptr_t)block, old, bytes);
	return block;
}

/* Frees a block. */
__attribute__((noinline, unused)) static void drop(void *block)
{
	if (block) {
		freed++;
		say_call("free", (uintptr_t)block, 0, -1);
	}
	free(block);
}

/* A call whose block is freed later, or that fails. */
#define PASS(function, call, old, bytes) called(function, call, old, bytes)

/* A call whose block stays, if there is one. */
#define LEAK(function, call, old, bytes)                                                  \
	({                                                                                \
		void *block_ = called(function, call, old, bytes);                        \
		if (block_)                                                               \
			book(__func__, __LINE__, bytes, 1);                               \
		block_;                                                                   \
	})

/* `again` blocks of one size. */
#define LEAK_TIMES(again, function, call, bytes)                                          \
	({                                                                                \
		for (int i_ = 0; i_ < (again); i_++)                                      \
			LEAK(function, call, 0, bytes);                                   \
	})

/* To be called first: stdio would allocate. */
static inline void own_buffer(void)
{
	static char buffer[1 << 14];

	if (setvbuf(stdout, buffer, _IOFBF, sizeof(buffer)))
		_exit(99);
}

/* Where the first argument is `wait`, waits for a line on the standard input and takes it away. */
static inline void wait_if_told(int *argc, char ***argv)
{
	if (*argc < 2 || strcmp((*argv)[1], "wait"))
		return;
	say("ready\n");
	read_line();
	(*argc)--;
	(*argv)++;
}

static inline void say_books(void)
{
	for (struct site *site = sites; site->name; site++)
		printf("site pid=%d name=%s line=%d bytes=%lld count=%lld\n", getpid(), site->name, site->line,
		       site->bytes, site->count);
	say("calls pid=%d allocated=%ld freed=%ld failed=%ld\n", getpid(), allocated, freed, failed);
}

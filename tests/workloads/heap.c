/*
 * Uses its heap in known ways, and says what it has outstanding in the end; see blocks.h.
 *
 *   heap sites                       every function of the allocator, every call of them said
 *   heap few                         a handful
 *   heap sizes COUNT                 COUNT blocks of some sizes each, as many of them freed again
 *   heap threads THREADS ROUNDS      blocks that other threads free; the threads are still there at the end
 *   heap ended THREADS ROUNDS        the same, but the threads have ended
 *   heap forks                       blocks that are inherited, freed and leaked by children
 *   heap wait MODE…                  any of them, after a line on the standard input
 *
 * What an allocator may answer as it likes, such as realloc to nothing, is said as it was answered.
 */
#include "blocks.h"

#include <malloc.h>
#include <spawn.h>
#include <stdatomic.h>

/* More than there is: what fails with it. Not known to the compiler, which would warn. */
static volatile size_t huge = PTRDIFF_MAX - (1 << 20), overflowing = SIZE_MAX / 2, three = 3, hundred = 100,
		       none;

SITE static void site_malloc(void)
{
	LEAK_TIMES(3, "malloc", malloc(100), 100);
	LEAK_TIMES(5, "malloc", malloc(1000), 1000);
}

/* A stack that is taken when malloc is entered lacks this frame, and with it what tells these apart. */
SITE static void site_four(void)
{
	for (int i = 0; i < 4; i++) {
		LEAK("malloc", malloc(11), 0, 11);
		LEAK("malloc", malloc(22), 0, 22);
		LEAK("malloc", malloc(33), 0, 33);
		LEAK("malloc", malloc(44), 0, 44);
	}
}

SITE static void site_nothing(void)
{
	LEAK_TIMES(2, "malloc", malloc(none), 0);
}

SITE static void site_large(void)
{
	LEAK_TIMES(2, "malloc", malloc(128 << 10), 128 << 10);
	LEAK_TIMES(1, "malloc", malloc(3 << 20), 3 << 20);
	drop(PASS("malloc", malloc(2 << 20), 0, 2 << 20));
}

SITE static void site_too_large(void)
{
	PASS("malloc", malloc(huge), 0, huge);
}

SITE static void site_calloc(void)
{
	LEAK_TIMES(2, "calloc", calloc(7, 31), 7 * 31);
	drop(PASS("calloc", calloc(3, 5), 0, 3 * 5));
	PASS("calloc", calloc(overflowing, three), 0, -1);
}

/* The compiler must not make a malloc of it. */
static void *volatile nothing;

SITE static void site_realloc_of_none(void)
{
	LEAK_TIMES(3, "realloc", realloc(nothing, 120), 120);
}

SITE static void site_realloc_in_place(void)
{
	void *block = PASS("malloc", malloc(104), 0, 104);

	LEAK("realloc", realloc(block, 99), (uintptr_t)block, 99);
}

SITE static void site_realloc_moved(void)
{
	void *block = PASS("malloc", malloc(104), 0, 104);

	LEAK("malloc", malloc(104), 0, 104);
	LEAK("realloc", realloc(block, 20000), (uintptr_t)block, 20000);
}

/* The kernel moves it. */
SITE static void site_realloc_large(void)
{
	void *block = PASS("malloc", malloc(256 << 10), 0, 256 << 10);

	LEAK("realloc", realloc(block, 5 << 20), (uintptr_t)block, 5 << 20);
}

/* A block again and again, each time of another size. */
SITE static void site_realloc_chain(void)
{
	void *block = NULL;

	for (size_t bytes = 16; bytes <= 16 << 8; bytes *= 2)
		block = PASS("realloc", realloc(block, bytes), (uintptr_t)block, bytes);
	drop(block);
}

/* What is left of it, if the allocator leaves anything, is freed. */
SITE static void site_realloc_to_nothing(void)
{
	void *block = PASS("malloc", malloc(70), 0, 70);
	uintptr_t old = (uintptr_t)block;

	block = realloc(block, none);
	if (block)
		drop(PASS("realloc", block, old, 0));
	else {
		freed++;
		say_call("realloc", 0, old, 0);
	}
	printf("nothing left=%d\n", block != NULL);
}

/* The block stays what it was. */
SITE static void site_realloc_fails(void)
{
	void *block = LEAK("malloc", malloc(80), 0, 80);

	PASS("realloc", realloc(block, huge), (uintptr_t)block, huge);
}

SITE static void site_reallocarray(void)
{
	void *block = PASS("reallocarray", reallocarray(nothing, 10, 30), 0, 10 * 30);

	block = LEAK("reallocarray", reallocarray(block, 20, 30), (uintptr_t)block, 20 * 30);
	PASS("reallocarray", reallocarray(block, overflowing, three), (uintptr_t)block, -1);
}

SITE static void site_aligned_alloc(void)
{
	LEAK_TIMES(2, "aligned_alloc", aligned_alloc(64, 640), 640);
	/* Some take what is no power of two. */
	LEAK("aligned_alloc", aligned_alloc(three, 48), 0, 48);
}

SITE static void site_memalign(void)
{
	LEAK_TIMES(2, "memalign", memalign(4096, 100), 100);
	LEAK("memalign", memalign(8, 50), 0, 50);
	drop(PASS("memalign", memalign(256, 70), 0, 70));
}

/* posix_memalign leaves its result alone where it fails. */
__attribute__((noinline)) static void *aligned(size_t alignment, size_t bytes)
{
	void *block = (void *)-1;

	return posix_memalign(&block, alignment, bytes) ? NULL : block;
}

SITE static void site_posix_memalign(void)
{
	LEAK_TIMES(3, "posix_memalign", aligned(128, 300), 300);
	drop(PASS("posix_memalign", aligned(64, 10), 0, 10));
	PASS("posix_memalign", aligned(three, 10), 0, 10);
	PASS("posix_memalign", aligned(64, huge), 0, huge);
}

SITE static void site_pages(void)
{
	LEAK("valloc", valloc(100), 0, 100);
#ifdef __GLIBC__
	LEAK("pvalloc", pvalloc(200), 0, 200);
#endif
}

SITE static void site_strdup(void)
{
	LEAK_TIMES(2, "strdup", strdup("nineteen characters"), 20);
	LEAK("strdup", strndup("nineteen characters", 8), 0, 9);
	LEAK("strdup", strndup("short", hundred), 0, 6);
	drop(PASS("strdup", strdup("freed"), 0, 6));
}

/* Plenty that leaks nothing: up to 16 blocks at a time, freed in another order. */
SITE static void site_churn(int rounds)
{
	void *blocks[16] = { NULL };

	for (int i = 0; i < rounds; i++) {
		size_t bytes = 16 + i * 97 % 3000;
		void **block = &blocks[i * 7 % 16];

		drop(*block);
		*block = PASS("malloc", malloc(bytes), 0, bytes);
	}
	for (int i = 0; i < 16; i++)
		drop(blocks[i]);
	free(NULL);
}

static void every_function(void)
{
	void (*const each[])(void) = { site_malloc, site_four, site_nothing, site_large, site_too_large,
				       site_calloc, site_realloc_of_none, site_realloc_in_place,
				       site_realloc_moved, site_realloc_large, site_realloc_chain,
				       site_realloc_to_nothing, site_realloc_fails, site_reallocarray,
				       site_aligned_alloc, site_memalign, site_posix_memalign, site_pages,
				       site_strdup };

	log_calls = true;
	for (size_t i = 0; i < sizeof(each) / sizeof(*each); i++) {
		each[i]();
		site_churn(20);
	}
}

SITE static void site_few(void)
{
	LEAK_TIMES(5, "malloc", malloc(40), 40);
	drop(PASS("calloc", calloc(4, 4), 0, 4 * 4));
}

/* Each at a line of its own, for the sake of figures of each. */
SITE static void site_sizes(int count)
{
	for (int i = 0; i < count; i++) {
		LEAK("malloc", malloc(64), 0, 64);
		LEAK("malloc", malloc(1000), 0, 1000);
		if (i % 16 == 0)
			LEAK("calloc", calloc(1, 10000), 0, 10000);
		if (i % 64 == 0)
			LEAK("malloc", malloc(100000), 0, 100000);
	}
}

/* --- Threads --- */

enum { SLOTS = 64 };

static void *_Atomic exchange[SLOTS];
static pthread_barrier_t done;
static int thread_count, rounds;
static bool threads_end;

/* What a thread keeps, which each does a number of times of its own. */
SITE static void site_thread(int number)
{
	LEAK_TIMES(number + 1, "malloc", malloc(500), 500);
}

static void *exchange_blocks(void *argument)
{
	int number = (int)(intptr_t)argument;
	unsigned random = 12345 + number;
	long allocations = 0, frees = 0;

	for (int i = 0; i < rounds; i++) {
		size_t bytes = 16 + (number * 131 + i * 17) % 2000;
		void *block = called("malloc", malloc(bytes), 0, bytes);

		allocations++;
		random = random * 1103515245 + 12345;
		block = atomic_exchange(&exchange[random / 65536 % SLOTS], block);
		frees += block != NULL;
		drop(block);
	}
	site_thread(number);
	say("thread tid=%d allocated=%ld freed=%ld\n", (int)syscall(SYS_gettid), allocations + number + 1, frees);
	pthread_barrier_wait(&done);
	/* A thread that ends gives the allocator back what it held for it, partly by calls of free. */
	while (!threads_end)
		pause();
	return NULL;
}

static void threads(void)
{
	pthread_t started[64];

	if (thread_count > 64)
		_exit(98);
	pthread_barrier_init(&done, NULL, thread_count + 1);
	for (int i = 0; i < thread_count; i++)
		started[i] = start_thread(exchange_blocks, (void *)(intptr_t)i);
	pthread_barrier_wait(&done);
	if (threads_end)
		for (int i = 0; i < thread_count; i++)
			pthread_join(started[i], NULL);
	for (int i = 0; i < SLOTS; i++)
		drop(exchange[i]);
}

/* --- Processes --- */

enum { INHERITED = 10 };

static char program[4096];

SITE static void site_inherited(void **blocks)
{
	for (int i = 0; i < INHERITED; i++)
		blocks[i] = PASS("malloc", malloc(200), 0, 200);
	book(__func__, __LINE__ - 1, 200 * INHERITED, INHERITED);
}

/* The line where they were allocated is the one before that of the books. */
static void drop_inherited(void **blocks, int count)
{
	struct site *site = sites;

	while (strcmp(site->name, "site_inherited"))
		site++;
	for (int i = 0; i < count; i++) {
		drop(blocks[i]);
		book(site->name, site->line, -200, -1);
	}
}

SITE static void site_parent(void)
{
	LEAK_TIMES(3, "malloc", malloc(300), 300);
}

SITE static void site_parent_later(void)
{
	LEAK("malloc", malloc(70), 0, 70);
}

SITE static void site_child(void)
{
	LEAK_TIMES(4, "malloc", malloc(50), 50);
}

SITE static void site_before_exec(void)
{
	LEAK_TIMES(6, "malloc", malloc(90), 90);
}

static void await(pid_t child, const char *what)
{
	int status;

	must(waitpid(child, &status, 0));
	if (status)
		_exit(99);
	say("child pid=%d what=%s\n", child, what);
}

/* A child that does something else first, and then becomes `heap few`. */
static void become_few(void)
{
	execl(program, "heap", "few", NULL);
	_exit(99);
}

static void forks(void)
{
	char *const few[] = { "heap", "few", NULL };
	void *blocks[INHERITED];
	pid_t child;

	site_inherited(blocks);
	site_parent();

	child = must(fork());
	if (!child) {
		allocated = freed = failed = 0;
		drop_inherited(blocks, 5);
		site_child();
		say_books();
		_exit(0);
	}
	await(child, "forked");
	/* What the child freed was its own copy. */
	drop_inherited(blocks, 2);

	child = must(fork());
	if (!child) {
		allocated = freed = failed = 0;
		site_before_exec();
		say_books();
		become_few();
	}
	await(child, "executed");

	child = vfork();
	if (!child)
		become_few();
	await(child, "vforked");

	if (posix_spawn(&child, program, NULL, NULL, few, environ))
		_exit(99);
	await(child, "spawned");
	site_parent_later();
}

int main(int argc, char **argv)
{
	const char *mode;

	own_buffer();
	must(readlink("/proc/self/exe", program, sizeof(program) - 1));
	say("heap pid=%d\n", getpid());
	wait_if_told(&argc, &argv);
	mode = argc > 1 ? argv[1] : "";
	if (!strcmp(mode, "sites"))
		every_function();
	else if (!strcmp(mode, "few"))
		site_few();
	else if (!strcmp(mode, "sizes") && argc == 3) {
		site_sizes(atoi(argv[2]));
		site_churn(atoi(argv[2]));
	} else if ((!strcmp(mode, "threads") || !strcmp(mode, "ended")) && argc == 4) {
		thread_count = atoi(argv[2]);
		rounds = atoi(argv[3]);
		threads_end = !strcmp(mode, "ended");
		threads();
	} else if (!strcmp(mode, "forks"))
		forks();
	else
		return 98;
	say_books();
	return 0;
}

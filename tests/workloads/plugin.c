/*
 * A library for `plugins`: it leaks from its own code, and has an allocator of its own, whose functions
 * have `toy_` before their names. What is allocated with that lies in the library.
 */
#include "blocks.h"

static _Alignas(16) char arena[1 << 16];
static size_t taken;

void *toy_malloc(size_t bytes)
{
	size_t *block = (size_t *)(arena + taken);

	if (bytes > sizeof(arena) - taken - 16)
		return NULL;
	taken += 16 + (bytes + 15) / 16 * 16;
	*block = bytes;
	return block + 2;
}

void *toy_calloc(size_t count, size_t bytes)
{
	return toy_malloc(count * bytes);
}

void toy_free(void *block)
{
	if (block)
		((size_t *)block)[-2] = 0;
}

void *toy_realloc(void *old, size_t bytes)
{
	void *block = toy_malloc(bytes);

	if (block && old) {
		memcpy(block, old, ((size_t *)old)[-2]);
		toy_free(old);
	}
	return block;
}

SITE static void site_constructor(void)
{
	LEAK_TIMES(2, "malloc", malloc(33), 33);
}

__attribute__((constructor)) static void construct(void)
{
	site_constructor();
}

SITE static void site_plugin(void)
{
	LEAK_TIMES(7, "malloc", malloc(77), 77);
	drop(PASS("calloc", calloc(2, 8), 0, 2 * 8));
}

/* Leaks, and says all that the library did so far. */
void plugin_leak(void)
{
	site_plugin();
	say_books();
}

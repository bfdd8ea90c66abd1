/*
 * Loads libplugin.so from where the program is, and lets it allocate; see blocks.h and plugin.c.
 *
 *   plugins keep    the library stays
 *   plugins close   it is unloaded after it has leaked
 *   plugins toy     its allocator is called from here
 *   plugins wait MODE…         any of them, after a line on the standard input
 *   plugins early wait MODE…   the library is loaded before that
 */
#include "blocks.h"

#include <dlfcn.h>

static void *library;

static void *function(const char *name)
{
	void *function = dlsym(library, name);

	if (!function)
		_exit(99);
	return function;
}

SITE static void site_toy(void)
{
	void *(*toy_malloc)(size_t) = function("toy_malloc");
	void *(*toy_calloc)(size_t, size_t) = function("toy_calloc");
	void *(*toy_realloc)(void *, size_t) = function("toy_realloc");
	void (*toy_free)(void *) = function("toy_free");
	void *block;

	log_calls = true;
	LEAK_TIMES(3, "malloc", toy_malloc(500), 500);
	LEAK_TIMES(2, "calloc", toy_calloc(3, 50), 150);
	block = PASS("malloc", toy_malloc(20), 0, 20);
	block = LEAK("realloc", toy_realloc(block, 40), (uintptr_t)block, 40);
	block = PASS("realloc", toy_realloc(NULL, 60), 0, 60);
	say_call("free", (uintptr_t)block, 0, -1);
	toy_free(block);
	freed++;
	PASS("malloc", toy_malloc(1 << 20), 0, 1 << 20);
}

int main(int argc, char **argv)
{
	char path[4096];
	ssize_t length = must(readlink("/proc/self/exe", path, sizeof(path) - 20));
	const char *mode;

	own_buffer();
	path[length] = 0;
	strcpy(strrchr(path, '/'), "/libplugin.so");
	say("plugins pid=%d\n", getpid());
	if (argc > 1 && !strcmp(argv[1], "early")) {
		library = dlopen(path, RTLD_NOW);
		argc--;
		argv++;
	}
	wait_if_told(&argc, &argv);
	mode = argc > 1 ? argv[1] : "";

	if (!library)
		library = dlopen(path, RTLD_NOW);
	if (!library)
		return 99;
	if (!strcmp(mode, "toy"))
		site_toy();
	else if (!strcmp(mode, "keep") || !strcmp(mode, "close"))
		((void (*)(void))function("plugin_leak"))();
	else
		return 98;
	if (!strcmp(mode, "close") && dlclose(library))
		return 99;
	say_books();
	return 0;
}

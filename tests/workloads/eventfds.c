/*
 * Makes the kernel allocate: an eventfd is an object of its own. Needs root, for a mount namespace.
 *
 *   eventfds COUNT CLOSED    makes COUNT, closes CLOSED of them, and says so when that is surely done
 */
#include "facts.h"

#include <sys/eventfd.h>

enum { GRACE_MS = 1000 }; /* for what the kernel frees later, by RCU */

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[1]) : 0, closed = argc > 2 ? atoi(argv[2]) : 0;
	int *files = calloc((size_t)count + 1, sizeof(*files));
	struct rlimit limit;
	long long began = now(CLOCK_MONOTONIC), made;

	if (!files || closed > count)
		return 98;
	/* Copies the mounts, of which each has memory of each CPU. */
	must(unshare(CLONE_NEWNS));
	must(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	must(setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < count; i++)
		files[i] = must(eventfd(0, 0));
	made = now(CLOCK_MONOTONIC);
	for (int i = 0; i < closed; i++)
		must(close(files[i]));
	sleep_ms(GRACE_MS);
	say("eventfds pid=%d began=%lld made=%lld closed=%lld\n", getpid(), began, made, now(CLOCK_MONOTONIC));
	return 0;
}

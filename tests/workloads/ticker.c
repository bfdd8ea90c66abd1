/*
 * Calls tkill with 10000000, 10000001 and so on, one about every millisecond, until its standard input
 * ends. There are no such threads: the numbers only say which event it was.
 */
#include "facts.h"

#include <poll.h>

enum { FIRST = 10000000 };

int main(void)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	int next = FIRST;

	say("ticker pid=%d first=%d\n", getpid(), FIRST);
	while (poll(&input, 1, 1) == 0)
		syscall(SYS_tkill, next++, 0);
	return 0;
}

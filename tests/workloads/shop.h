/*
 * What `shop` and its library share: they note each probe that they come by, and say so in the end.
 *
 *   event probe= site= pid= tid= began= ended= args= text=   args with commas; text in hex, or `none`
 *
 * Between `began` and `ended` the thread came by the probe, and `site` is the function that has it.
 */
#pragma once

#include "facts.h"

#define SITE __attribute__((noinline))

/* The probes have semaphores where there is a variable for it, and else the address 0. */
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
#define WITHOUT_SEMAPHORE(probe)                               \
	extern unsigned short shop_##probe##_semaphore         \
		__attribute__((visibility("hidden")));         \
	__asm__(".set shop_" #probe "_semaphore, 0")

struct event {
	const char *probe, *site, *text;
	long long began, ended, args[6];
	int count;
	pid_t tid;
};

static struct event events[1 << 16];
static _Atomic int event_count;

#define ARGS(...) sizeof((long long[]){ __VA_ARGS__ }) / sizeof(long long), (long long[]){ __VA_ARGS__ }

/* Not inlined: the compiler must think that anything happens to the arguments. */
SITE static struct event *begin(const char *probe, const char *site, const char *text, int count, const long long *args)
{
	int index = event_count++;
	struct event *event = events + index;

	if (index >= (int)(sizeof(events) / sizeof(*events)))
		_exit(99);
	*event = (struct event){ .probe = probe, .site = site, .text = text, .count = count };
	event->tid = syscall(SYS_gettid);
	memcpy(event->args, args, count * sizeof(*args));
	/* So that its page is there: only newer kernels fetch it. */
	if (text)
		(void)*(const volatile char *)text;
	event->began = now(CLOCK_MONOTONIC);
	return event;
}

SITE static void end(struct event *event)
{
	event->ended = now(CLOCK_MONOTONIC);
}

SITE static void say_events(void)
{
	for (struct event *event = events; event < events + event_count; event++) {
		printf("event probe=%s site=%s pid=%d tid=%d began=%lld ended=%lld", event->probe, event->site,
		       getpid(), event->tid, event->began, event->ended);
		for (int i = 0; i < event->count; i++)
			printf("%s%lld", i ? "," : " args=", event->args[i]);
		if (event->text)
			say_hex("text", event->text, strlen(event->text));
		else
			printf(" text=none");
		printf("\n");
	}
	fflush(stdout);
	event_count = 0;
}

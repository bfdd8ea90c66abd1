/* A library that `shop` loads, with probes of its own; see shop.h. */
#include "shop.h"

#include <sys/mman.h>

unsigned short shop_lib_audit_semaphore __attribute__((section(".probes")));
WITHOUT_SEMAPHORE(lib_order);
WITHOUT_SEMAPHORE(lib_cold);

SITE static void site_lib_order(uint64_t id, const char *name)
{
	struct event *event = begin("lib_order", __func__, name, ARGS(id));

	DTRACE_PROBE2(shop, lib_order, id, name);
	end(event);
}

/* A text in a page that the program does not have in its memory. */
static const char cold[1 << 14] __attribute__((aligned(4096))) = "cold";

SITE static void site_lib_cold(void)
{
	struct event *event = begin("lib_cold", __func__, NULL, 0, NULL);

	must(madvise((void *)cold, sizeof(cold), MADV_DONTNEED));
	DTRACE_PROBE1(shop, lib_cold, (const char *)cold);
	event->text = cold;
	end(event);
}

SITE static void site_lib_audit(int number)
{
	struct event *event = begin("lib_audit", __func__, NULL, ARGS(number));

	DTRACE_PROBE1(shop, lib_audit, number);
	end(event);
}

SITE long shoplib_function(long number)
{
	__asm__ volatile("" ::: "memory");
	return number * 3;
}

void shoplib_take(long count)
{
	volatile unsigned short *semaphore = &shop_lib_audit_semaphore;

	site_lib_cold();
	for (long i = 0; i < count; i++) {
		struct event *event;

		site_lib_order(i, "of the library");
		if (*semaphore)
			site_lib_audit(i);
		event = begin("shoplib_function", "shoplib_function", NULL, ARGS(i));
		shoplib_function(i);
		end(event);
	}
	say_events();
}

/* A library that `shop` loads, with probes of its own; see shop.h. */
#include "shop.h"

unsigned short shop_lib_audit_semaphore __attribute__((section(".probes")));
WITHOUT_SEMAPHORE(lib_order);

SITE static void site_lib_order(uint64_t id, const char *name)
{
	struct event *event = begin("lib_order", __func__, name, ARGS(id));

	DTRACE_PROBE2(shop, lib_order, id, name);
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

/*
 * A shop with probes of its own (`sys/sdt.h`), and functions to put probes on.
 *
 *   shop probes            comes by each probe, with arguments of every kind
 *   shop orders THREADS N  each thread takes N orders, some of them within others, and one that it never does
 *   shop relay N           one thread takes N orders, another does all but the last, in another order
 *   shop calls N           calls its functions
 *   shop audit             for each line on the standard input asks 100 times whether anybody listens
 *   shop late N            loads its library (shoplib.c) and lets it take N orders
 *   shop many              200 functions, each called its own number of times
 *   shop children N        it, and a child, and a program that a child becomes, call N times
 *   shop deep N            calls a function that calls itself N times
 *   shop call N            as one of those
 *   shop writes N          writes N times to /dev/null, and once to what is not open
 *   shop steady            calls all the time, to the end of the standard input
 *   shop wait MODE...      any of them, after a line on the standard input
 *
 *   shop pid=
 *   event ...                                   see shop.h
 *   address name= at= offset=                   of a function in the file; of a place behind its begin
 *   audited enabled= disabled= semaphore=       a line's worth
 *   called name= count=                         how often a function of `many` was
 *   progress calls=                             of `steady`, for each line on the standard input
 *   steady calls=                               in the end
 */
#include "shop.h"

#include <dlfcn.h>
#include <fcntl.h>

unsigned short shop_audit_semaphore __attribute__((section(".probes")));
WITHOUT_SEMAPHORE(order_start);
WITHOUT_SEMAPHORE(order_done);
WITHOUT_SEMAPHORE(small);
WITHOUT_SEMAPHORE(large);
WITHOUT_SEMAPHORE(total);
WITHOUT_SEMAPHORE(six);
WITHOUT_SEMAPHORE(bare);

/* --- Orders --- */

struct order {
	uint64_t id;
	const char *name;
	int amount;
};

SITE static void site_start(uint64_t id, const char *name, int amount)
{
	struct event *event = begin("order_start", __func__, name, ARGS(id, amount));

	DTRACE_PROBE3(shop, order_start, id, name, amount);
	end(event);
}

SITE static void site_start_constant(void)
{
	struct event *event = begin("order_start", __func__, "constant", ARGS(77, -7));

	DTRACE_PROBE3(shop, order_start, (uint64_t)77, "constant", -7);
	end(event);
}

/* What lies in memory, and far from the register that tells where. */
SITE static void site_start_memory(volatile struct order *orders, long index)
{
	struct event *event =
		begin("order_start", __func__, orders[index].name, ARGS(orders[index].id, orders[index].amount));

	DTRACE_PROBE3(shop, order_start, orders[index].id, orders[index].name, orders[index].amount);
	end(event);
}

SITE static void site_done(uint64_t id, int result)
{
	struct event *event = begin("order_done", __func__, NULL, ARGS(id, result));

	DTRACE_PROBE2(shop, order_done, id, result);
	end(event);
}

/* --- Arguments of every size --- */

SITE static void site_small(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f)
{
	struct event *event = begin("small", __func__, NULL, ARGS(a, b, c, d, e, f));

	DTRACE_PROBE6(shop, small, a, b, c, d, e, f);
	end(event);
}

/* The same from memory. */
SITE static void site_small_memory(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f)
{
	volatile int8_t a8 = a;
	volatile uint8_t b8 = b;
	volatile int16_t c16 = c;
	volatile uint16_t d16 = d;
	volatile int32_t e32 = e;
	volatile uint32_t f32 = f;
	struct event *event = begin("small", __func__, NULL, ARGS(a, b, c, d, e, f));

	DTRACE_PROBE6(shop, small, a8, b8, c16, d16, e32, f32);
	end(event);
}

SITE static void site_large(int64_t a, uint64_t b, const void *c)
{
	struct event *event = begin("large", __func__, NULL, ARGS(a, (int64_t)b, (intptr_t)c));

	DTRACE_PROBE3(shop, large, a, b, c);
	end(event);
}

/* The same from places in arrays. */
SITE static void site_large_indexed(const volatile int64_t *a, const volatile uint64_t *b, const void *volatile *c, long i)
{
	struct event *event = begin("large", __func__, NULL, ARGS(a[i], (int64_t)b[i], (intptr_t)c[i]));

	DTRACE_PROBE3(shop, large, a[i], b[i], c[i]);
	end(event);
}

static volatile int total = 1000;

/* A variable of the program, which the compiler addresses by its name. */
SITE static void site_total(int more)
{
	struct event *event;

	total += more;
	event = begin("total", __func__, NULL, ARGS(total));
	DTRACE_PROBE1(shop, total, total);
	end(event);
}

/* As many as a probe of the recorder's takes, and more. */
SITE static void site_six(long a, long b, long c, long d, long e, long f, long g, long h)
{
	struct event *event = begin("six", __func__, NULL, ARGS(a, c, d, f, g, h));

	DTRACE_PROBE8(shop, six, a, b, c, d, e, f, g, h);
	end(event);
}

SITE static void site_bare(void)
{
	struct event *event = begin("bare", __func__, NULL, 0, NULL);

	DTRACE_PROBE(shop, bare);
	end(event);
}

/* 255 bytes of a text are kept: the last character that begins before is cut, and left out. */
static char text_255[256], text_256[257], text_cut[300], text_long[70001];

static void probes(void)
{
	const char *texts[] = { "plain", "Gr\xc3\xbc\xc3\x9f" "e", "\xe6\xbc\xa2\xe5\xad\x97", "\xf0\x9f\x8d\x8e",
				"", NULL, text_255, text_256, text_cut, text_long, (const char *)1,
				"not UTF-8: \xff\xfe." };
	struct order orders[3] = { { 1, "first", 1 }, { UINT64_MAX, "second", INT32_MIN }, { 3, "third", INT32_MAX } };

	memset(text_255, 'a', 255);
	memset(text_256, 'b', 256);
	memset(text_long, 'c', 70000);
	memset(text_cut, 'd', 253);
	strcpy(text_cut + 253, "\xe6\xbc\xa2\xe5\xad\x97");
	for (unsigned i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		bool readable = texts[i] != (const char *)1;
		struct event *event;

		/* One whose name cannot be read is noted without. */
		if (readable) {
			site_start(100 + i, texts[i], -(int)i);
		} else {
			site_start(100 + i, NULL, -(int)i);
			event = begin("order_start", "probes", NULL, ARGS(1000, 0));
			DTRACE_PROBE3(shop, order_start, (uint64_t)1000, texts[i], 0);
			end(event);
		}
	}
	for (int i = 0; i < 5; i++)
		site_start_constant();
	for (int i = 0; i < 3; i++)
		site_start_memory(orders, i);
	for (int i = 0; i < 4; i++)
		site_done(i, i % 2 ? -i : i);
	site_small(-5, 250, -300, 65000, -70000, 4000000000u);
	site_small(INT8_MIN, UINT8_MAX, INT16_MIN, UINT16_MAX, INT32_MIN, UINT32_MAX);
	site_small(INT8_MAX, 0, INT16_MAX, 0, INT32_MAX, 0);
	site_small_memory(-5, 250, -300, 65000, -70000, 4000000000u);
	site_small_memory(INT8_MIN, UINT8_MAX, INT16_MIN, UINT16_MAX, INT32_MIN, UINT32_MAX);
	site_large(INT64_MIN + 1, UINT64_MAX, NULL);
	site_large(-1, 1, orders);
	for (int i = 0; i < 3; i++)
		site_large_indexed((int64_t[]){ -9, 8, -7 }, (uint64_t[]){ 6, UINT64_MAX - 5, 4 },
				   (const void *volatile[]){ NULL, (void *)-1, orders }, i);
	for (int i = 1; i < 8; i++)
		site_total(-300 * i);
	site_six(1, 2, 3, 4, 5, 6, 7, 8);
	site_six(-1, -2, -3, -4, -5, -6, -7, -8);
	for (int i = 0; i < 9; i++)
		site_bare();
}

/* --- Spans --- */

static long threads_orders;

/* Whether an order has others in it, and how long it takes, depends on its number alone. */
static void take_order(uint64_t id, int inner)
{
	site_start(id, "span", inner);
	if (id % 3 == 0)
		sleep_ms(1);
	for (int i = 1; i <= inner; i++)
		take_order(id * 10 + i, inner - 1);
	site_done(id, inner);
}

static void *take_orders(void *argument)
{
	uint64_t number = (uintptr_t)argument;

	for (long i = 0; i < threads_orders; i++)
		take_order((number * 10000 + i) * 1000, i % 10 == 9 ? 2 : 0);
	/* It ends in the middle of one. */
	site_start(number, "never done", -1);
	return NULL;
}

static void orders(int count, long each)
{
	pthread_t threads[64];

	threads_orders = each;
	for (long i = 0; i < count; i++)
		threads[i] = start_thread(take_orders, (void *)(i + 1));
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

enum { BATCH = 8 };
static pthread_barrier_t taken, done;
static long relayed;

/* Of each batch it does the last first. */
static void *do_orders(void *unused)
{
	for (long first = 0; first < relayed; first += BATCH) {
		pthread_barrier_wait(&taken);
		for (long id = first + BATCH - 1; id >= first; id--)
			if (id < relayed - 1)
				site_done(id, 0);
		pthread_barrier_wait(&done);
	}
	return unused;
}

static void relay(long count)
{
	pthread_t thread;

	relayed = count;
	pthread_barrier_init(&taken, NULL, 2);
	pthread_barrier_init(&done, NULL, 2);
	thread = start_thread(do_orders, NULL);
	for (long first = 0; first < count; first += BATCH) {
		for (long id = first; id < first + BATCH && id < count; id++)
			site_start(id, "relay", 0);
		pthread_barrier_wait(&taken);
		pthread_barrier_wait(&done);
	}
	pthread_join(thread, NULL);
}

/* --- Functions --- */

/* Volatile: whoever calls must not know what they do. */
static volatile long sink;

SITE long shop_price(int item, long amount, const char *name)
{
	sink = item + (name ? name[0] : 0);
	return amount * item - 1;
}

SITE int shop_recurse(int depth)
{
	int result = depth ? shop_recurse(depth - 1) + 2 : -1;

	sink = result;
	return result;
}

SITE const char *shop_name(int item)
{
	static const char *const names[] = { "apple", "\xc3\x84pfel", "" };

	sink = item;
	return item < 3 ? names[item] : NULL;
}

extern char shop_middle[];

/* `shop_middle` is behind its first instructions, and not always reached. */
SITE void shop_around(int again)
{
	sink = again;
	if (again % 2)
		return;
	__asm__ volatile(".globl shop_middle\n\t.hidden shop_middle\nshop_middle:\n\tnop" ::: "memory");
	sink = again + 1;
}

static void say_addresses(void)
{
	extern char __executable_start[];

	say("address name=shop_price at=0x%lx offset=0\n", (char *)shop_price - __executable_start);
	say("address name=shop_around at=0x%lx offset=%ld\n", (char *)shop_around - __executable_start,
	    shop_middle - (char *)shop_around);
}

static void calls(long count)
{
	static const char *const names[] = { "bread", "K\xc3\xa4se", "", NULL };

	say_addresses();
	for (long i = 0; i < count; i++) {
		const char *name = names[i % 4];
		long price = 0;
		struct event *event = begin("shop_price", "shop_price", name, ARGS(-i, i << 33));

		price = shop_price(-i, i << 33, name);
		end(event);
		event = begin("price", "shop_price", NULL, ARGS(price));
		end(event);
	}
	for (long i = 0; i < count; i++) {
		struct event *event = begin("shop_around", "shop_around", NULL, ARGS(i));

		shop_around(i);
		end(event);
	}
	for (int i = 0; i < 5; i++) {
		struct event *event = begin("shop_name", "shop_name", shop_name(i), ARGS(i));

		shop_name(i);
		end(event);
	}
	for (int i = 0; i < 3; i++) {
		struct event *event = begin("shop_recurse", "shop_recurse", NULL, ARGS(12, 23));

		if (shop_recurse(12) != 23)
			_exit(99);
		end(event);
	}
}

static void deep(int depth)
{
	struct event *event = begin("shop_recurse", "shop_recurse", NULL, ARGS(depth));

	if (shop_recurse(depth) != 2 * depth - 1)
		_exit(99);
	end(event);
}

/* --- Semaphores --- */

SITE static void site_audit(int number)
{
	struct event *event = begin("audit", __func__, NULL, ARGS(number));

	DTRACE_PROBE1(shop, audit, number);
	end(event);
}

static void audit(void)
{
	volatile unsigned short *semaphore = &shop_audit_semaphore;

	say("auditing\n");
	while (read_line()) {
		int enabled = 0, disabled = 0;

		for (int i = 0; i < 100; i++)
			if (*semaphore) {
				site_audit(i);
				enabled++;
			} else {
				disabled++;
			}
		say("audited enabled=%d disabled=%d semaphore=%d\n", enabled, disabled, *semaphore);
	}
}

/* --- A library that comes later --- */

static void late(long count)
{
	char path[4096];
	ssize_t length = must(readlink("/proc/self/exe", path, sizeof(path) - 20));
	void *library;
	void (*take)(long);

	path[length] = 0;
	strcpy(strrchr(path, '/'), "/libshop.so");
	library = dlopen(path, RTLD_NOW);
	take = library ? dlsym(library, "shoplib_take") : NULL;
	if (!take)
		_exit(99);
	say("loaded\n");
	/* The recorder notices new libraries after a while. */
	read_line();
	take(count);
}

/* --- Many --- */

#define TEN(m, x) m(x##0) m(x##1) m(x##2) m(x##3) m(x##4) m(x##5) m(x##6) m(x##7) m(x##8) m(x##9)
#define HUNDRED(m, x) TEN(m, x##0) TEN(m, x##1) TEN(m, x##2) TEN(m, x##3) TEN(m, x##4) TEN(m, x##5) \
	TEN(m, x##6) TEN(m, x##7) TEN(m, x##8) TEN(m, x##9)
#define ALL(m) HUNDRED(m, 0) HUNDRED(m, 1)

#define DEFINE(number) SITE void many_##number(int again) { sink = again + __LINE__; }
#define NAME(number) { many_##number, "many_" #number },
ALL(DEFINE)
static const struct {
	void (*function)(int);
	const char *name;
} all[] = { ALL(NAME) };

static void many(void)
{
	int count = sizeof(all) / sizeof(*all);

	for (int again = 0; again < 23; again++)
		for (int i = 0; i < count; i++)
			if (again <= i * 7 % 23)
				all[i].function(again);
	for (int i = 0; i < count; i++)
		say("called name=%s count=%d\n", all[i].name, i * 7 % 23 + 1);
}

/* --- Children --- */

static void call_and_say(long count)
{
	for (long i = 0; i < count; i++) {
		struct event *event = begin("shop_price", "shop_price", NULL, ARGS(i, getpid()));

		shop_price(i, getpid(), NULL);
		end(event);
	}
	say_events();
}

static void children(const char *count)
{
	char path[4096] = "";
	pid_t child;

	must(readlink("/proc/self/exe", path, sizeof(path) - 1));
	child = must(fork());
	if (!child) {
		call_and_say(atol(count));
		child = must(fork());
		if (!child)
			must(execl(path, "shop", "call", count, NULL));
		must(waitpid(child, NULL, 0));
		_exit(0);
	}
	must(waitpid(child, NULL, 0));
	call_and_say(atol(count));
}

/* --- The kernel --- */

static void writes(long count)
{
	int null = must(open("/dev/null", O_WRONLY)), closed = 999;
	static char text[1000] = "written";

	for (long i = 0; i <= count; i++) {
		int fd = i < count ? null : closed;
		struct event *event = begin("write", "writes", text, ARGS(fd, i + 8, 0));

		event->args[2] = raw(write(fd, text, i + 8));
		end(event);
	}
}

/* --- Steady --- */

static _Atomic bool over;
static _Atomic long steady_calls;

static void *call_steadily(void *unused)
{
	while (!over) {
		shop_price(steady_calls++, 2, "steady");
		site_start(steady_calls, "steady", 0);
		event_count = 0;
		sleep_ms(1);
	}
	return unused;
}

static void steady(void)
{
	pthread_t thread = start_thread(call_steadily, NULL);

	say("running\n");
	while (read_line())
		say("progress calls=%ld\n", steady_calls);
	over = true;
	pthread_join(thread, NULL);
	say("steady calls=%ld\n", steady_calls);
}

int main(int argc, char **argv)
{
	const char *mode;
	long number;

	say("shop pid=%d\n", getpid());
	if (argc > 1 && !strcmp(argv[1], "wait")) {
		say("ready\n");
		read_line();
		argc--;
		argv++;
	}
	mode = argc > 1 ? argv[1] : "";
	number = argc > 2 ? atol(argv[2]) : 0;
	if (!strcmp(mode, "probes"))
		probes();
	else if (!strcmp(mode, "orders") && argc > 3)
		orders(number, atol(argv[3]));
	else if (!strcmp(mode, "relay"))
		relay(number);
	else if (!strcmp(mode, "calls"))
		calls(number);
	else if (!strcmp(mode, "deep"))
		deep(number);
	else if (!strcmp(mode, "audit"))
		audit();
	else if (!strcmp(mode, "late"))
		late(number);
	else if (!strcmp(mode, "many"))
		many();
	else if (!strcmp(mode, "children"))
		children(argv[2]);
	else if (!strcmp(mode, "call"))
		call_and_say(number);
	else if (!strcmp(mode, "writes"))
		writes(number);
	else if (!strcmp(mode, "steady"))
		steady();
	else
		return 98;
	say_events();
	return 0;
}

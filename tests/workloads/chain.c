/*
 * Chains of functions whose frames have all shapes, with something at the end.
 *
 *   chain shapes MS            it burns CPU time there; in all others too, unless another thing is said
 *   chain handler MS           in a signal handler
 *   chain altstack MS          in one on a stack of its own
 *   chain thread MS            in a thread
 *   chain deep MS              in a recursion that is deeper than a recorded stack
 *   chain clock MS             in the code by which the kernel tells the time
 *   chain fork MS              in a child
 *   chain bare MS              below a function without call frame information, but with a frame pointer
 *   chain astray MS            below one that uses the frame pointer for something else
 *   chain exec MS PROGRAM      and then once more in another program
 *   chain many MS TIMES        after it has mapped a page of its program so many times
 *   chain load MS LIBRARY      in a library that is loaded (libchain.c)
 *   chain allocate TIMES       it allocates
 *   chain map TIMES            it maps
 *   chain hurry TIMES          it maps at once; all others wait a little
 *   chain relay TIMES PROGRAM  other programs do, one after the other: chain hurry 3
 *   chain wait MODE…           any of them, after a line on the standard input
 */
#include "facts.h"

#include "callers.h"

#include <alloca.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>

static void (*leaf)(long);
static bool inside;
static long amount;

LINK void last(long number)
{
	leaf(number);
	RETURN_HERE;
}

static int compare(const void *a, const void *b)
{
	if (!inside) {
		inside = true;
		last(amount);
	}
	return *(const int *)a - *(const int *)b;
}

/* The C library calls back. */
LINK void sorts(long number)
{
	int numbers[] = { 3, 1, 2 };

	inside = false;
	amount = number;
	qsort(numbers, 3, sizeof(int), compare);
	RETURN_HERE;
}

/* Aligned more than the stack is, and of unknown size: where the caller's frame is stands in memory. */
LINK void aligned(long number, int size)
{
	volatile char local[256] __attribute__((aligned(64)));
	volatile char *more = alloca((size_t)size);

	local[size % 256] = 1;
	more[0] = local[0];
	sorts(number);
	local[1] = more[0];
	RETURN_HERE;
}

LINK void sized(long number, int size)
{
	volatile char *local = alloca((size_t)size);

	local[0] = 1;
	aligned(number, size);
	local[0]++;
	RETURN_HERE;
}

/* Further than a byte counts. */
LINK void large(long number)
{
	volatile char local[70000];

	local[number % 70000] = 1;
	sized(number, 100 + (int)(number % 8));
	local[0] = local[1];
	RETURN_HERE;
}

LINK void deep(long number, int depth)
{
	if (depth)
		deep(number, depth - 1);
	else
		spin(number);
	RETURN_HERE;
}

static void on_signal(int signal)
{
	spin(amount);
	(void)signal;
	RETURN_HERE;
}

static LINK void interrupted(long number)
{
	amount = number;
	must(raise(SIGUSR1));
	RETURN_HERE;
}

static void handle(int flags)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
	stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };

	must(sigaltstack(&stack, NULL));
	must(sigaction(SIGUSR1, &action, NULL));
	leaf = interrupted;
}

static LINK void tell_time(long ms)
{
	long long began = now(CLOCK_MONOTONIC), end = now(CLOCK_THREAD_CPUTIME_ID) + ms * 1000000LL;

	say_callers();
	while (now(CLOCK_THREAD_CPUTIME_ID) < end)
		for (int i = 0; i < 10000; i++)
			now(CLOCK_MONOTONIC);
	say("spun pid=%d tid=%ld began=%lld ended=%lld\n", getpid(), syscall(SYS_gettid), began,
	    now(CLOCK_MONOTONIC));
}

static LINK void allocate(long times)
{
	/* Who does nothing with a block needs none, the compiler says. */
	static void *volatile block;

	say_callers();
	for (long i = 0; i < times; i++)
		free(block = malloc(12345));
	RETURN_HERE;
}

static LINK void map(long times)
{
	say_callers();
	for (long i = 0; i < times; i++)
		must(munmap(mmap(NULL, 12345, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 12345));
	RETURN_HERE;
}

#if defined(__x86_64__)
/* Call a function with their argument. There is no .cfi in here. */
__asm__(".text\n.globl bare\n.type bare, @function\nbare:\n"
	"push %rbp\nmov %rsp, %rbp\nmov %rdi, %rax\nmov %rsi, %rdi\ncall *%rax\npop %rbp\nret\n"
	".size bare, .-bare\n"
	".globl astray\n.type astray, @function\nastray:\n"
	"push %rbp\nmov $0x1234, %ebp\nmov %rdi, %rax\nmov %rsi, %rdi\ncall *%rax\npop %rbp\nret\n"
	".size astray, .-astray\n");
void bare(void (*function)(long), long number);
void astray(void (*function)(long), long number);

static LINK void below_bare(long number)
{
	bare(spin, number);
	RETURN_HERE;
}

static LINK void below_astray(long number)
{
	astray(spin, number);
	RETURN_HERE;
}
#else
#define below_bare spin
#define below_astray spin
#endif

static LINK void *in_thread(void *number)
{
	large((long)number);
	RETURN_HERE;
	return NULL;
}

static LINK void in_child(long number)
{
	pid_t pid = must(fork());
	int status;

	if (!pid) {
		large(number);
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	if (status)
		_exit(99);
}

static void map_program(long times)
{
	int file = must(open("/proc/self/exe", O_RDONLY));

	for (long i = 0; i < times; i++)
		must((long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 4096));
}

static LINK void execute(const char *program)
{
	pid_t pid = must(vfork());
	int status;

	if (!pid) {
		execl(program, program, "hurry", "3", NULL);
		_exit(99);
	}
	must(waitpid(pid, &status, 0));
	if (status)
		_exit(99);
}

#ifdef WITHOUT_LOADER
static void load(const char *library)
{
	(void)library;
	_exit(98);
}
#else
static void load(const char *library)
{
	void *loaded = dlopen(library, RTLD_NOW);

	if (!loaded)
		_exit(99);
	*(void **)&leaf = dlsym(loaded, "loaded_first");
}
#endif

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	long number;

	if (!strcmp(mode, "wait")) {
		say("ready\n");
		read_line();
		argv++;
		argc--;
		mode = argc > 1 ? argv[1] : "";
	}
	if (argc < 3)
		return 98;
	number = atol(argv[2]);
	say("chain pid=%d\n", getpid());
	/* A recorder hears of what is mapped a little later. */
	if (strcmp(mode, "hurry"))
		sleep_ms(150);
	leaf = spin;
	if (!strcmp(mode, "handler"))
		handle(0);
	else if (!strcmp(mode, "altstack"))
		handle(SA_ONSTACK);
	else if (!strcmp(mode, "clock"))
		leaf = tell_time;
	else if (!strcmp(mode, "bare"))
		leaf = below_bare;
	else if (!strcmp(mode, "astray"))
		leaf = below_astray;
	else if (!strcmp(mode, "load"))
		load(argv[3]);
	else if (!strcmp(mode, "many")) {
		map_program(atol(argv[3]));
		sleep_ms(2500); /* of very many it hears in turns */
	} else if (!strcmp(mode, "allocate"))
		leaf = allocate;
	else if (!strcmp(mode, "map") || !strcmp(mode, "hurry"))
		leaf = map;

	if (!strcmp(mode, "thread"))
		pthread_join(start_thread(in_thread, (void *)number), NULL);
	else if (!strcmp(mode, "deep"))
		deep(number, 200);
	else if (!strcmp(mode, "fork"))
		in_child(number);
	else if (!strcmp(mode, "relay"))
		for (long i = 0; i < number; i++)
			execute(argv[3]);
	else
		large(number);
	if (!strcmp(mode, "exec"))
		must(execl(argv[3], argv[3], "shapes", argv[2], NULL));
	return 0;
}

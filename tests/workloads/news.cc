/*
 * Uses new and delete in all their forms, and says what each site has outstanding; see blocks.h.
 *
 *   news              none of them throws
 *   news throws       the C++ library allocates what is thrown
 *   news wait MODE    either, after a line on the standard input
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <unistd.h>

#define SITE __attribute__((noinline)) static

struct Small {
	char bytes[24];
};

struct alignas(64) Aligned {
	char bytes[192];
};

/* With its number of elements before them, since they are destroyed one by one. */
struct Destroyed {
	long number = 1;
	~Destroyed();
};

static long destroyed, allocated, freed, failed;
static volatile std::size_t huge = PTRDIFF_MAX - (1 << 20);

__attribute__((noinline)) Destroyed::~Destroyed()
{
	destroyed += number;
}

/* The compiler must think that anything happens to the block. */
template <typename T> __attribute__((noinline)) static T *called(T *block)
{
	asm volatile("" : "+r"(block) : : "memory");
	block ? allocated++ : failed++;
	return block;
}

static void say_site(const char *name, int line, std::size_t bytes, int count)
{
	printf("site pid=%d name=%s line=%d bytes=%zu count=%d\n", getpid(), name, line, bytes * count, count);
}

#define LEAK_TIMES(again, bytes, expression)                                              \
	do {                                                                              \
		for (int i = 0; i < (again); i++)                                         \
			called(expression);                                               \
		say_site(__func__, __LINE__, bytes, again);                               \
	} while (0)

SITE void site_new()
{
	LEAK_TIMES(3, sizeof(Small), new Small);
	LEAK_TIMES(2, sizeof(int), new int(7));
}

SITE void site_array()
{
	LEAK_TIMES(4, 500, new char[500]);
	LEAK_TIMES(2, 5 * sizeof(Destroyed) + sizeof(std::size_t), new Destroyed[5]);
}

SITE void site_aligned()
{
	LEAK_TIMES(5, sizeof(Aligned), new Aligned);
	LEAK_TIMES(1, 3 * sizeof(Aligned), new Aligned[3]);
}

SITE void site_nothrow()
{
	LEAK_TIMES(2, 80, new (std::nothrow) char[80]);
	called(new (std::nothrow) char[huge]);
}

SITE void site_deleted()
{
	delete called(new Small);
	delete[] called(new char[100]);
	delete[] called(new Destroyed[3]);
	delete called(new Aligned);
	delete[] called(new Aligned[2]);
	/* By its size, and as those say it who have no type. */
	::operator delete(called(::operator new(64)), std::size_t(64));
	::operator delete(called(::operator new(64, std::align_val_t(128))), std::align_val_t(128));
	{
		std::unique_ptr<Small> owned(called(new Small));
	}
	freed += 8;
}

/* The exception itself is a block, which is freed when it was caught. */
SITE void site_thrown()
{
	try {
		called(new char[huge]);
	} catch (const std::bad_alloc &) {
		failed++;
	}
}

int main(int argc, char **argv)
{
	static char buffer[1 << 14];
	char line[16];

	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	printf("news pid=%d\n", getpid());
	fflush(stdout);
	if (argc > 1 && !strcmp(argv[1], "wait")) {
		puts("ready");
		fflush(stdout);
		if (read(0, line, sizeof(line)) < 1)
			return 99;
		argc--;
		argv++;
	}
	site_new();
	site_array();
	site_aligned();
	site_nothrow();
	site_deleted();
	if (argc > 1 && !strcmp(argv[1], "throws"))
		site_thrown();
	printf("calls pid=%d allocated=%ld freed=%ld failed=%ld\n", getpid(), allocated, freed, failed);
	return destroyed == 3 ? 0 : 99;
}

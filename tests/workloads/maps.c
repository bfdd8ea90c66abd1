/*
 * Maps memory in known ways, and says what is mapped in the end.
 *
 *   maps           without a wait before
 *   maps wait      after a line on the standard input
 *
 *   call call= address= bytes= old= old_bytes= flags= protection= fd= error= began= ended=
 *   region site= start= bytes=     mapped in the end, as /proc/self/maps shows it too, by that function
 *
 * Sizes are in whole pages; -1 is no number. The functions of the C library have no frame pointers: of
 * a system call's stack the caller of the wrapper is missing, hence the helpers between the two.
 */
#include "blocks.h"

#include <fcntl.h>
#include <sys/mman.h>

#define PAGES(count) ((count) * page)

struct region {
	const char *site;
	uintptr_t start, bytes;
};

static struct region kept[64];
static int kept_count;
static char maps[1 << 16];
static uintptr_t page;

/* Of the region that is mapped in the end by the function that calls this. */
#define KEEP(start, bytes) (kept[kept_count++] = (struct region){ __func__, (uintptr_t)(start), bytes })

static long long whole(uintptr_t bytes)
{
	return (bytes + page - 1) / page * page;
}

/* What a call was, until it returns. */
struct call {
	long long bytes, old, old_bytes;
	long flags, protection, fd;
	long long began;
};

static void say_vm(const char *name, struct call call, void *result, long long address)
{
	int error = result == MAP_FAILED ? errno : -1;

	printf("call call=%s address=%lld bytes=%lld old=%lld old_bytes=%lld flags=%ld protection=%ld fd=%ld error=%d "
	       "began=%lld ended=%lld\n",
	       name, error == -1 ? address : -1, call.bytes, call.old, call.old_bytes, call.flags, call.protection,
	       call.fd, error, call.began, now(CLOCK_MONOTONIC));
}

SITE static char *map(void *at, size_t bytes, int protection, int flags, int fd)
{
	struct call call = { whole(bytes), -1, -1, flags, protection, fd, now(CLOCK_MONOTONIC) };
	char *result = mmap(at, bytes, protection, flags, fd, 0);

	say_vm("mmap", call, result, (intptr_t)result);
	return result;
}

static inline char *anonymous(void *at, size_t bytes, int flags)
{
	return map(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

SITE static void unmap(void *start, size_t bytes)
{
	struct call call = { whole(bytes), -1, -1, -1, -1, -1, now(CLOCK_MONOTONIC) };
	int result = munmap(start, bytes);

	say_vm("munmap", call, result ? MAP_FAILED : NULL, (intptr_t)start);
}

SITE static char *remap(void *old, size_t old_bytes, size_t bytes, int flags, void *to)
{
	struct call call = { whole(bytes), (intptr_t)old, whole(old_bytes), flags, -1, -1, now(CLOCK_MONOTONIC) };
	char *result = mremap(old, old_bytes, bytes, flags, to);

	say_vm("mremap", call, result, (intptr_t)result);
	return result;
}

/* The system call: the C library's functions make more of them than they are told to. */
SITE static char *move_break(char *to)
{
	static char *end;
	struct call call = { -1, (intptr_t)end, -1, -1, -1, -1, now(CLOCK_MONOTONIC) };
	char *result = (char *)syscall(SYS_brk, to);

	if (end && result != end)
		say_vm("brk", call, result, (intptr_t)result);
	return end = result;
}

SITE static void site_anonymous(void)
{
	KEEP(anonymous(NULL, PAGES(10), 0), PAGES(10));
	/* Not a whole page. */
	KEEP(anonymous(NULL, 100, 0), PAGES(1));
}

SITE static void site_file(int fd)
{
	KEEP(map(NULL, PAGES(2), PROT_READ, MAP_PRIVATE, fd), PAGES(2));
}

SITE static void site_shared(void)
{
	KEEP(map(NULL, PAGES(5), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), PAGES(5));
}

/* Its front, a piece of its middle, and its end are unmapped. */
SITE static void site_cut(void)
{
	char *start = anonymous(NULL, PAGES(12), 0);

	unmap(start, PAGES(2));
	unmap(start + PAGES(5), PAGES(1));
	unmap(start + PAGES(9), PAGES(3));
	KEEP(start + PAGES(2), PAGES(3));
	KEEP(start + PAGES(6), PAGES(3));
}

SITE static void site_unmapped(void)
{
	unmap(anonymous(NULL, PAGES(6), 0), PAGES(6));
}

/* Over pages 2 to 5 of another's. */
SITE static void site_over(char *start)
{
	anonymous(start + PAGES(2), PAGES(4), MAP_FIXED);
	KEEP(start + PAGES(4), PAGES(2));
}

SITE static void site_under(void)
{
	char *start = anonymous(NULL, PAGES(8), 0);

	site_over(start);
	/* Of both. */
	unmap(start + PAGES(1), PAGES(3));
	KEEP(start, PAGES(1));
	KEEP(start + PAGES(6), PAGES(2));
}

SITE static void site_grow(void)
{
	char *start = anonymous(NULL, PAGES(4), 0);

	KEEP(remap(start, PAGES(4), PAGES(300), MREMAP_MAYMOVE, NULL), PAGES(300));
}

SITE static void site_shrink(void)
{
	char *start = anonymous(NULL, PAGES(10), 0);

	KEEP(remap(start, PAGES(10), PAGES(3), 0, NULL), PAGES(3));
}

/* To where another's pages are. */
SITE static void site_move(char *target)
{
	char *start = anonymous(NULL, PAGES(4), 0);

	remap(start, PAGES(4), PAGES(4), MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGES(1));
	KEEP(target + PAGES(1), PAGES(4));
}

SITE static void site_target(void)
{
	char *start = anonymous(NULL, PAGES(6), 0);

	site_move(start);
	KEEP(start, PAGES(1));
	KEEP(start + PAGES(5), PAGES(1));
}

/* Moved, and yet still there. */
SITE static void site_left_behind(void)
{
	char *start = anonymous(NULL, PAGES(3), 0);

	KEEP(start, PAGES(3));
	KEEP(remap(start, PAGES(3), PAGES(3), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), PAGES(3));
}

/* What is shared is mapped once more if none of it is to be moved. */
SITE static void site_twice(void)
{
	char *start = map(NULL, PAGES(3), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);

	KEEP(start, PAGES(3));
	KEEP(remap(start, 0, PAGES(3), MREMAP_MAYMOVE, NULL), PAGES(3));
}

SITE static void site_failing(void)
{
	char *start = anonymous(NULL, PAGES(2), 0);

	KEEP(start, PAGES(2));
	anonymous(NULL, 0, 0);
	anonymous(NULL, PAGES(1UL << 40), 0);
	anonymous(start, PAGES(1), MAP_FIXED_NOREPLACE);
	map(NULL, PAGES(1), PROT_READ, MAP_PRIVATE, 999);
	unmap(start + 1, PAGES(1));
	remap(start, PAGES(1), PAGES(2), 0, NULL);
	remap(start + 1, PAGES(1), PAGES(2), MREMAP_MAYMOVE, NULL);
}

SITE static void site_break(void)
{
	char *start = move_break(NULL);

	move_break(start + PAGES(8));
	move_break(start + PAGES(5));
	KEEP(start, PAGES(5));
}

/* Whether the kernel says that all of it is mapped. */
static bool is_mapped(struct region region)
{
	uintptr_t start, end, from = region.start;

	for (const char *line = maps; line && *line; line = strchr(line, '\n'), line += line != NULL) {
		if (sscanf(line, "%lx-%lx", &start, &end) != 2)
			_exit(99);
		if (start <= from && from < end)
			from = end;
	}
	return from >= region.start + region.bytes;
}

int main(int argc, char **argv)
{
	ssize_t length, all = 0;
	int fd;

	own_buffer();
	page = sysconf(_SC_PAGESIZE);
	say("maps pid=%d\n", getpid());
	wait_if_told(&argc, &argv);
	fd = must(open("/proc/self/exe", O_RDONLY));
	say("began at=%lld\n", now(CLOCK_MONOTONIC));

	site_anonymous();
	site_file(fd);
	site_shared();
	site_cut();
	site_unmapped();
	site_under();
	site_grow();
	site_shrink();
	site_target();
	site_left_behind();
	site_twice();
	site_failing();
	site_break();

	say("ended at=%lld\n", now(CLOCK_MONOTONIC));
	fd = must(open("/proc/self/maps", O_RDONLY));
	while ((length = must(read(fd, maps + all, sizeof(maps) - 1 - all))) > 0)
		all += length;
	for (int i = 0; i < kept_count; i++) {
		if (!is_mapped(kept[i]))
			_exit(99);
		printf("region site=%s start=%ld bytes=%ld\n", kept[i].site, kept[i].start, kept[i].bytes);
	}
	return 0;
}

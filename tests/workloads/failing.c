/*
 * A library that makes writing fail (LD_PRELOAD), for files below the directory FAILING_BELOW. A call counts
 * if it creates a file or directory there, writes, cuts, syncs, renames or removes.
 *
 *   FAILING=once     the call FAILING_AT fails with EIO (they are numbered from 1)
 *   FAILING=from     so do all that follow
 *   FAILING=short    each write takes half of what it is given, where that is more than a byte
 *   FAILING=again    every second call that may do so says EINTR
 *
 * FAILING_COUNT is a file that gets the number of calls when the process ends, and of those that failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long calls, failed;

static bool is_mode(const char *mode)
{
	const char *is = getenv("FAILING");

	return is && !strcmp(is, mode);
}

static bool is_below(const char *path)
{
	const char *below = getenv("FAILING_BELOW");

	return below && path && !strncmp(path, below, strlen(below));
}

static bool is_of(int descriptor)
{
	char link[64], path[PATH_MAX];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return false;
	path[length] = 0;
	return is_below(path);
}

/* Whether this call, which counts, is to fail; errno then says why. */
static bool fails(bool may_be_interrupted)
{
	const char *text = getenv("FAILING_AT");
	long call = ++calls, at = text ? atol(text) : 0;
	int error = 0;

	if ((is_mode("once") && call == at) || (is_mode("from") && call >= at))
		error = EIO;
	else if (is_mode("again") && may_be_interrupted && call % 2)
		error = EINTR;
	if (!error)
		return false;
	failed++;
	errno = error;
	return true;
}

static size_t some(size_t length)
{
	if (!is_mode("short") || length < 2)
		return length;
	failed++;
	return length / 2;
}

ssize_t write(int descriptor, const void *bytes, size_t length)
{
	if (is_of(descriptor)) {
		if (fails(true))
			return -1;
		length = some(length);
	}
	return NEXT(write)(descriptor, bytes, length);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
	if (is_of(descriptor)) {
		if (fails(true))
			return -1;
		if (is_mode("short") && count > 0)
			return NEXT(write)(descriptor, parts[0].iov_base, some(parts[0].iov_len));
	}
	return NEXT(writev)(descriptor, parts, count);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t at)
{
	if (is_of(descriptor)) {
		if (fails(true))
			return -1;
		length = some(length);
	}
	return NEXT(pwrite64)(descriptor, bytes, length, at);
}

int ftruncate64(int descriptor, off64_t length)
{
	return is_of(descriptor) && fails(true) ? -1 : NEXT(ftruncate64)(descriptor, length);
}

int fsync(int descriptor)
{
	return is_of(descriptor) && fails(true) ? -1 : NEXT(fsync)(descriptor);
}

int fdatasync(int descriptor)
{
	return is_of(descriptor) && fails(true) ? -1 : NEXT(fdatasync)(descriptor);
}

int rename(const char *from, const char *to)
{
	return is_below(to) && fails(false) ? -1 : NEXT(rename)(from, to);
}

int unlink(const char *path)
{
	return is_below(path) && fails(false) ? -1 : NEXT(unlink)(path);
}

int mkdir(const char *path, mode_t mode)
{
	return is_below(path) && fails(false) ? -1 : NEXT(mkdir)(path, mode);
}

int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (flags & O_CREAT) {
		va_list rest;

		va_start(rest, flags);
		mode = va_arg(rest, mode_t);
		va_end(rest);
		if (is_below(path) && fails(true))
			return -1;
	}
	return NEXT(open64)(path, flags, mode);
}

__attribute__((destructor)) static void say_count(void)
{
	const char *path = getenv("FAILING_COUNT");
	FILE *file = path && calls ? fopen(path, "w") : NULL;

	if (file) {
		fprintf(file, "failing calls=%ld failed=%ld\n", calls, failed);
		fclose(file);
	}
}

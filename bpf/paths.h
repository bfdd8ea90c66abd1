/*
 * Records that end with paths: texts of any length, one behind the other.
 */
#pragma once

#include "directory.h"

#define PATH_BYTES 4096 /* PATH_MAX; its NUL is one of them */

/* Two paths, and the directory that each begins at. */
#define PATHS_BYTES (2 * (PATH_BYTES + DIRECTORY_BYTES))
/* And behind them room for the largest read, so that the verifier sees that none goes beyond. */
#define PATHS_ROOM (PATHS_BYTES + PATH_BYTES)

/*
 * Appends a text to the `used` bytes of `paths`, which are `from` bytes behind the record's start. Its
 * place in the record, or 0 if it cannot be read.
 */
static __always_inline __u32 append_text(char *paths, __u64 *used, __u64 from, const char *text, bool user)
{
	__u64 at = *used;
	long length;

	if (at > PATHS_BYTES)
		return 0;
	length = user ? bpf_probe_read_user_str(paths + at, PATH_BYTES, text) :
			bpf_probe_read_kernel_str(paths + at, PATH_BYTES, text);
	/* Of an empty text in user memory, kernels before 6.15 tell 0 bytes (strncpy_from_user_nofault). */
	if (!length)
		length = 1;
	if (length < 0 || length > PATH_BYTES)
		return 0;
	*used = at + (__u64)length;
	return loc((__u32)(from + at), (__u32)length);
}

/* Appends likewise the directory of `dirfd` if the path at `place` is relative. For `slot` see directory(). */
static __always_inline __u32 append_directory(char *paths, __u64 *used, __u64 from, __u32 place, int dirfd,
					      __u32 slot)
{
	__u64 at = *used, path = (place & 0xffff) - from;
	__u32 length;

	if (!place || at > PATHS_BYTES || path > PATHS_BYTES || paths[path] == '/')
		return 0;
	length = directory(current_task(), dirfd, paths + at, slot);
	if (!length || length > WALK_BYTES)
		return 0;
	*used = at + length;
	return loc((__u32)(from + at), length);
}

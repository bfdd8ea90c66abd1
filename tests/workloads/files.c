/*
 * Opens files, and takes names away, and says with what result.
 *
 *   files opens DIRECTORY      each call as `open`
 *   files unlinks DIRECTORY    each call as `unlink`
 *
 * DIRECTORY must be empty and accessible to root only. The calls are made by children that do nothing
 * else: what they opened or unlinked is exactly what is said.
 */
#include "facts.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/mman.h>

enum { NONE = -2147483647 - 1, NOBODY = 65534, LONG = 2000, TOO_LONG = 5000, DEEP = 60 };

static void say_text(const char *key, const char *text)
{
	if (text)
		say_hex(key, text, strlen(text));
	else
		printf(" %s=none", key);
}

/* What every call has in common. */
static void say_call(const char *word, long result, long long began)
{
	long long ended = now(CLOCK_MONOTONIC);

	printf("%s pid=%d tid=%d uid=%d result=%ld began=%lld ended=%lld", word, getpid(), gettid(), getuid(), result,
	       began, ended);
}

/*
 * Calls `open`, `openat`, `openat2` or `creat` and says so. `at` is the directory that the path begins
 * at, NULL for an absolute path or one too deep; `said_mode` is NONE where the call makes no file.
 */
static long call_open(long number, int fd, const char *path, long flags, long mode, const char *at)
{
	struct open_how how = { .flags = (unsigned long)flags, .mode = (unsigned long)mode };
	long long began = now(CLOCK_MONOTONIC);
	bool makes = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
	long result;

	if (number == SYS_open)
		result = syscall(number, path, flags, mode);
	else if (number == SYS_creat)
		result = syscall(number, path, mode);
	else if (number == SYS_openat2)
		result = syscall(number, fd, path, &how, sizeof(how));
	else
		result = syscall(number, fd, path, flags, mode);
	result = raw(result);
	say_call("open", result, began);
	printf(" number=%ld flags=%ld mode=%ld", number, flags, makes ? mode : NONE);
	say_text("dir", at);
	say_text("path", path);
	say("\n");
	return result;
}

static void in_child(void (*body)(const char *directory), const char *directory)
{
	int status;
	pid_t child = must(fork());

	if (!child) {
		body(directory);
		_exit(0);
	}
	must(waitpid(child, &status, 0));
	if (status)
		_exit(99);
}

/* The path of a name below a directory; used before the next call of it. */
static const char *below(const char *directory, const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* DIRECTORY/./././…/name with at least `length` bytes. */
static char *detour(const char *directory, const char *name, size_t length)
{
	char *path = calloc(1, length + strlen(directory) + strlen(name) + 4);

	strcpy(path, directory);
	while (strlen(path) < length)
		strcat(path, "/.");
	strcat(path, "/");
	return strcat(path, name);
}

/* A file's content in memory that the process has not touched: the kernel reads it first. */
static const char *untouched(int fd, const char *text)
{
	must(pwrite(fd, text, strlen(text) + 1, 0));
	return must(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
}

static int untouched_file;

static void ways_to_open(const char *top)
{
	const int rdonly = O_RDONLY, create = O_CREAT | O_WRONLY | O_EXCL;
	const char *lazy;
	char sub[4096], *far = detour(top, "made", LONG), *too_far = detour(top, "made", TOO_LONG);
	long fd;

	must(chdir(top));
	snprintf(sub, sizeof(sub), "%s/sub", top);

	/* Each call, absolute and relative, and a new file's mode. */
	call_open(SYS_open, AT_FDCWD, below(top, "made"), create, 0640, NULL);
	call_open(SYS_open, AT_FDCWD, "made", rdonly | O_CLOEXEC, 0, top);
	call_open(SYS_openat, AT_FDCWD, below(top, "made"), O_RDWR | O_APPEND, 0, NULL);
	call_open(SYS_openat, AT_FDCWD, "sub/../made", rdonly, 0, top);
	call_open(SYS_openat2, AT_FDCWD, "made", O_WRONLY | O_TRUNC, 0, top);
	call_open(SYS_openat2, AT_FDCWD, "by-openat2", create, 0600, top);
	call_open(SYS_creat, AT_FDCWD, "by-creat", O_CREAT | O_WRONLY | O_TRUNC, 0604, top);
	call_open(SYS_openat, AT_FDCWD, top, O_TMPFILE | O_RDWR, 0600, NULL);
	/* A mode that the call takes no notice of is none. */
	call_open(SYS_open, AT_FDCWD, "made", rdonly, 0777, top);

	/* From a directory that is open. */
	fd = call_open(SYS_openat, AT_FDCWD, "sub", O_RDONLY | O_DIRECTORY, 0, top);
	must(fd);
	call_open(SYS_openat, fd, "inner", O_CREAT | O_RDWR, 0644, sub);
	call_open(SYS_openat2, fd, "inner", rdonly, 0, sub);
	call_open(SYS_openat, fd, "../made", rdonly, 0, sub);
	/* An absolute path takes no notice of it. */
	call_open(SYS_openat, fd, below(top, "made"), rdonly, 0, NULL);

	/* Failures. */
	call_open(SYS_open, AT_FDCWD, "missing", rdonly, 0, top);
	call_open(SYS_openat, fd, "missing/too", rdonly, 0, sub);
	call_open(SYS_openat2, AT_FDCWD, below(top, "missing"), rdonly, 0, NULL);
	call_open(SYS_open, AT_FDCWD, "made", create, 0600, top);
	call_open(SYS_creat, AT_FDCWD, "sub", O_CREAT | O_WRONLY | O_TRUNC, 0600, top);
	call_open(SYS_open, AT_FDCWD, "made/below", rdonly, 0, top);
	call_open(SYS_openat, 12345, "no such descriptor", rdonly, 0, NULL);
	call_open(SYS_open, AT_FDCWD, "", rdonly, 0, top);

	/* Unusual paths. */
	call_open(SYS_open, AT_FDCWD, far, rdonly, 0, NULL);
	call_open(SYS_open, AT_FDCWD, too_far, rdonly, 0, NULL);
	call_open(SYS_open, AT_FDCWD, "with space, tab\t, line\n and \xff byte", create, 0600, top);
	lazy = untouched(untouched_file, "made");
	call_open(SYS_open, AT_FDCWD, lazy, rdonly, 0, top);

	/* A thread other than the first is not special, nor is a deeper directory. */
	must(chdir("sub"));
	call_open(SYS_open, AT_FDCWD, "inner", rdonly, 0, sub);
	must(chdir("/"));
	call_open(SYS_open, AT_FDCWD, "missing at the root", rdonly, 0, "/");
}

/* A directory deeper than anybody would walk. */
static void from_the_deep(const char *top)
{
	must(chdir(top));
	for (int i = 0; i < DEEP; i++) {
		must(mkdir("a-directory-in-the-deep", 0700));
		must(chdir("a-directory-in-the-deep"));
	}
	call_open(SYS_open, AT_FDCWD, "file", O_CREAT | O_WRONLY, 0600, NULL);
}

static void as_nobody(const char *top)
{
	must(setgid(NOBODY));
	must(setuid(NOBODY));
	call_open(SYS_open, AT_FDCWD, below(top, "made"), O_RDONLY, 0, NULL);
	call_open(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0, NULL);
}

static void in_another_root(const char *top)
{
	must(chroot(top));
	must(chdir("/sub"));
	call_open(SYS_open, AT_FDCWD, "inner", O_RDONLY, 0, "/sub");
	call_open(SYS_openat, AT_FDCWD, "/made", O_RDONLY, 0, NULL);
}

static void opens(const char *top)
{
	must(mkdir(below(top, "sub"), 0700));
	untouched_file = must(open(below(top, "untouched"), O_RDWR | O_CREAT, 0600));
	in_child(ways_to_open, top);
	in_child(as_nobody, top);
	in_child(in_another_root, top);
	in_child(from_the_deep, top);
}

enum { UNLINKED, REMOVED, RENAMED };

/* Says what a call did that gave `result`. The directories are as for `call_open`. */
static void said_unlink(int call, long result, long long began, long flags, const char *at, const char *path,
			const char *new_at, const char *new_path)
{
	say_call("unlink", result, began);
	printf(" call=%d flags=%ld", call, flags);
	say_text("dir", at);
	say_text("path", path);
	say_text("new_dir", new_at);
	say_text("new_path", new_path);
	say("\n");
}

static void call_unlink(long number, int fd, const char *path, long flags, const char *at)
{
	long long began = now(CLOCK_MONOTONIC);
	int call = number == SYS_rmdir || flags & AT_REMOVEDIR ? REMOVED : UNLINKED;
	long result = number == SYS_unlinkat ? syscall(number, fd, path, flags) : syscall(number, path);

	/* The kernel's functions know what the flags mean, but not the flags. */
	said_unlink(call, raw(result), began, 0, at, path, NULL, NULL);
}

static void call_rename(long number, int fd, const char *path, const char *at, int new_fd, const char *new_path,
			const char *new_at, long flags)
{
	long long began = now(CLOCK_MONOTONIC);
	long result;

	if (number == SYS_rename)
		result = syscall(number, path, new_path);
	else
		result = syscall(number, fd, path, new_fd, new_path, flags);
	said_unlink(RENAMED, raw(result), began, flags, at, path, new_at, new_path);
}

static void make_file(const char *directory, const char *name)
{
	close(must(open(below(directory, name), O_CREAT | O_WRONLY, 0600)));
}

static void ways_to_unlink(const char *top)
{
	char sub[4096], absolute[4096], *far = detour(top, "far", LONG);
	int fd;

	must(chdir(top));
	snprintf(sub, sizeof(sub), "%s/sub", top);
	snprintf(absolute, sizeof(absolute), "%s/there", top);
	fd = must(open(sub, O_RDONLY | O_DIRECTORY));

	call_unlink(SYS_unlink, AT_FDCWD, "one", 0, top);
	call_unlink(SYS_unlink, AT_FDCWD, below(top, "two"), 0, NULL);
	call_unlink(SYS_unlinkat, fd, "three", 0, sub);
	call_unlink(SYS_unlinkat, AT_FDCWD, "empty", AT_REMOVEDIR, top);
	call_unlink(SYS_rmdir, AT_FDCWD, "sub/empty", 0, top);
	call_unlink(SYS_unlink, AT_FDCWD, far, 0, NULL);

	call_unlink(SYS_unlink, AT_FDCWD, "one", 0, top);
	call_unlink(SYS_unlinkat, fd, "nothing", 0, sub);
	call_unlink(SYS_unlink, AT_FDCWD, "sub", 0, top);
	call_unlink(SYS_rmdir, AT_FDCWD, "sub", 0, top);
	call_unlink(SYS_rmdir, AT_FDCWD, "four", 0, top);
	call_rename(SYS_renameat2, AT_FDCWD, "four", top, AT_FDCWD, "nine", top, 1 << 20);

	call_rename(SYS_rename, AT_FDCWD, "four", top, AT_FDCWD, "five", top, 0);
	call_rename(SYS_renameat, AT_FDCWD, "five", top, fd, "six", sub, 0);
	call_rename(SYS_renameat, fd, "six", sub, AT_FDCWD, absolute, NULL, 0);
	call_rename(SYS_renameat2, AT_FDCWD, "there", top, AT_FDCWD, "seven", top, RENAME_NOREPLACE);
	call_rename(SYS_renameat2, AT_FDCWD, "seven", top, AT_FDCWD, "eight", top, RENAME_NOREPLACE);
	call_rename(SYS_rename, AT_FDCWD, "seven", top, AT_FDCWD, "eight", top, 0);
	call_rename(SYS_rename, AT_FDCWD, "nothing", top, AT_FDCWD, below(top, "nine"), NULL, 0);
	call_rename(SYS_rename, AT_FDCWD, "eight", top, AT_FDCWD, "sub", top, 0);
}

static void unlinks_as_nobody(const char *top)
{
	must(setgid(NOBODY));
	must(setuid(NOBODY));
	call_unlink(SYS_unlink, AT_FDCWD, below(top, "eight"), 0, NULL);
}

static void unlinks(const char *top)
{
	static const char *const files[] = { "one", "two", "four", "eight", "far", "sub/three", "sub/kept" };

	must(mkdir(below(top, "sub"), 0700));
	must(mkdir(below(top, "empty"), 0700));
	must(mkdir(below(top, "sub/empty"), 0700));
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		make_file(top, files[i]);
	in_child(ways_to_unlink, top);
	in_child(unlinks_as_nobody, top);
}

int main(int argc, char **argv)
{
	char directory[4096];

	/* As the kernel names it: /tmp may be a link. */
	if (argc < 3 || !realpath(argv[2], directory))
		return 98;
	umask(0);
	say("files pid=%d\n", getpid());
	if (!strcmp(argv[1], "opens"))
		opens(directory);
	else if (!strcmp(argv[1], "unlinks"))
		unlinks(directory);
	else
		return 98;
	return 0;
}

/*
 * Executes a program in known ways.
 *
 *   execs argv PROGRAM             with arguments of many kinds
 *   execs cwd PROGRAM DIRECTORY    from directories that it makes below DIRECTORY, and others
 *   execs chroot PROGRAM DIRECTORY with DIRECTORY as its root, where it copied PROGRAM before
 *   execs thread PROGRAM           from a thread that is not the main one
 */
#include "facts.h"

/* In the process that is about to execute. */
static void execute(const char *file, char **argv)
{
	char cwd[8192];

	printf("exec pid=%d caller=%ld", getpid(), syscall(SYS_gettid));
	say_hex("file", file, strlen(file));
	must((long)getcwd(cwd, sizeof(cwd)));
	say_hex("cwd", cwd, strlen(cwd));
	printf(" argv=");
	for (char **arg = argv; *arg; arg++)
		for (const char *c = *arg;; c++) {
			printf("%02x", (unsigned char)*c);
			if (!*c)
				break;
		}
	say("\n");
	execv(file, argv);
	perror(file);
	_exit(99);
}

static void run(const char *file, char **argv)
{
	int status;
	pid_t child = must(fork());

	if (!child)
		execute(file, argv);
	must(waitpid(child, &status, 0));
	if (status)
		exit(99);
}

static char *repeat(const char *part, size_t bytes)
{
	char *text = calloc(1, bytes + 1);

	for (size_t i = 0; i < bytes; i++)
		text[i] = part[i % strlen(part)];
	return text;
}

static void argv(const char *program)
{
	char *file = (char *)program;
	char *cases[][6] = {
		{ "quiet" },
		{ "quiet", "", "", "x", "" },
		{ "" },
		{ "quiet", "--flag=a b", "'quoted'", "$HOME", "*" },
		{ "quiet", "Grüße", "日本語", "🦀" },
		{ "quiet", "new\nline", "tab\t", "\x1b[31mred\x1b[0m", "\x01\x7f" },
		{ "quiet", "no \xff\xfe UTF-8" },
		/* Exactly as many bytes as are kept, with the NULs; and one more. */
		{ "quiet", repeat("x", 4096 - 6 - 1) },
		{ "quiet", repeat("x", 4096 - 6) },
		{ "quiet", repeat("x", 3000), repeat("y", 3000), "after" },
		/* Cut in the middle of a character. */
		{ "quiet", repeat("é", 10000), "after" },
		{ "quiet", repeat("z", 100000) },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		run(file, cases[i]);
}

static void cwd(const char *program, const char *directory)
{
	char *argv[] = { "quiet", NULL };
	char *own_directory = strndup(program, strrchr(program, '/') - program);
	char *part = repeat("long", 200);

	must(chdir("/"));
	run(program, argv);
	must(chdir("/proc/self/fd"));
	run(program, argv);
	must(chdir("/dev/shm"));
	run(program, argv);
	must(chdir(own_directory));
	run("./quiet", argv);

	must(chdir(directory));
	must(mkdir("ein Verzeichnis mit Grüßen", 0700));
	must(chdir("ein Verzeichnis mit Grüßen"));
	run(program, argv);

	/* Ever deeper, until the depth itself is too much. */
	must(chdir(directory));
	for (int depth = 0; depth < 30; depth++) {
		must(mkdir("d", 0700));
		must(chdir("d"));
		run(program, argv);
	}
	/* Few components, but long ones. */
	must(chdir(directory));
	for (int depth = 0; depth < 4; depth++) {
		must(mkdir(part, 0700));
		must(chdir(part));
		run(program, argv);
	}
}

static void in_chroot(const char *program, const char *directory)
{
	char *argv[] = { "quiet", NULL };

	must(chdir(directory));
	must(mkdir("inner", 0700));
	must(chroot(directory));
	must(chdir("/inner"));
	run(program, argv);
	must(chdir("/"));
	run(program, argv);
}

static void *execute_in_thread(void *program)
{
	char *argv[] = { "quiet", "from a thread", NULL };

	execute(program, argv);
	return NULL;
}

static void in_thread(char *program)
{
	pthread_t thread;
	int status;
	pid_t child = must(fork());

	if (!child) {
		pthread_create(&thread, NULL, execute_in_thread, program);
		pthread_join(thread, NULL);
	}
	must(waitpid(child, &status, 0));
}

int main(int argc, char **args)
{
	const char *mode = argc > 2 ? args[1] : "";

	if (!strcmp(mode, "argv"))
		argv(args[2]);
	else if (!strcmp(mode, "cwd"))
		cwd(args[2], args[3]);
	else if (!strcmp(mode, "chroot"))
		in_chroot(args[2], args[3]);
	else if (!strcmp(mode, "thread"))
		in_thread(args[2]);
	else
		return 98;
	return 0;
}

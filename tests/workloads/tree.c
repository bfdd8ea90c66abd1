/*
 * A family of processes that does as much as the filters can tell apart.
 *
 *   tree NAME [UID]
 *
 * The first process has a child, which later has one. Once they are told to, by a line on the
 * standard input, each makes its calls of kill; the grandchild then executes `quiet`. The others stay
 * until the standard input ends. All are called NAME and belong to UID.
 */
#include "facts.h"

enum { CALLS = 50 };

/* What a process does when it is time. */
static void act(const char *role)
{
	say("member pid=%d role=%s calls=%d\n", getpid(), role, CALLS);
	for (int i = 0; i < CALLS; i++)
		must(kill(getpid(), 0));
}

static void grandchild(const char *program)
{
	char quiet[4096];

	act("grandchild");
	snprintf(quiet, sizeof(quiet), "%.*s/quiet", (int)(strrchr(program, '/') - program), program);
	execl(quiet, "quiet", NULL);
	_exit(99);
}

int main(int argc, char **argv)
{
	int go[2], done[2], status;
	char byte;
	pid_t child;

	if (argc < 2)
		return 98;
	must(prctl(PR_SET_NAME, argv[1]));
	must(pipe(go));
	must(pipe(done));
	child = must(fork());
	if (!child) {
		pid_t last;

		close(go[1]);
		if (argc > 2)
			must(setuid(atoi(argv[2])));
		must(write(done[1], "", 1));
		must(read(go[0], &byte, 1));
		act("child");
		last = must(fork());
		if (!last)
			grandchild(argv[0]);
		must(waitpid(last, &status, 0));
		must(write(done[1], "", 1));
		read(go[0], &byte, 1);
		_exit(status ? 99 : 0);
	}
	must(read(done[0], &byte, 1));
	if (argc > 2)
		must(setuid(atoi(argv[2])));
	say("ready pid=%d child=%d\n", getpid(), child);
	if (!read_line())
		return 97;
	act("first");
	must(write(go[1], "", 1));
	must(read(done[0], &byte, 1));
	say("done pid=%d\n", getpid());
	read_line();
	close(go[1]);
	must(waitpid(child, &status, 0));
	return WEXITSTATUS(status);
}

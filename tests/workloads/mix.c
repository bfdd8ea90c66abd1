/*
 * A steady load of a bit of everything, which the tests of faults record.
 *
 *   mix SECONDS RATE [again]
 *
 * So many rounds a second, for so long or until its standard input ends. Each round calls tkill with 10000000,
 * 10000001 and so on, as ticker does; opens a file that is not there; writes to /dev/null; sends itself a
 * signal, which it ignores; and allocates a block and frees it. Each tenth also forks a child that ends, and
 * has a connection to itself, on the loopback interface. With `again` it executes itself when the time is
 * over, for as long once more.
 *
 *   mix pid= first=
 *   round number=      each hundredth; all before are done
 *   did pid= rounds= tens=
 */
#include "facts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

enum { FIRST = 10000000, SECOND = 1000000000 };

static void *volatile block;
static int listener;
static struct sockaddr_in address = { .sin_family = AF_INET };

static void listen_on_loopback(void)
{
	socklen_t length = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	must(bind(listener, (struct sockaddr *)&address, sizeof(address)));
	must(listen(listener, 8));
	must(getsockname(listener, (struct sockaddr *)&address, &length));
}

static void connect_to_itself(void)
{
	int ours = must(socket(AF_INET, SOCK_STREAM, 0)), theirs;
	struct linger at_once = { .l_onoff = 1 };
	char bytes[100] = { 0 };

	must(connect(ours, (struct sockaddr *)&address, sizeof(address)));
	theirs = must(accept(listener, NULL, NULL));
	must(write(ours, bytes, sizeof(bytes)));
	must(read(theirs, bytes, sizeof(bytes)));
	/* No connections that linger, of which there may be only so many. */
	must(setsockopt(ours, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
	close(ours);
	close(theirs);
}

static void fork_a_child(void)
{
	int status;
	pid_t child = must(fork());

	if (!child)
		_exit(7);
	must(waitpid(child, &status, 0));
}

__attribute__((noinline)) static void do_round(long number, int null)
{
	char path[64];

	syscall(SYS_tkill, FIRST + number, 0);
	snprintf(path, sizeof(path), "/lookback-has-no-such-file/%ld", number);
	if (open(path, O_RDONLY) >= 0)
		_exit(99);
	must(write(null, path, 1));
	must(raise(SIGUSR1));
	block = malloc(100 + number % 1000);
	free(block);
	if (number % 10 == 0) {
		fork_a_child();
		connect_to_itself();
	}
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? atof(argv[1]) : 0;
	long rate = argc > 2 ? atol(argv[2]) : 0, rounds = 0;
	int null = must(open("/dev/null", O_WRONLY | O_CLOEXEC));
	struct pollfd input = { .fd = 0, .events = POLLIN };
	long long began, due;

	if (seconds <= 0 || rate <= 0)
		return 98;
	signal(SIGUSR1, SIG_IGN);
	listen_on_loopback();
	say("mix pid=%d first=%d\n", getpid(), FIRST);
	began = due = now(CLOCK_MONOTONIC);
	while (due - began < seconds * SECOND && poll(&input, 1, 0) == 0) {
		struct timespec until = { due / SECOND, due % SECOND };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		do_round(rounds++, null);
		if (rounds % 100 == 0)
			say("round number=%ld\n", rounds);
		due += SECOND / rate;
	}
	say("did pid=%d rounds=%ld tens=%ld\n", getpid(), rounds, (rounds + 9) / 10);
	if (argc > 3) {
		argv[3] = NULL;
		execv("/proc/self/exe", argv);
		return 99;
	}
	return 0;
}

/*
 * A server that answers all the time, and leaks with each answer, at one line.
 *
 *   serve THREADS [busy]
 *
 * Each of its threads has a client, a thread too, that asks about every millisecond and checks the
 * answer. For each line on the standard input it says `progress`; it ends when that does. A busy one does not
 * leak; its clients ask by TCP on the loopback interface, thousands of times a second. (Without any pause they
 * would hold up the kernel's grace periods, and so whoever attaches probes, for seconds each.) Its answers are made in the
 * function `serve_answer`, and where <sys/sdt.h> is installed, each comes by the USDT probe serve:answered.
 *
 *   serve pid= threads= name= line= bytes= scratch=   where it leaks, how much, and where it does not
 *   progress answered= failed= leaked= waited=        leaked is at most a block a thread behind; waited is the
 *                                                     time, in nanoseconds, that clients had to wait in all
 *   served answered= failed= leaked= waited=
 */
#include "blocks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#else
#define DTRACE_PROBE1(provider, probe, argument)
#endif

enum { MOST = 64, LEAKED = 48 };

static _Atomic long answered, wrong, leaked, waited;
static bool busy;
static _Atomic bool over;
static _Atomic int leaking_line;
static void *volatile last;

/* Not booked, and not said: what the tests count is between two progresses. */
SITE static void site_answer(void)
{
	leaking_line = __LINE__ + 1;
	last = malloc(LEAKED);
	leaked++;
}

/* A block that is freed with the next request. */
SITE static void *site_scratch(void *before, size_t bytes)
{
	free(before);
	return malloc(bytes);
}

__attribute__((noinline)) static uint64_t serve_answer(uint64_t request)
{
	DTRACE_PROBE1(serve, answered, request);
	return request * 3 + 1;
}

static void *serve(void *argument)
{
	int socket = (int)(intptr_t)argument;
	uint64_t request;
	void *scratch = NULL;

	while (read(socket, &request, sizeof(request)) == sizeof(request)) {
		if (!busy)
			site_answer();
		scratch = site_scratch(scratch, 32 + request % 4000);
		request = serve_answer(request);
		must(write(socket, &request, sizeof(request)));
	}
	free(scratch);
	return NULL;
}

static void *ask(void *argument)
{
	int socket = (int)(intptr_t)argument;

	for (uint64_t request = 0; !over; request++) {
		long long asked = now(CLOCK_MONOTONIC);
		uint64_t answer = 0;

		must(write(socket, &request, sizeof(request)));
		if (read(socket, &answer, sizeof(answer)) == sizeof(answer) && answer == request * 3 + 1)
			answered++;
		else
			wrong++;
		waited += now(CLOCK_MONOTONIC) - asked;
		usleep(busy ? 100 : 1000);
	}
	must(shutdown(socket, SHUT_RDWR));
	return NULL;
}

static void say_progress(const char *word)
{
	say("%s answered=%ld failed=%ld leaked=%ld waited=%ld\n", word, answered, wrong, leaked, waited);
}

static void connect_by_tcp(int sockets[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int listener = must(socket(AF_INET, SOCK_STREAM, 0)), yes = 1;
	socklen_t length = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(bind(listener, (struct sockaddr *)&address, sizeof(address)));
	must(listen(listener, 1));
	must(getsockname(listener, (struct sockaddr *)&address, &length));
	sockets[1] = must(socket(AF_INET, SOCK_STREAM, 0));
	must(connect(sockets[1], (struct sockaddr *)&address, sizeof(address)));
	sockets[0] = must(accept(listener, NULL, NULL));
	for (int i = 0; i < 2; i++)
		must(setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)));
	close(listener);
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 0, sockets[MOST][2];
	pthread_t servers[MOST], clients[MOST];

	own_buffer();
	if (threads < 1 || threads > MOST)
		return 98;
	busy = argc > 2 && !strcmp(argv[2], "busy");
	for (int i = 0; i < threads; i++) {
		if (busy)
			connect_by_tcp(sockets[i]);
		else
			must(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets[i]));
		servers[i] = start_thread(serve, (void *)(intptr_t)sockets[i][0]);
		clients[i] = start_thread(ask, (void *)(intptr_t)sockets[i][1]);
	}
	while (answered < threads)
		sleep_ms(1);
	say("serve pid=%d threads=%d name=site_answer line=%d bytes=%d scratch=site_scratch\n", getpid(), threads,
	    leaking_line, LEAKED);
	while (read_line())
		say_progress("progress");
	over = true;
	for (int i = 0; i < threads; i++) {
		pthread_join(clients[i], NULL);
		pthread_join(servers[i], NULL);
	}
	say_progress("served");
	return 0;
}

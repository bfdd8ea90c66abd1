/*
 * A server that answers all the time, and leaks with each answer, at one line.
 *
 *   serve THREADS
 *
 * Each of its threads has a client, a thread too, that asks about every millisecond and checks the
 * answer. For each line on the standard input it says `progress`; it ends when that does.
 *
 *   serve pid= threads= name= line= bytes= scratch=   where it leaks, how much, and where it does not
 *   progress answered= failed= leaked=                leaked is at most a block a thread behind
 *   served answered= failed= leaked=
 */
#include "blocks.h"

#include <sys/socket.h>

enum { MOST = 64, LEAKED = 48 };

static _Atomic long answered, wrong, leaked;
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

static void *serve(void *argument)
{
	int socket = (int)(intptr_t)argument;
	uint64_t request;
	void *scratch = NULL;

	while (read(socket, &request, sizeof(request)) == sizeof(request)) {
		site_answer();
		scratch = site_scratch(scratch, 32 + request % 4000);
		request = request * 3 + 1;
		must(write(socket, &request, sizeof(request)));
	}
	free(scratch);
	return NULL;
}

static void *ask(void *argument)
{
	int socket = (int)(intptr_t)argument;

	for (uint64_t request = 0; !over; request++) {
		uint64_t answer = 0;

		must(write(socket, &request, sizeof(request)));
		if (read(socket, &answer, sizeof(answer)) == sizeof(answer) && answer == request * 3 + 1)
			answered++;
		else
			wrong++;
		sleep_ms(1);
	}
	must(shutdown(socket, SHUT_RDWR));
	return NULL;
}

static void say_progress(const char *word)
{
	say("%s answered=%ld failed=%ld leaked=%ld\n", word, answered, wrong, leaked);
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 0, sockets[MOST][2];
	pthread_t servers[MOST], clients[MOST];

	own_buffer();
	if (threads < 1 || threads > MOST)
		return 98;
	for (int i = 0; i < threads; i++) {
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

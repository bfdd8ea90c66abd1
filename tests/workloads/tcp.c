/*
 * TCP on loopback, and what both ends know about it. FAMILY is 4 or 6.
 *
 *   tcp connects FAMILY COUNT             COUNT of each way in which a connect can end
 *   tcp talk FAMILY COUNT ROUNDS [PORT]   COUNT connections to PORT, with ROUNDS questions and answers each
 *   tcp ask PORT...                       connects to each port of 127.0.0.1 and ::1, also by UDP
 */
#include "facts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { IPPROTO_OF_TCP = 6, NONE = -2147483647 - 1, QUESTION = 100, ANSWER = 1000 };

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static int family; /* AF_INET or AF_INET6 */

static const char *loopback(void)
{
	return family == AF_INET ? "127.0.0.1" : "::1";
}

static union address local(int port)
{
	union address address = { .any.sa_family = family };

	if (family == AF_INET) {
		address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		address.v4.sin_port = htons(port);
	} else {
		address.v6.sin6_addr = in6addr_loopback;
		address.v6.sin6_port = htons(port);
	}
	return address;
}

static socklen_t address_length(void)
{
	return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static int port_of(int fd)
{
	union address address;
	socklen_t length = sizeof(address);

	must(getsockname(fd, &address.any, &length));
	return ntohs(family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
}

static int new_socket(int type)
{
	return must(socket(family, type, 0));
}

/* A socket of a port; any port that is free if it is 0. Nobody listens yet. */
static int bound_socket(int type, int port)
{
	union address address = local(port);
	int fd = new_socket(type), yes = 1;

	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)));
	must(bind(fd, &address.any, address_length()));
	return fd;
}

static long connect_to(int fd, int port)
{
	union address address = local(port);

	return raw(connect(fd, &address.any, address_length()));
}

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = {};
	socklen_t length = sizeof(info);

	must(getsockopt(fd, IPPROTO_OF_TCP, TCP_INFO, &info, &length));
	return info;
}

/* --- connects --- */

/* A connect that has ended: the socket is not connected, nor will it be, if `result` is not 0. */
static void say_connect(const char *what, int lport, int rport, long result, int retransmits, long long began)
{
	say("connect what=%s pid=%d tid=%d family=%d addr=%s lport=%d rport=%d result=%ld retransmits=%d began=%lld "
	    "ended=%lld\n",
	    what, getpid(), gettid(), family, loopback(), lport, rport, result, retransmits, began,
	    now(CLOCK_MONOTONIC));
}

static void successes(int count)
{
	int listener = bound_socket(SOCK_STREAM, 0), port = port_of(listener);

	must(listen(listener, count));
	for (int i = 0; i < count; i++) {
		long long began = now(CLOCK_MONOTONIC);
		int fd = new_socket(SOCK_STREAM);

		must(connect_to(fd, port));
		say_connect("accepted", port_of(fd), port, 0, 0, began);
		close(fd);
	}
	close(listener);
}

static void refusals(int count)
{
	int closed = bound_socket(SOCK_STREAM, 0), port = port_of(closed);

	for (int i = 0; i < count; i++) {
		int fd = bound_socket(SOCK_STREAM, 0), lport = port_of(fd);
		long long began = now(CLOCK_MONOTONIC);
		long result = connect_to(fd, port);

		if (result != -ECONNREFUSED)
			_exit(99);
		say_connect("refused", lport, port, result, 0, began);
		close(fd);
	}
	close(closed);
}

/* A listener whose queue is full does not answer. */
static void silences(int count)
{
	int listener = bound_socket(SOCK_STREAM, 0), port = port_of(listener), first = new_socket(SOCK_STREAM);
	int fd, lport, retransmits, error, few = 1;
	long long began = now(CLOCK_MONOTONIC);

	must(listen(listener, 0));
	must(connect_to(first, port));
	say_connect("accepted", port_of(first), port, 0, 0, began);
	for (int i = 0; i < count; i++) {
		fd = bound_socket(SOCK_STREAM, 0);
		lport = port_of(fd);
		began = now(CLOCK_MONOTONIC);
		must(fcntl(fd, F_SETFL, O_NONBLOCK));
		if (connect_to(fd, port) != -EINPROGRESS)
			_exit(99);
		/* The second SYN comes after a second. The first one of them waits for it. */
		do {
			sleep_ms(150);
			retransmits = info_of(fd).tcpi_total_retrans;
		} while (i == 0 && !retransmits);
		close(fd);
		say_connect("abandoned", lport, port, NONE, retransmits, began);
	}
	/* This one is given up after a few seconds. Asked before the error is taken, since that resets all. */
	fd = bound_socket(SOCK_STREAM, 0);
	lport = port_of(fd);
	began = now(CLOCK_MONOTONIC);
	must(setsockopt(fd, IPPROTO_OF_TCP, TCP_SYNCNT, &few, sizeof(few)));
	must(fcntl(fd, F_SETFL, O_NONBLOCK));
	if (connect_to(fd, port) != -EINPROGRESS)
		_exit(99);
	must(poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1));
	retransmits = info_of(fd).tcpi_total_retrans;
	must(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){ sizeof(error) }));
	if (error != ETIMEDOUT)
		_exit(99);
	say_connect("unanswered", lport, port, -error, retransmits, began);
	close(fd);
	close(first);
	close(listener);
}

static void *connects(void *count)
{
	must(prctl(PR_SET_NAME, "connector"));
	successes(*(int *)count);
	refusals(*(int *)count);
	silences(*(int *)count);
	return NULL;
}

/* --- talk --- */

/* Reads all of it; false at the other side's end. */
static bool receive(int fd, size_t bytes)
{
	char buffer[ANSWER];

	while (bytes) {
		ssize_t got = must(read(fd, buffer, bytes));

		if (!got)
			return false;
		bytes -= got;
	}
	return true;
}

/* One segment: less than loopback's 64 KiB. */
static void transmit(int fd, size_t bytes)
{
	static const char buffer[ANSWER];

	if (must(write(fd, buffer, bytes)) != (ssize_t)bytes)
		_exit(99);
}

static void serve(int listener, int port, int count)
{
	for (int i = 0; i < count; i++) {
		union address peer;
		socklen_t length = sizeof(peer);
		int fd = must(accept(listener, &peer.any, &length));
		long rounds = 0;

		while (receive(fd, QUESTION)) {
			transmit(fd, ANSWER);
			rounds++;
		}
		say("server pid=%d tid=%d lport=%d rport=%d sent=%ld received=%ld\n", getpid(), gettid(), port,
		    ntohs(family == AF_INET ? peer.v4.sin_port : peer.v6.sin6_port), rounds * ANSWER,
		    rounds * QUESTION);
		/* The other side has closed already. */
		close(fd);
	}
}

static void converse(int fd, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		transmit(fd, QUESTION);
		if (!receive(fd, ANSWER))
			_exit(99);
	}
}

/*
 * Half-way, at some moment between `before` and `after`, it asks the kernel how many segments came in, of
 * which the first was of the handshake, and for the round-trip time in microseconds.
 */
static void talk_once(int port, int rounds)
{
	int fd = new_socket(SOCK_STREAM);
	long long before, after;
	struct tcp_info info;

	must(connect_to(fd, port));
	converse(fd, rounds / 2);
	before = now(CLOCK_MONOTONIC);
	info = info_of(fd);
	after = now(CLOCK_MONOTONIC);
	converse(fd, rounds - rounds / 2);
	say("client pid=%d tid=%d lport=%d rport=%d sent=%d received=%d before=%lld after=%lld segments=%u rtt=%u\n",
	    getpid(), gettid(), port_of(fd), port, rounds * QUESTION, rounds * ANSWER, before, after,
	    info.tcpi_segs_in, info.tcpi_rtt);
	close(fd);
}

static void talk(int count, int rounds, int port)
{
	int ready[2], status;
	pid_t server;

	must(pipe(ready));
	server = must(fork());
	if (!server) {
		int listener = bound_socket(SOCK_STREAM, port);

		must(prctl(PR_SET_NAME, "tcp-server"));
		must(listen(listener, 16));
		port = port_of(listener);
		must(write(ready[1], &port, sizeof(port)));
		serve(listener, port, count);
		close(listener);
		_exit(0);
	}
	must(read(ready[0], &port, sizeof(port)));
	must(prctl(PR_SET_NAME, "tcp-client"));
	say("talk client=%d server=%d family=%d addr=%s port=%d rounds=%d\n", getpid(), server, family, loopback(),
	    port, rounds);
	for (int i = 0; i < count; i++)
		talk_once(port, rounds);
	must(waitpid(server, &status, 0));
	if (status)
		_exit(99);
}

/* --- ask --- */

static void said_ask(int type, const char *address, int port, long result)
{
	say("ask pid=%d tid=%d family=%d addr=%s port=%d kind=%d result=%ld\n", getpid(), gettid(), family, address,
	    port, type, result);
}

static void ask(int type, int port)
{
	int fd = new_socket(type);

	said_ask(type, loopback(), port, connect_to(fd, port));
	close(fd);
}

/* The same place as 127.0.0.1, for a socket of IPv6. */
static void ask_mapped(int port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd, listener;

	family = AF_INET;
	listener = bound_socket(SOCK_STREAM, port);
	must(listen(listener, 16));
	family = AF_INET6;
	fd = new_socket(SOCK_STREAM);
	if (inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr) != 1)
		_exit(99);
	said_ask(SOCK_STREAM, "127.0.0.1", port, raw(connect(fd, (struct sockaddr *)&address, sizeof(address))));
	close(fd);
	close(listener);
}

/* Not by IP. */
static void ask_unix(void)
{
	struct sockaddr_un nowhere = { AF_UNIX, "/nonexistent/socket" };
	int fd;

	family = AF_UNIX;
	fd = new_socket(SOCK_STREAM);
	said_ask(SOCK_STREAM, "none", NONE, raw(connect(fd, (struct sockaddr *)&nowhere, sizeof(nowhere))));
	close(fd);
}

/* Somebody listens at each port, so that only a module can refuse. */
static void ask_all(char **ports)
{
	static const int families[] = { AF_INET, AF_INET6 };

	for (char **port = ports; *port; port++) {
		for (size_t i = 0; i < 2; i++) {
			int listener;

			family = families[i];
			listener = bound_socket(SOCK_STREAM, atoi(*port));
			must(listen(listener, 16));
			ask(SOCK_STREAM, atoi(*port));
			ask(SOCK_DGRAM, atoi(*port));
			close(listener);
		}
		ask_mapped(atoi(*port));
	}
	ask_unix();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (argc < 3)
		return 98;
	/* A peer that is gone is an error here, not a signal. */
	signal(SIGPIPE, SIG_IGN);
	family = atoi(argv[2]) == 6 ? AF_INET6 : AF_INET;
	if (!strcmp(mode, "connects") && argc > 3) {
		int count = atoi(argv[3]);

		pthread_join(start_thread(connects, &count), NULL);
	} else if (!strcmp(mode, "talk") && argc > 4) {
		talk(atoi(argv[3]), atoi(argv[4]), argc > 5 ? atoi(argv[5]) : 0);
	} else if (!strcmp(mode, "ask")) {
		ask_all(argv + 2);
	} else {
		return 98;
	}
	return 0;
}

/*
 * What interrupts hit.
 *
 *   irqs packets COUNT     UDP packets to itself over loopback: each makes the kernel receive it
 *   irqs burn MS           a busy CPU, which the timer interrupts
 */
#include "facts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static void packets(int count)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int udp = must(socket(AF_INET, SOCK_DGRAM, 0));
	char byte;

	must(bind(udp, (struct sockaddr *)&address, length));
	must(getsockname(udp, (struct sockaddr *)&address, &length));
	must(connect(udp, (struct sockaddr *)&address, length));
	for (int i = 0; i < count; i++) {
		must(send(udp, "", 1, 0));
		must(recv(udp, &byte, 1, 0));
	}
}

static void burn(int ms)
{
	long long until = now(CLOCK_MONOTONIC) + ms * 1000000LL;

	while (now(CLOCK_MONOTONIC) < until)
		;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	long long began = now(CLOCK_MONOTONIC);

	if (argc < 3)
		return 98;
	if (!strcmp(mode, "packets"))
		packets(atoi(argv[2]));
	else if (!strcmp(mode, "burn"))
		burn(atoi(argv[2]));
	else
		return 98;
	say("irqs pid=%d tid=%d began=%lld ended=%lld\n", getpid(), gettid(), began, now(CLOCK_MONOTONIC));
	return 0;
}

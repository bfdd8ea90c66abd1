/*
 * Sends signals and says which: each call as `call`, each signal that must come of it as `signal`.
 *
 *   signals calls          one of each kind, with every result
 *   signals many COUNT     a stream of one signal from one process to another
 *   signals timers         from timers
 *   signals burst COUNT    to itself, ignored, as fast as it can
 *   signals stream COUNT   the same, a thousand at a time
 */
#include "facts.h"

enum { KILL, TKILL, TGKILL };
enum { NONE = -2147483647 - 1, NOBODY = 65534, TOO_LARGE = 1 << 23 /* for a pid */ };

static long call(int which, int target_pid, int target_tid, int sig)
{
	static const int numbers[] = { SYS_kill, SYS_tkill, SYS_tgkill };
	long result;

	errno = 0;
	if (which == KILL)
		result = syscall(numbers[which], target_pid, sig);
	else if (which == TKILL)
		result = syscall(numbers[which], target_tid, sig);
	else
		result = syscall(numbers[which], target_pid, target_tid, sig);
	say("call pid=%d tid=%ld uid=%d call=%d target_pid=%d target_tid=%d sig=%d result=%ld\n", getpid(),
	    syscall(SYS_gettid), getuid(), which, which == TKILL ? NONE : target_pid,
	    which == KILL ? NONE : target_tid, sig, result < 0 ? -(long)errno : result);
	return result;
}

static void expect(int pid, int sig, int code, int target, int result, int group)
{
	say("signal pid=%d sig=%d code=%d target_pid=%d result=%d group=%d\n", pid, sig, code, target, result,
	    group);
}

static int acknowledgements[2];

static void on_signal(int sig)
{
	(void)sig;
	must(write(acknowledgements[1], "", 1));
}

static void await_handler(void)
{
	char byte;

	must(read(acknowledgements[0], &byte, 1));
}

/* A process that handles, ignores and blocks, until it is killed. */
static pid_t start_target(void)
{
	pid_t target;
	sigset_t blocked;

	must(pipe(acknowledgements));
	target = must(fork());
	if (!target) {
		must(setpgid(0, 0));
		signal(SIGUSR1, on_signal);
		signal(SIGUSR2, on_signal);
		signal(SIGRTMIN + 1, on_signal);
		signal(SIGTERM, SIG_IGN);
		sigemptyset(&blocked);
		sigaddset(&blocked, SIGHUP);
		sigprocmask(SIG_BLOCK, &blocked, NULL);
		must(write(acknowledgements[1], "", 1));
		for (;;)
			pause();
	}
	await_handler();
	return target;
}

static void calls(void)
{
	int self = getpid(), target = start_target(), status;
	pid_t child;

	call(KILL, target, NONE, SIGUSR1);
	expect(self, SIGUSR1, SI_USER, target, 0, 1);
	await_handler();
	call(TKILL, NONE, target, SIGUSR2);
	expect(self, SIGUSR2, SI_TKILL, target, 0, 0);
	await_handler();
	call(TGKILL, target, target, SIGUSR1);
	expect(self, SIGUSR1, SI_TKILL, target, 0, 0);
	await_handler();
	call(KILL, -target, NONE, SIGUSR2);
	expect(self, SIGUSR2, SI_USER, target, 0, 1);
	await_handler();
	must(sigqueue(target, SIGRTMIN + 1, (union sigval){ .sival_int = 42 }));
	expect(self, SIGRTMIN + 1, SI_QUEUE, target, 0, 1);
	await_handler();

	call(KILL, target, NONE, SIGTERM);
	expect(self, SIGTERM, SI_USER, target, 1, 1);
	call(KILL, target, NONE, SIGHUP);
	expect(self, SIGHUP, SI_USER, target, 0, 1);
	call(KILL, target, NONE, SIGHUP);
	expect(self, SIGHUP, SI_USER, target, 2, 1);

	/* Calls of which no signal comes. */
	call(KILL, target, NONE, 0);
	call(KILL, 0, NONE, 0);
	call(TGKILL, target, target, 0);
	call(KILL, TOO_LARGE, NONE, SIGUSR1);
	call(TKILL, NONE, TOO_LARGE, SIGUSR1);
	call(TGKILL, self, target, SIGUSR1);
	call(KILL, target, NONE, 99);
	call(KILL, target, NONE, -1);
	call(TKILL, NONE, -1, SIGUSR1);
	call(TGKILL, -1, target, SIGUSR1);

	child = must(fork());
	if (!child) {
		must(setuid(NOBODY));
		call(KILL, target, NONE, SIGUSR1);
		call(TGKILL, target, target, SIGUSR1);
		_exit(0);
	}
	must(waitpid(child, &status, 0));
	expect(child, SIGCHLD, CLD_EXITED, self, 1, 1);

	call(KILL, target, NONE, SIGKILL);
	expect(self, SIGKILL, SI_USER, target, 0, 1);
	must(waitpid(target, &status, 0));
	expect(target, SIGCHLD, CLD_KILLED, self, 1, 1);
}

static void many(int sends)
{
	sigset_t both;
	int status;
	pid_t target;

	sigemptyset(&both);
	sigaddset(&both, SIGUSR1);
	sigaddset(&both, SIGUSR2);
	sigprocmask(SIG_BLOCK, &both, NULL);
	target = must(fork());
	if (!target) {
		int sig = 0, taken = 0;

		/* Of those that are pending, the lower number comes first. */
		while (!sigwait(&both, &sig) && sig == SIGUSR1)
			taken++;
		say("taken pid=%d count=%d\n", getpid(), taken);
		_exit(0);
	}
	for (int i = 0; i < sends; i++)
		must(kill(target, SIGUSR1));
	must(kill(target, SIGUSR2));
	must(waitpid(target, &status, 0));
	say("sent pid=%d target=%d count=%d\n", getpid(), target, sends);
}

static volatile int expired;

static void on_timer(int sig)
{
	(void)sig;
	expired++;
}

static void timers(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2 };
	timer_t timer;
	sigset_t mask, before;

	signal(SIGALRM, on_timer);
	signal(SIGRTMIN + 2, on_timer);
	sigemptyset(&mask);
	sigaddset(&mask, SIGALRM);
	sigaddset(&mask, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &mask, &before);
	for (int i = 0; i < 3; i++) {
		must(setitimer(ITIMER_REAL, &(struct itimerval){ .it_value.tv_usec = 20000 }, NULL));
		sigsuspend(&before);
		expect(NONE, SIGALRM, SI_KERNEL, getpid(), 0, 1);
	}
	must(timer_create(CLOCK_MONOTONIC, &event, &timer));
	must(timer_settime(timer, 0, &(struct itimerspec){ .it_value.tv_nsec = 20000000 }, NULL));
	sigsuspend(&before);
	expect(NONE, SIGRTMIN + 2, SI_TIMER, getpid(), 0, 1);
	if (expired != 4)
		exit(99);
}

static void burst(int sends, int pause_after)
{
	signal(SIGUSR1, SIG_IGN);
	for (int i = 1; i <= sends; i++) {
		must(kill(getpid(), SIGUSR1));
		if (i % pause_after == 0)
			sleep_ms(10);
	}
	say("sent pid=%d count=%d\n", getpid(), sends);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int number = argc > 2 ? atoi(argv[2]) : 0;

	say("signals pid=%d parent=%d\n", getpid(), getppid());
	if (!strcmp(mode, "calls"))
		calls();
	else if (!strcmp(mode, "many"))
		many(number);
	else if (!strcmp(mode, "timers"))
		timers();
	else if (!strcmp(mode, "burst"))
		burst(number, number + 1);
	else if (!strcmp(mode, "stream"))
		burst(number, 1000);
	else
		return 98;
	return 0;
}

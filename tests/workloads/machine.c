/*
 * Makes code while it runs, as virtual machines do, and calls back from it.
 *
 *   machine mapped MS      the code is mapped as code
 *   machine protected MS   it is mapped as data, written, and then made code
 *   machine replaced MS    it is then replaced, at the same address, by code with a larger frame
 */
#include "facts.h"

#include "callers.h"

#include <sys/mman.h>

enum { PAGE = 4096 };

/* push %rbp; mov %rsp,%rbp; sub $N,%rsp; mov $address,%rax; call *%rax; leave; ret */
static void write_code(unsigned char *code, unsigned char frame, void (*callback)(long))
{
	unsigned char begin[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, frame, 0x48, 0xb8 };
	unsigned char end[] = { 0xff, 0xd0, 0xc9, 0xc3 };

	memcpy(code, begin, sizeof(begin));
	memcpy(code + sizeof(begin), &callback, sizeof(callback));
	memcpy(code + sizeof(begin) + sizeof(callback), end, sizeof(end));
}

LINK void callback(long ms)
{
	spin(ms);
	RETURN_HERE;
}

LINK void enter(void (*code)(long), long ms)
{
	code(ms);
	RETURN_HERE;
}

int main(int argc, char **argv)
{
	bool mapped = argc == 3 && !strcmp(argv[1], "mapped");
	int protection = PROT_READ | PROT_WRITE | (mapped ? PROT_EXEC : 0);
	unsigned char *code = mmap(NULL, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void (*function)(long);
	long ms;

	if (argc != 3 || code == MAP_FAILED)
		return 98;
	ms = atol(argv[2]);
	memcpy(&function, &code, sizeof(function));
	write_code(code, 0x20, callback);
	if (!mapped)
		must(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
	enter(function, ms);
	if (!strcmp(argv[1], "replaced")) {
		must(mprotect(code, PAGE, PROT_READ | PROT_WRITE));
		write_code(code, 0x60, callback);
		must(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
		enter(function, ms);
	}
	return 0;
}

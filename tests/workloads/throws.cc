/* Burns CPU time in a destructor, while an exception is on its way, and where it is caught: throws MS. */
#include <cstdlib>
#include <stdexcept>

#include "callers.h"

struct Guard {
	long ms;
	LINK ~Guard()
	{
		spin(ms);
		RETURN_HERE;
	}
};

LINK void raises(long ms)
{
	if (ms)
		throw std::runtime_error("on its way");
}

LINK void passes(long ms)
{
	Guard guard{ ms };

	raises(ms);
	RETURN_HERE;
}

LINK void catches(long ms)
{
	try {
		passes(ms);
	} catch (const std::runtime_error &) {
		spin(ms);
	}
	RETURN_HERE;
}

int main(int argc, char **argv)
{
	catches(argc > 1 ? atol(argv[1]) : 1);
	RETURN_HERE;
	return 0;
}

/* What `chain load` loads. */
#include "callers.h"

LINK void loaded_last(long ms)
{
	spin(ms);
	RETURN_HERE;
}

LINK void loaded_first(long ms)
{
	loaded_last(ms);
	RETURN_HERE;
}

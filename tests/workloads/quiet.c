/* A program to execute: it does nothing. */
int main(void)
{
	return 0;
}

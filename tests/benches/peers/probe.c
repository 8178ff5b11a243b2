/* The program inside every container that is measured: its first instruction takes the time. Once it has written that it obeys
 * signals; with an argument it stays. */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec now;
	char line[32];

	clock_gettime(CLOCK_MONOTONIC, &now);
	signal(SIGTERM, _exit);
	signal(SIGPWR, _exit);
	write(1, line, snprintf(line, sizeof line, "%lld\n", now.tv_sec * 1000000LL + now.tv_nsec / 1000));
	if (argc > 1)
		pause();
	return 0;
}

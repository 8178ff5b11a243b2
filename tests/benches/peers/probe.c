/* The program inside every container that is measured: its first instruction writes the time. With an argument it stays. */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec now;
	char line[32];

	clock_gettime(CLOCK_MONOTONIC, &now);
	write(1, line, snprintf(line, sizeof line, "%lld\n", now.tv_sec * 1000000LL + now.tv_nsec / 1000));
	if (argc > 1) {
		signal(SIGTERM, _exit);
		signal(SIGPWR, _exit);
		pause();
	}
	return 0;
}

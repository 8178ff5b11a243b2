/* The program inside every container that is measured: its very first act is to take the time, before any C library has looked
 * at the processor (which a virtual machine makes slow). Once it has written that time it obeys signals. Alone it ends; with an
 * argument it stays; with the argument "ready" it says so first on its control socket. */
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
static long ask(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x29, #0\n mov x0, sp\n bl begin\n");
static long ask(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
#else
#error "say here how this processor asks the kernel"
#endif

/* The kernel's own layout, not the C library's. */
struct action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

static void leave(int signal)
{
	ask(SYS_exit_group, signal, 0, 0, 0);
}

static void obey(int signal)
{
	/* 0x04000000 is SA_RESTORER, without which x86_64 delivers nothing; the handler never returns to it. */
	struct action action = { leave, 0x04000000, (void (*)(void))leave, 0 };

	ask(SYS_rt_sigaction, signal, (long)&action, 0, 8);
}

static const char request[] = "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Length: 29\r\n\r\n{\"type\":\"ready\",\"payload\":\"\"}";

static void say_ready(void)
{
	static struct sockaddr_un address = { AF_UNIX, "/pantavisor/pv-ctrl" };
	char answer[256];
	long control = ask(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0);

	ask(SYS_connect, control, (long)&address, sizeof address, 0);
	ask(SYS_write, control, (long)request, sizeof request - 1, 0);
	ask(SYS_read, control, (long)answer, sizeof answer, 0);
}

__attribute__((used, noreturn)) void begin(long *stack)
{
	struct timespec now;
	char line[24];
	int at = sizeof line;
	unsigned long micros;
	char **arguments = (char **)(stack + 1);

	ask(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0);
	micros = now.tv_sec * 1000000UL + now.tv_nsec / 1000;
	line[--at] = '\n';
	for (; micros; micros /= 10)
		line[--at] = '0' + micros % 10;
	obey(SIGTERM);
	obey(SIGPWR);
	ask(SYS_write, 1, (long)(line + at), sizeof line - at, 0);
	if (stack[0] > 1 && arguments[1][0] == 'r')
		say_ready();
	while (stack[0] > 1)
		ask(SYS_ppoll, 0, 0, 0, 0);
	for (;;)
		ask(SYS_exit_group, 0, 0, 0, 0);
}

/* The floor: what containers cost when the same things are made with the same system calls and nothing else, without a plan,
 * checks, a record, or anybody who is told: every mount, node, link and mask of ours, its console, what lies at /pantavisor (here
 * one folder for all). It stays, as an agent does, and obeys lines:
 *
 *   start COUNT   starts so many at once
 *   again         kills the last one, says when, and starts it anew once it is reaped
 *   end           ends all
 *
 * Arguments: how the root comes (folder, squashfs, erofs), the folder or image, a folder to work in, a folder for control groups
 * or "-". What the programs print goes where its own lines go. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 512

static const char *kind, *source, *work, *groups;
static pid_t started[MOST];

static void must(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		_exit(1);
	}
}

static void fresh(const char *kind, const char *target, unsigned long flags, const char *options)
{
	mkdir(target, 0755);
	must(mount(kind, target, kind, flags, options), target);
}

static void loop_mount(const char *target)
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR };
	char device[32];
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop;

	must(control, "/dev/loop-control");
	flock(control, LOCK_EX);
	snprintf(device, sizeof device, "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	loop = open(device, O_RDONLY | O_CLOEXEC);
	config.fd = open(source, O_RDONLY | O_CLOEXEC);
	must(ioctl(loop, LOOP_CONFIGURE, &config), device);
	must(mount(device, target, "squashfs", MS_RDONLY, 0), target);
	close(config.fd);
	close(loop);
	close(control);
}

/* The image with a writable layer over it. */
static void image_root(const char *root, int number)
{
	char path[3][256], options[800];
	const char *names[3] = { "image", "upper", "work" };
	int at;

	for (at = 0; at < 3; at++) {
		snprintf(path[at], sizeof path[at], "%s/%d/%s", work, number, names[at]);
		mkdir(path[at], 0755);
	}
	if (kind[0] == 'e')
		must(mount(source, path[0], "erofs", MS_RDONLY, 0), source);
	else
		loop_mount(path[0]);
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", path[0], path[1], path[2]);
	must(mount("overlay", root, "overlay", 0, options), root);
}

/* A tree of the device, to be attached once its path can no longer be named. */
static int take(const char *path, unsigned long long attributes)
{
	struct mount_attr attr = { .attr_set = attributes };
	int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	must(tree, path);
	if (attributes)
		must(mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr), path);
	return tree;
}

static void attach(int tree, const char *target)
{
	must(move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH), target);
	close(tree);
}

/* What hides a file or a folder: attached once, then cloned from there. */
struct sheet {
	int tree;
	const char *at;
};

static void lay_over(struct sheet *file, struct sheet *folder, const char *path)
{
	struct sheet *sheet;
	struct stat status;

	if (stat(path, &status) < 0)
		return;
	sheet = S_ISDIR(status.st_mode) ? folder : file;
	attach(sheet->at ? take(sheet->at, 0) : sheet->tree, path);
	sheet->at = path;
}

static void change(const char *path, unsigned long flags)
{
	if (mount(path, path, 0, MS_BIND | MS_REC, 0) == 0)
		must(mount(0, path, 0, MS_BIND | MS_REMOUNT | flags, 0), path);
}

static void console(void)
{
	int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlocked = 0, terminal;
	char path[32];

	must(master, "/dev/pts/ptmx");
	must(ioctl(master, TIOCSPTLCK, &unlocked), "the console");
	terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	must(terminal, "the console");
	close(open("/dev/console", O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
	snprintf(path, sizeof path, "/proc/self/fd/%d", terminal);
	must(mount(path, "/dev/console", 0, MS_BIND, 0), "/dev/console");
	close(terminal);
	close(master);
}

static const char *in_work(const char *name)
{
	static char path[256];

	snprintf(path, sizeof path, "%s/%s", work, name);
	return path;
}

/* What every container is shown at /pantavisor, and the empty folder that hides others: made once. */
static void prepare(void)
{
	static const char *folders[] = { "empty", "user-meta", "device-meta", "control", "control/bin", "control/user-meta", "control/device-meta" };
	static const char *files[] = { "goalctl", "control/bin/goalctl" };
	int at;

	for (at = 0; at < 7; at++)
		must(mkdir(in_work(folders[at]), 0755), folders[at]);
	for (at = 0; at < 2; at++)
		must(close(creat(in_work(files[at]), 0755)), files[at]);
}

static void become(int number)
{
	static const struct { const char *path; int major, minor; } nodes[] = {
		{ "/dev/null", 1, 3 }, { "/dev/zero", 1, 5 }, { "/dev/full", 1, 7 },
		{ "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
	};
	static const char *links[][2] = {
		{ "/proc/self/fd", "/dev/fd" }, { "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" }, { "/proc/self/fd/2", "/dev/stderr" },
		{ "pts/ptmx", "/dev/ptmx" }, { "/pantavisor/dev-log", "/dev/log" },
	};
	static const char *control[][2] = {
		{ "control", "/pantavisor" }, { "goalctl", "/pantavisor/bin/goalctl" },
		{ "user-meta", "/pantavisor/user-meta" }, { "device-meta", "/pantavisor/device-meta" },
	};
	static const char *hidden[] = {
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap",
	};
	static const char *fixed[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
	const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const unsigned long long kept = 0xa80425fbULL;
	const unsigned long long shown = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	char *arguments[] = { "/probe", "stay", 0 }, *environment[] = { 0 };
	char root[256];
	struct sheet file = { 0 }, folder = { 0 };
	int at, lo, trees[4];

	setsid();
	umask(0);
	must(unshare(CLONE_NEWNET), "network");
	lo = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ioctl(lo, SIOCSIFFLAGS, &loopback);
	sethostname("floor", 5);
	must(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0), "private");
	snprintf(root, sizeof root, "%s/%d", work, number);
	mkdir(root, 0755);
	snprintf(root, sizeof root, "%s/%d/root", work, number);
	mkdir(root, 0755);
	if (kind[0] == 'f')
		must(mount(source, root, 0, MS_BIND, 0), root);
	else
		image_root(root, number);
	for (at = 0; at < 4; at++)
		trees[at] = take(in_work(control[at][0]), shown);
	file.tree = take("/dev/null", 0);
	folder.tree = take(in_work("empty"), MOUNT_ATTR_RDONLY);
	must(chdir(root), root);
	fresh("proc", "proc", quiet, 0);
	fresh("sysfs", "sys", quiet | MS_RDONLY, 0);
	change("sys/devices/virtual/net", 0);
	fresh("tmpfs", "dev", MS_NOSUID | MS_NOEXEC, "mode=755,size=512k");
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "old root");
	for (at = 0; at < 6; at++)
		must(mknod(nodes[at].path, S_IFCHR | 0666, makedev(nodes[at].major, nodes[at].minor)), nodes[at].path);
	for (at = 0; at < 6; at++)
		must(symlink(links[at][0], links[at][1]), links[at][1]);
	fresh("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	fresh("tmpfs", "/dev/shm", quiet, "mode=1777,size=64m");
	fresh("mqueue", "/dev/mqueue", quiet, 0);
	console();
	mkdir("/pantavisor", 0755);
	for (at = 0; at < 4; at++)
		attach(trees[at], control[at][1]);
	for (at = 0; at < 12; at++)
		lay_over(&file, &folder, hidden[at]);
	for (at = 0; at < 5; at++)
		change(fixed[at], MS_RDONLY);
	change("/proc/sys/net", 0);
	for (at = 0; at <= 40; at++)
		if (!(kept >> at & 1))
			prctl(PR_CAPBSET_DROP, at, 0, 0, 0);
	execve("/probe", arguments, environment);
	perror("/probe");
	_exit(1);
}

static void start(int number)
{
	struct clone_args arguments = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP,
		.exit_signal = SIGCHLD,
	};
	char group[256];
	int descriptor = -1;
	long pid;

	if (groups[0] == '/') {
		snprintf(group, sizeof group, "%s/floor-%d", groups, number);
		mkdir(group, 0755);
		descriptor = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		arguments.flags |= CLONE_INTO_CGROUP;
		arguments.cgroup = descriptor;
	}
	pid = syscall(SYS_clone3, &arguments, sizeof arguments);
	must(pid, "clone3");
	if (pid == 0)
		become(number);
	if (descriptor >= 0)
		close(descriptor);
	started[number] = pid;
}

static void end(int number)
{
	kill(started[number], SIGKILL);
	waitpid(started[number], 0, 0);
}

int main(int count, char **arguments)
{
	char line[64], group[256];
	int running = 0, at;
	struct timespec now;

	if (count < 5)
		return 2;
	kind = arguments[1];
	source = arguments[2];
	work = arguments[3];
	groups = arguments[4];
	prepare();
	while (fgets(line, sizeof line, stdin)) {
		if (line[0] == 's') {
			int wanted = atoi(line + 6);

			for (at = 0; at < wanted && running < MOST; at++)
				start(running++);
		} else if (line[0] == 'a' && running > 0) {
			clock_gettime(CLOCK_MONOTONIC, &now);
			end(running - 1);
			start(running - 1);
			printf("killed %lld\n", now.tv_sec * 1000000LL + now.tv_nsec / 1000);
			fflush(stdout);
		} else {
			for (at = 0; at < running; at++) {
				end(at);
				snprintf(group, sizeof group, "%s/floor-%d", groups, at);
				rmdir(group);
			}
			running = 0;
			printf("ended\n");
			fflush(stdout);
		}
	}
	return 0;
}

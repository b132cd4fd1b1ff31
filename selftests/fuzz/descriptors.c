// SPDX-License-Identifier: GPL-2.0
/*
 * Descriptors of every kind, at numbers from FIRST_FD on, so that what else the
 * worker opens never gets one of those that are closed and opened again meanwhile.
 * A kind that this kernel does not have stays closed.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fuzz.h"

#define FIRST_FD	200

int folders[NO_FOLDER] = { -1, -1, -1 };
int handed[HANDED] = { -1, -1, -1, -1 };
int loud_files[LOUD_FILES];

static bool quiet_is_over;

struct descriptor {
	const char	*name;
	int		(*open)(const struct descriptor *descriptor);
	const char	*path;
	enum place	place;
	int		argument;
};

static int open_file(const struct descriptor *descriptor)
{
	int folder = descriptor->place == NO_FOLDER ?
		AT_FDCWD : folders[descriptor->place];

	if (descriptor->place == QUIET_FOLDER && quiet_is_over)
		return -1;
	return openat(folder, descriptor->path, descriptor->argument, 0644);
}

static int open_handed(const struct descriptor *descriptor)
{
	return dup(handed[descriptor->argument]);
}

/* One of a pair, and the other is closed. */
static int keep(int fds[2], int which)
{
	close(fds[!which]);
	return fds[which];
}

static int open_pipe(const struct descriptor *descriptor)
{
	int fds[2];

	return pipe(fds) ? -1 : keep(fds, descriptor->argument);
}

static int open_unix_socket(const struct descriptor *descriptor)
{
	int fds[2];

	if (socketpair(AF_UNIX, descriptor->argument, 0, fds))
		return -1;
	return keep(fds, 0);
}

static int open_inet_socket(const struct descriptor *descriptor)
{
	return socket(AF_INET, descriptor->argument, 0);
}

static int open_memfd(const struct descriptor *descriptor)
{
	int fd = memfd_create(descriptor->name, 0);

	/* Where RLIMIT_FSIZE is less, an empty one. */
	if (fd >= 0 && ftruncate(fd, 16 * BLOCK))
		errno = 0;
	return fd;
}

static int open_epoll(const struct descriptor *descriptor)
{
	return epoll_create1(descriptor->argument);
}

static int open_eventfd(const struct descriptor *descriptor)
{
	return eventfd(0, descriptor->argument);
}

static int open_timerfd(const struct descriptor *descriptor)
{
	return timerfd_create(descriptor->argument, 0);
}

static int open_signalfd(const struct descriptor *descriptor)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	return signalfd(-1, &signals, descriptor->argument);
}

static int open_inotify(const struct descriptor *descriptor)
{
	return inotify_init1(descriptor->argument);
}

static int open_pidfd(const struct descriptor *descriptor)
{
	return pidfd_open(getpid(), descriptor->argument);
}

static int open_userfaultfd(const struct descriptor *descriptor)
{
	return syscall(SYS_userfaultfd, descriptor->argument);
}

static int open_pts(const struct descriptor *descriptor)
{
	int fds[2], unlock = 0;

	fds[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	if (fds[0] < 0)
		return -1;
	ioctl(fds[0], TIOCSPTLCK, &unlock);
	fds[1] = ioctl(fds[0], TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (fds[1] < 0) {
		close(fds[0]);
		return -1;
	}
	return keep(fds, descriptor->argument);
}

/* The quiet pair, then those that a good call takes, then all others. */
enum {
	QUIETS = 2, MANY = QUIETS, FIRST_GOOD, GOODS = 10,
	FIRST_OTHER = FIRST_GOOD + GOODS, OTHERS = 2
};

static const struct descriptor descriptors[] = {
	{ "quiet a", open_file, "a", QUIET_FOLDER, O_RDWR | O_CREAT },
	{ "quiet b", open_file, "b", QUIET_FOLDER, O_RDWR | O_CREAT },

	{ "many extents", open_file, "many", TEST_FOLDER, O_RDWR },
	{ "f0", open_file, "f0", TEST_FOLDER, O_RDWR },
	{ "f1", open_file, "f1", TEST_FOLDER, O_RDWR },
	{ "f2", open_file, "f2", TEST_FOLDER, O_RDWR },
	{ "f3", open_file, "f3", TEST_FOLDER, O_RDWR },
	{ "f4", open_file, "f4", TEST_FOLDER, O_RDWR },
	{ "f5", open_file, "f5", TEST_FOLDER, O_RDWR | O_CREAT },
	{ "f0 once more", open_file, "f0", TEST_FOLDER, O_RDWR },
	{ "f0 by its link", open_file, "f0.link", TEST_FOLDER, O_RDWR },
	{ "f1 O_DIRECT", open_file, "f1", TEST_FOLDER, O_RDWR | O_DIRECT },
	{ "unnamed", open_file, ".", TEST_FOLDER, O_RDWR | O_TMPFILE },
	{ "other g0", open_file, "g0", OTHER_FOLDER, O_RDWR },
	{ "other g1", open_file, "g1", OTHER_FOLDER, O_RDWR },

	{ "quiet a O_RDONLY", open_file, "a", QUIET_FOLDER, O_RDONLY },
	{ "quiet b O_WRONLY", open_file, "b", QUIET_FOLDER, O_WRONLY },
	{ "quiet b O_APPEND", open_file, "b", QUIET_FOLDER, O_RDWR | O_APPEND },
	{ "f0 O_RDONLY", open_file, "f0", TEST_FOLDER, O_RDONLY },
	{ "f1 O_WRONLY", open_file, "f1", TEST_FOLDER, O_WRONLY },
	{ "f2 O_APPEND", open_file, "f2", TEST_FOLDER, O_RDWR | O_APPEND },
	{ "f3 O_PATH", open_file, "f3", TEST_FOLDER, O_PATH },
	{ "f4 O_SYNC", open_file, "f4", TEST_FOLDER, O_RDWR | O_SYNC },
	{ "immutable", open_handed, NULL, NO_FOLDER, IMMUTABLE },
	{ "swap file", open_handed, NULL, NO_FOLDER, SWAP_FILE },
	{ "in a read-only subvolume", open_handed, NULL, NO_FOLDER,
	  READ_ONLY_SUBVOLUME },
	{ "block device", open_handed, NULL, NO_FOLDER, BLOCK_DEVICE },
	{ "other unnamed", open_file, ".", OTHER_FOLDER, O_RDWR | O_TMPFILE },
	{ "tmpfs 1", open_file, "/tmp", NO_FOLDER, O_RDWR | O_TMPFILE },
	{ "tmpfs 2", open_file, "/tmp", NO_FOLDER, O_RDWR | O_TMPFILE },
	{ "ext4 1", open_file, "/var/tmp", NO_FOLDER, O_RDWR | O_TMPFILE },
	{ "ext4 2", open_file, "/var/tmp", NO_FOLDER, O_RDWR | O_TMPFILE },
	{ "folder", open_file, ".", TEST_FOLDER, O_RDONLY | O_DIRECTORY },
	{ "folder O_PATH", open_file, ".", TEST_FOLDER, O_PATH },
	{ "other folder", open_file, ".", OTHER_FOLDER, O_RDONLY },
	{ "/", open_file, "/", NO_FOLDER, O_RDONLY },
	{ "fifo", open_file, "fifo", TEST_FOLDER, O_RDWR },
	{ "pipe to read", open_pipe },
	{ "pipe to write", open_pipe, .argument = 1 },
	{ "unix stream", open_unix_socket, .argument = SOCK_STREAM },
	{ "unix datagrams", open_unix_socket, .argument = SOCK_DGRAM },
	{ "tcp", open_inet_socket, .argument = SOCK_STREAM },
	{ "udp", open_inet_socket, .argument = SOCK_DGRAM },
	{ "memfd 1", open_memfd },
	{ "memfd 2", open_memfd },
	{ "epoll", open_epoll },
	{ "eventfd", open_eventfd },
	{ "timerfd", open_timerfd, .argument = CLOCK_MONOTONIC },
	{ "signalfd", open_signalfd },
	{ "inotify", open_inotify },
	{ "pidfd", open_pidfd },
	{ "userfaultfd", open_userfaultfd, .argument = UFFD_USER_MODE_ONLY },
	{ "/proc/self/status", open_file, "/proc/self/status", NO_FOLDER,
	  O_RDONLY },
	{ "/proc/self/comm", open_file, "/proc/self/comm", NO_FOLDER, O_RDWR },
	{ "/sys/kernel/uevent_seqnum", open_file, "/sys/kernel/uevent_seqnum",
	  NO_FOLDER, O_RDONLY },
	{ "/dev/null", open_file, "/dev/null", NO_FOLDER, O_RDWR },
	{ "/dev/zero", open_file, "/dev/zero", NO_FOLDER, O_RDWR },
	{ "ptmx", open_pts },
	{ "pts", open_pts, .argument = 1 },
	{ "exchrange", open_file, "/dev/exchrange", NO_FOLDER, O_RDWR },
};

/* Opens descriptor @i anew at its number, over what was there. */
static void reopen(unsigned int i)
{
	int fd = descriptors[i].open(&descriptors[i]);

	if (fd < 0)
		return;
	dup2(fd, FIRST_FD + i);
	close(fd);
}

void open_descriptors(void)
{
	unsigned int i;
	char name[8];

	for (i = 0; i < LOUD_FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		loud_files[i] = openat(folders[TEST_FOLDER], name,
				       O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		if (loud_files[i] < 0) {
			perror(name);
			_exit(CANNOT_LIVE);
		}
	}
	for (i = 0; i < COUNT(descriptors); i++)
		reopen(i);
}

/* From now on others move in the worker's descriptors. */
void close_quiet_descriptors(void)
{
	unsigned int i;

	quiet_is_over = true;
	for (i = 0; i < COUNT(descriptors); i++)
		if (descriptors[i].place == QUIET_FOLDER &&
		    descriptors[i].open == open_file)
			close(FIRST_FD + i);
	close(folders[QUIET_FOLDER]);
}

int quiet_descriptor(int which)
{
	return FIRST_FD + which;
}

int good_descriptor(struct generator *generator, bool quiet)
{
	if (quiet && !one_in(generator, 4))
		return quiet_descriptor(below(generator, QUIETS));
	/* An exchange of a thousand extents takes as long as thousands of calls. */
	if (one_in(generator, 500))
		return FIRST_FD + MANY;
	return FIRST_FD + FIRST_GOOD + below(generator, GOODS);
}

/* For a call that can succeed: now and then on the other file system. */
void good_pair(struct generator *generator, bool quiet, int fds[2])
{
	int i;

	for (i = 0; i < 2; i++)
		fds[i] = good_descriptor(generator, quiet);
	if (quiet || !one_in(generator, 16))
		return;
	for (i = 0; i < 2; i++)
		fds[i] = FIRST_FD + FIRST_OTHER + below(generator, OTHERS);
}

int any_descriptor(struct generator *generator)
{
	static const int numbers[] = {
		-1, AT_FDCWD, INT_MAX, INT_MIN, -EBADF, FIRST_FD - 1, 1023, 1024,
	};

	switch (below(generator, 32)) {
	case 0:
		return numbers[below(generator, COUNT(numbers))];
	case 1:
		return next_random(generator);
	case 2:
		return below(generator, 40);
	default:
		return FIRST_FD + below(generator, COUNT(descriptors));
	}
}

/* For the thread beside: one is closed, becomes another, or comes back. */
void change_descriptor(struct generator *generator)
{
	unsigned int i = below(generator, COUNT(descriptors));

	switch (below(generator, 6)) {
	case 0:
		close(FIRST_FD + i);
		break;
	case 1:
		dup2(FIRST_FD + below(generator, COUNT(descriptors)),
		     FIRST_FD + i);
		break;
	case 2:
		reopen(i);
		break;
	default:
		/* Those that a good call takes come back more often. */
		reopen(FIRST_GOOD + below(generator, GOODS + OTHERS));
	}
}

const char *descriptor_name(int fd)
{
	if (fd >= FIRST_FD && fd < FIRST_FD + (int)COUNT(descriptors))
		return descriptors[fd - FIRST_FD].name;
	return "no number of ours";
}

// SPDX-License-Identifier: MIT
/*
 * libexchange: watches.  What a reader does each time is in exchrange.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "exchrange.h"

/* Exchanges of small files are over after so many turns; then by the clock. */
#define YIELDS		16
#define FIRST_PAUSE	20000		/* ns */
#define LAST_PAUSE	1000000

static int map_page(struct exchrange_watcher *watcher)
{
	void *page = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED,
			  watcher->fd, 0);

	if (page == MAP_FAILED)
		return -1;
	watcher->page = page;
	return 0;
}

int exchrange_watch_open(int device, int fd, struct exchrange_watcher *watcher)
{
	const struct exchrange_watch watch = { .fd = fd };
	int error;

	if (device < 0) {
		errno = EOPNOTSUPP;
		return -1;
	}
	watcher->page = NULL;
	watcher->fd = ioctl(device, EXCHRANGE_IOC_WATCH, &watch);
	if (watcher->fd < 0)
		return -1;
	if (fcntl(watcher->fd, F_SETFL, O_NONBLOCK) == 0 && map_page(watcher) == 0)
		return 0;
	error = errno;
	close(watcher->fd);
	watcher->fd = -1;
	errno = error;
	return -1;
}

void exchrange_watch_close(struct exchrange_watcher *watcher)
{
	int error = errno;

	if (watcher->page)
		munmap((void *)watcher->page, sysconf(_SC_PAGESIZE));
	if (watcher->fd >= 0)
		close(watcher->fd);
	watcher->page = NULL;
	watcher->fd = -1;
	errno = error;
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* What is left of @timeout, which may be without end. */
static int time_left(int timeout, long long start)
{
	long long left;

	if (timeout < 0)
		return -1;
	left = start + timeout - now_ms();
	return left > 0 ? (int)left : 0;
}

int exchrange_watch_wait(const struct exchrange_watcher *watcher, int timeout,
			 __u64 *count)
{
	struct pollfd pollfd = { .fd = watcher->fd, .events = POLLIN };
	long long start = now_ms();
	int ready;

	for (;;) {
		ready = poll(&pollfd, 1, time_left(timeout, start));
		if (ready < 0)
			return -1;
		if (ready == 0) {
			*count = 0;
			return 0;
		}
		if (read(watcher->fd, count, sizeof(*count)) == sizeof(*count))
			return 0;
		/* Another waiter was faster. */
		if (errno != EAGAIN)
			return -1;
	}
}

__u32 exchrange_watch_read_settle(const struct exchrange_watcher *watcher)
{
	struct timespec pause = { .tv_nsec = FIRST_PAUSE };
	unsigned int turns;
	__u32 sequence;

	for (turns = 0;; turns++) {
		sequence = __atomic_load_n(&watcher->page->sequence, __ATOMIC_ACQUIRE);
		if (!(sequence & 1))
			return sequence;
		if (turns < YIELDS) {
			sched_yield();
			continue;
		}
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < LAST_PAUSE)
			pause.tv_nsec *= 2;
	}
}

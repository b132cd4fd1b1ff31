// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "watch.h"

int try_watch(int fd)
{
	struct exchrange_watch watch = { .fd = fd };
	int watched = ioctl(device, EXCHRANGE_IOC_WATCH, &watch);

	return watched < 0 ? -errno : watched;
}

int watch_file(int fd)
{
	int watch = try_watch(fd);

	if (watch < 0)
		fail_msg("EXCHRANGE_IOC_WATCH: %s", strerror(-watch));
	return watch;
}

const struct exchrange_watch_page *try_map(int watch)
{
	void *page = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, watch, 0);

	return page == MAP_FAILED ? NULL : page;
}

const struct exchrange_watch_page *map_page(int watch)
{
	const struct exchrange_watch_page *page = try_map(watch);

	assert_non_null(page);
	return page;
}

void unmap_page(const struct exchrange_watch_page *page)
{
	assert_int_equal(munmap((void *)page, sysconf(_SC_PAGESIZE)), 0);
}

uint32_t sequence_of(const struct exchrange_watch_page *page)
{
	return __atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE);
}

void set_nonblocking(int fd, bool nonblocking)
{
	assert_int_equal(fcntl(fd, F_SETFL, nonblocking ? O_NONBLOCK : 0), 0);
}

uint64_t read_count(int watch)
{
	uint64_t count;
	ssize_t ret;

	set_nonblocking(watch, true);
	ret = read(watch, &count, sizeof(count));
	if (ret < 0) {
		assert_int_equal(errno, EAGAIN);
		return 0;
	}
	assert_int_equal(ret, sizeof(count));
	assert_true(count > 0);
	return count;
}

bool is_readable(int watch)
{
	struct pollfd pollfd = { watch, POLLIN | POLLOUT | POLLPRI };

	if (poll(&pollfd, 1, 0) == 0)
		return false;
	assert_int_equal(pollfd.revents, POLLIN);
	return true;
}

struct pair make_pair(struct file_spec spec)
{
	struct pair pair;
	int i;

	for (i = 0; i < 2; i++) {
		pair.fd[i] = make_file(i ? "file2" : "file1", spec, i + 1);
		pair.watch[i] = watch_file(pair.fd[i]);
		pair.page[i] = map_page(pair.watch[i]);
	}
	return pair;
}

void drop_pair(struct pair *pair)
{
	int i;

	for (i = 0; i < 2; i++) {
		unmap_page(pair->page[i]);
		close(pair->watch[i]);
		close(pair->fd[i]);
	}
}

int swap_files(int fd1, int fd2)
{
	struct exchrange_range range = {
		.file1_fd	= fd1,
		.file2_fd	= fd2,
		.flags		= EXCHRANGE_TO_EOF,
	};

	return device_exchange(&range);
}

bool comes_true(bool (*is_true)(const void *argument), const void *argument)
{
	int i;

	for (i = 0; i < 60000; i++) {
		if (is_true(argument))
			return true;
		usleep(1000);
	}
	return false;
}

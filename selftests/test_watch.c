// SPDX-License-Identifier: GPL-2.0
/*
 * Watches: what each call does to the page, and what the descriptor tells; who may have
 * one, how many, and what it keeps.  test_watch_races.c has what happens meanwhile.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "watch.h"

#define PARAMETER	"/sys/module/exchrange/parameters/watches_max_user"

static const struct file_spec plain = { SHAPE_PLAIN, 4 * BLOCK };

/* --- what each kind of call does to the page ------------------------------------------ */

struct call_row {
	const char		*name;
	struct exchrange_range	range;
	bool			commit;		/* by START_COMMIT and COMMIT */
	bool			stale;		/* by a COMMIT of no sample */
	int			error;
	bool			refused;	/* before anything else */
};

static const struct call_row call_rows[] = {
	{ "whole files", { .flags = EXCHRANGE_TO_EOF } },
	{ "a range", { .file1_offset = BLOCK, .length = BLOCK } },
	{ "DSYNC", { .length = BLOCK, .flags = EXCHRANGE_DSYNC } },
	{ "FILE1_WRITTEN", { .length = BLOCK, .flags = EXCHRANGE_FILE1_WRITTEN } },
	{ "no bytes", { .length = 0 } },
	{ "a commit", { .flags = EXCHRANGE_TO_EOF }, .commit = true },
	{ "a dry run", { .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DRY_RUN }, .refused = true },
	{ "a commit's dry run", { .length = BLOCK, .flags = EXCHRANGE_DRY_RUN },
	  .commit = true, .refused = true },
	{ "unknown flags", { .flags = 1 << 10 }, .error = EINVAL, .refused = true },
	{ "a range that wraps",
	  { .file1_offset = -(uint64_t)BLOCK, .length = 2 * BLOCK }, .error = EINVAL, .refused = true },
	{ "unaligned", { .file1_offset = 7, .length = BLOCK }, .error = EINVAL },
	{ "past the end", { .file2_offset = 8 * BLOCK, .length = BLOCK }, .error = EINVAL },
	{ "a stale commit", { .length = BLOCK }, .stale = true, .error = EBUSY },
};

static int make_call(const struct call_row *row, const struct pair *pair)
{
	struct exchrange_range range = row->range;
	struct exchrange_commit stale = {
		.file1_fd	= pair->fd[0],
		.file2_fd	= pair->fd[1],
		.length		= range.length,
	};

	range.file1_fd = pair->fd[0];
	range.file2_fd = pair->fd[1];
	if (row->stale)
		return device_commit(&stale);
	return row->commit ? device_exchange_by_commit(&range) : device_exchange(&range);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* What is wrong with these is known before anything leaves the page cache. */
static uint32_t expected_step(const struct call_row *row)
{
	return row->refused || row->error ? 0 : 2;
}

static void test_call(void **state)
{
	const struct call_row *row = *state;
	bool counts = !row->error && !row->refused;
	struct pair pair = make_pair(plain);
	uint32_t sequence[2] = { sequence_of(pair.page[0]), sequence_of(pair.page[1]) };
	int64_t before = now_ns(), after;
	int i;

	assert_int_equal(make_call(row, &pair), row->error);
	after = now_ns();
	for (i = 0; i < 2; i++) {
		assert_int_equal(sequence_of(pair.page[i]) - sequence[i], expected_step(row));
		assert_int_equal(pair.page[i]->count, counts);
		assert_int_equal(is_readable(pair.watch[i]), counts);
		assert_int_equal(read_count(pair.watch[i]), counts);
		assert_false(is_readable(pair.watch[i]));
		if (counts)
			assert_true(pair.page[i]->time >= before &&
				    pair.page[i]->time <= after);
		else
			assert_true(pair.page[i]->time == 0);
	}
	drop_pair(&pair);
}

static void test_page_of_a_new_watch(void **state)
{
	struct pair pair = make_pair(plain);
	const uint8_t *bytes = (const uint8_t *)pair.page[0];
	long size = sysconf(_SC_PAGESIZE), i;

	(void)state;
	assert_int_equal(pair.page[0]->size, sizeof(*pair.page[0]));
	for (i = 0; i < size; i++)
		if (i < 4 || i >= 8)
			assert_int_equal(bytes[i], 0);
	drop_pair(&pair);
}

static void test_two_ranges_of_one_file(void **state)
{
	int fd = make_file("file1", plain, 1), again = open_path(path_of("file1"), O_RDWR);
	int watch = watch_file(fd);
	const struct exchrange_watch_page *page = map_page(watch);
	struct exchrange_range range = {
		.file1_fd = fd, .file2_fd = fd, .file2_offset = BLOCK, .length = BLOCK,
	};

	(void)state;
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(page->count, 1);
	range.file2_fd = again;
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(page->count, 2);
	assert_int_equal(sequence_of(page), 4);
	assert_int_equal(read_count(watch), 2);
	unmap_page(page);
	close(watch);
	close(again);
	close(fd);
}

/* What is no exchange through the device is not told. */
static void test_other_changes_do_not_count(void **state)
{
	struct pair pair = make_pair(plain);

	(void)state;
	assert_int_equal(pwrite(pair.fd[0], "x", 1, 0), 1);
	assert_int_equal(ftruncate(pair.fd[0], BLOCK), 0);
	assert_int_equal(fchmod(pair.fd[0], 0600), 0);
	assert_int_equal(fsync(pair.fd[0]), 0);
	assert_int_equal(sequence_of(pair.page[0]), 0);
	assert_false(is_readable(pair.watch[0]));
	drop_pair(&pair);
}

static void test_many_watches_of_one_file(void **state)
{
	const struct exchrange_watch_page *page[100];
	struct pair pair = make_pair(plain);
	int watch[100];
	size_t i;

	(void)state;
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	for (i = 0; i < COUNT(watch); i++) {
		watch[i] = watch_file(pair.fd[0]);
		page[i] = map_page(watch[i]);
		/* The page is the file's; what a descriptor counts is its own. */
		assert_int_equal(page[i]->count, 1);
		assert_false(is_readable(watch[i]));
	}
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	for (i = 0; i < COUNT(watch); i += 2) {
		assert_int_equal(read_count(watch[i]), 1);
		unmap_page(page[i]);
		close(watch[i]);
	}
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	for (i = 1; i < COUNT(watch); i += 2) {
		assert_int_equal(sequence_of(page[i]), 6);
		assert_int_equal(read_count(watch[i]), 2);
		unmap_page(page[i]);
		close(watch[i]);
	}
	assert_int_equal(read_count(pair.watch[0]), 3);
	assert_int_equal(read_count(pair.watch[1]), 3);
	drop_pair(&pair);
}

/* The last watch goes, and the next one begins anew. */
static void test_first_watch_begins_anew(void **state)
{
	struct pair pair = make_pair(plain);

	(void)state;
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	drop_pair(&pair);
	pair.fd[0] = open_path(path_of("file1"), O_RDONLY);
	pair.watch[0] = watch_file(pair.fd[0]);
	pair.page[0] = map_page(pair.watch[0]);
	assert_int_equal(pair.page[0]->count, 0);
	assert_int_equal(sequence_of(pair.page[0]), 0);
	unmap_page(pair.page[0]);
	close(pair.watch[0]);
	close(pair.fd[0]);
}

/* --- reading the descriptor ------------------------------------------------------------ */

static void test_read(void **state)
{
	struct pair pair = make_pair(plain);
	uint64_t room[2] = { 0, 99 };
	int i;

	(void)state;
	for (i = 0; i < 3; i++)
		assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	assert_int_equal(read(pair.watch[0], room, 7), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(read(pair.watch[0], NULL, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(read(pair.watch[0], room, sizeof(room)), 8);
	assert_int_equal(room[0], 3);
	assert_int_equal(room[1], 99);
	set_nonblocking(pair.watch[0], true);
	assert_int_equal(read(pair.watch[0], room, sizeof(room)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(read(pair.watch[1], (void *)-1ul, 8), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(write(pair.watch[0], room, 8), -1);
	assert_int_equal(errno, EBADF);
	drop_pair(&pair);
}

struct waiter {
	int		watch;
	atomic_int	tid;
	atomic_bool	done;
	uint64_t	count;
	int		error;
};

static void *read_one(void *argument)
{
	struct waiter *waiter = argument;

	atomic_store(&waiter->tid, gettid());
	if (read(waiter->watch, &waiter->count, sizeof(waiter->count)) < 0)
		waiter->error = errno;
	atomic_store(&waiter->done, true);
	return NULL;
}

/* Whether the thread sleeps in the kernel. */
static bool is_asleep(const void *argument)
{
	const struct waiter *waiter = argument;
	char path[64], state = '?';
	FILE *stat_file;

	if (!atomic_load(&((struct waiter *)waiter)->tid))
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", waiter->tid);
	stat_file = fopen(path, "r");
	if (!stat_file)
		return false;
	if (fscanf(stat_file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(stat_file);
	return state == 'S';
}

static bool is_one_done(const void *argument)
{
	const struct waiter *waiters = argument;

	return waiters[0].done || waiters[1].done;
}

static void test_read_waits(void **state)
{
	struct pair pair = make_pair(plain);
	struct waiter waiters[4] = { };
	pthread_t threads[4];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(waiters); i++) {
		waiters[i].watch = i < 2 ? pair.watch[1] : watch_file(pair.fd[1]);
		assert_int_equal(pthread_create(&threads[i], NULL, read_one,
						&waiters[i]), 0);
		assert_true(comes_true(is_asleep, &waiters[i]));
	}
	/* Two of them share a descriptor, and one exchange is for one of these. */
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	pthread_join(threads[2], NULL);
	pthread_join(threads[3], NULL);
	assert_true(comes_true(is_one_done, waiters));
	assert_false(waiters[0].done && waiters[1].done);
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	for (i = 0; i < COUNT(waiters); i++) {
		assert_int_equal(waiters[i].error, 0);
		assert_int_equal(waiters[i].count, 1);
	}
	close(waiters[2].watch);
	close(waiters[3].watch);
	drop_pair(&pair);
}

static void nothing(int signal)
{
	(void)signal;
}

static void test_waiting_read_is_interrupted(void **state)
{
	const struct sigaction action = { .sa_handler = nothing };
	struct pair pair = make_pair(plain);
	struct waiter waiter = { .watch = pair.watch[0] };
	pthread_t thread;

	(void)state;
	sigaction(SIGUSR1, &action, NULL);
	assert_int_equal(pthread_create(&thread, NULL, read_one, &waiter), 0);
	assert_true(comes_true(is_asleep, &waiter));
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	assert_int_equal(waiter.error, EINTR);
	drop_pair(&pair);
}

static void test_epoll(void **state)
{
	struct pair pair = make_pair(plain);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = 7 };
	struct epoll_event got;
	int epoll = epoll_create1(EPOLL_CLOEXEC), i;

	(void)state;
	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, pair.watch[1], &event), 0);
	assert_int_equal(epoll_wait(epoll, &got, 1, 0), 0);
	for (i = 0; i < 3; i++) {
		assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
		assert_int_equal(epoll_wait(epoll, &got, 1, 0), 1);
		assert_int_equal(got.data.u32, 7);
		/* Edges: the same news only once. */
		assert_int_equal(epoll_wait(epoll, &got, 1, 0), 0);
	}
	/* Closed while it is polled. */
	close(pair.watch[1]);
	pair.watch[1] = watch_file(pair.fd[1]);
	close(epoll);
	drop_pair(&pair);
}

/* --- mapping ---------------------------------------------------------------------------- */

static int map_errno(int watch, size_t pages, int prot, int flags, off_t pages_off)
{
	long size = sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, pages * size, prot, flags, watch, pages_off * size);

	if (page == MAP_FAILED)
		return errno;
	munmap(page, pages * size);
	return 0;
}

static void test_mapping_is_one_page_to_read(void **state)
{
	struct pair pair = make_pair(plain);
	long size = sysconf(_SC_PAGESIZE);
	void *page = (void *)pair.page[0];
	int watch = pair.watch[0];

	(void)state;
	assert_int_equal(map_errno(watch, 1, PROT_READ, MAP_PRIVATE, 0), 0);
	assert_int_equal(map_errno(watch, 1, PROT_READ | PROT_WRITE, MAP_SHARED, 0), EACCES);
	assert_int_equal(map_errno(watch, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0), EACCES);
	assert_int_equal(map_errno(watch, 1, PROT_WRITE, MAP_PRIVATE, 0), EACCES);
	assert_int_equal(map_errno(watch, 2, PROT_READ, MAP_SHARED, 0), EINVAL);
	assert_int_equal(map_errno(watch, 1, PROT_READ, MAP_SHARED, 1), EINVAL);
	assert_int_equal(mprotect(page, size, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_ptr_equal(mremap(page, size, 2 * size, MREMAP_MAYMOVE), MAP_FAILED);
	assert_int_equal(errno, EFAULT);

	/* A private mapping is of the page too, and cannot become writable. */
	page = mmap(NULL, size, PROT_READ, MAP_PRIVATE, watch, 0);
	assert_ptr_not_equal(page, MAP_FAILED);
	assert_int_equal(mprotect(page, size, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	assert_int_equal(((struct exchrange_watch_page *)page)->count, 1);
	/* Thrown out, it comes again. */
	assert_int_equal(madvise(page, size, MADV_DONTNEED), 0);
	assert_int_equal(((struct exchrange_watch_page *)page)->count, 1);
	munmap(page, size);
	drop_pair(&pair);
}

static void test_mapping_outlives_the_descriptors(void **state)
{
	struct pair pair = make_pair(plain);

	(void)state;
	close(pair.watch[0]);
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	assert_int_equal(pair.page[0]->count, 1);
	pair.watch[0] = watch_file(pair.fd[0]);
	assert_int_equal(pair.page[0]->count, 1);
	drop_pair(&pair);
}

/* --- wrong descriptors, wrong structs --------------------------------------------------- */

static int watch_path(const char *path, int flags)
{
	int fd = open_path(path, flags), watch = try_watch(fd);

	close(fd);
	return watch;
}

static void test_wrong_descriptors(void **state)
{
	int fd = make_file("file1", plain, 1), pipe_fds[2];

	(void)state;
	assert_int_equal(try_watch(-1), -EBADF);
	assert_int_equal(try_watch(9999), -EBADF);
	assert_int_equal(watch_path(path_of("file1"), O_PATH), -EBADF);
	assert_int_equal(watch_path(path_of("file1"), O_WRONLY), -EBADF);
	assert_int_equal(watch_path(mount_point, O_RDONLY | O_DIRECTORY), -EISDIR);
	assert_int_equal(watch_path("/dev/null", O_RDONLY), -EINVAL);
	assert_int_equal(watch_path("/dev/shm", O_TMPFILE | O_RDWR), -EOPNOTSUPP);
	assert_int_equal(watch_path("/proc/version", O_RDONLY), -EOPNOTSUPP);
	assert_int_equal(try_watch(device), -EINVAL);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(try_watch(pipe_fds[0]), -EINVAL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(fd);
}

static void test_structs(void **state)
{
	int fd = make_file("file1", plain, 1), watch;
	struct {
		struct exchrange_watch	watch;
		uint64_t		more;
	} argument = { { .fd = fd } };

	(void)state;
	argument.watch.flags = 1;
	assert_int_equal(ioctl(device, EXCHRANGE_IOC_WATCH, &argument), -1);
	assert_int_equal(errno, EINVAL);
	argument.watch.flags = 0;
	assert_int_equal(ioctl(device, EXCHRANGE_IOC_WATCH, NULL), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(ioctl(device, _IOC(_IOC_WRITE, EXCHRANGE_IOC_MAGIC, 4, 4), &argument),
			 -1);
	assert_int_equal(errno, EINVAL);
	watch = ioctl(device, _IOC(_IOC_WRITE, EXCHRANGE_IOC_MAGIC, 4, 16), &argument);
	assert_true(watch >= 0);
	close(watch);
	argument.more = 1;
	assert_int_equal(ioctl(device, _IOC(_IOC_WRITE, EXCHRANGE_IOC_MAGIC, 4, 16), &argument),
			 -1);
	assert_int_equal(errno, E2BIG);
	close(fd);
}

/* --- who watches --------------------------------------------------------------------------- */

static int watch_as_reader(void *argument)
{
	const char *path = argument;
	int fd = open(path, O_RDONLY), watch = try_watch(fd);

	close(fd);
	if (watch < 0)
		return -watch;
	if (!try_map(watch))
		return 250;
	if (open(path, O_RDWR) >= 0 || errno != EACCES)
		return 251;
	return read_count(watch) == 0 ? 0 : 252;
}

/* Nobody, with nothing but the right to read, and no right to swap. */
static void test_reader_without_the_right_to_write(void **state)
{
	struct pair pair = make_pair(plain);

	(void)state;
	assert_int_equal(fchown(pair.fd[0], 0, 0), 0);
	assert_int_equal(fchmod(pair.fd[0], 0644), 0);
	assert_int_equal(as_nobody(watch_as_reader, (void *)path_of("file1")), 0);
	assert_int_equal(pair.page[0]->count, 0);
	drop_pair(&pair);
}

/* Waits for an exchange that its parent makes, as another user, and looks at the page. */
static int watch_in_child(int fd, int ready)
{
	const struct exchrange_watch_page *page;
	struct pollfd pollfd;
	uint64_t count;

	if (setgid(NOBODY) || setuid(NOBODY))
		return 1;
	pollfd.fd = try_watch(fd);
	pollfd.events = POLLIN;
	page = try_map(pollfd.fd);
	if (!page || write(ready, "x", 1) != 1)
		return 2;
	if (poll(&pollfd, 1, 60000) != 1 ||
	    read(pollfd.fd, &count, sizeof(count)) != sizeof(count))
		return 3;
	return count == 1 && page->count == 1 ? 0 : 4;
}

static void test_another_process_and_user(void **state)
{
	int fd1 = make_file("file1", plain, 1), fd2 = make_file("file2", plain, 2);
	int reader = open_path(path_of("file2"), O_RDONLY);
	int ready[2], status;
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0)
		_exit(watch_in_child(reader, ready[1]));
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(swap_files(fd1, fd2), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
	close(reader);
	close(fd1);
	close(fd2);
}

static int use_inherited(const struct pair *pair, int go)
{
	char byte;

	if (read(go, &byte, 1) != 1)
		return 1;
	if (pair->page[0]->count != 1 || sequence_of(pair->page[0]) != 2)
		return 2;
	return read_count(pair->watch[0]) == 1 ? 0 : 3;
}

/* A child keeps what its parent closes, and exec ends it. */
static void test_fork_and_exec(void **state)
{
	struct pair pair = make_pair(plain);
	struct outcome outcome;
	int go[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(fcntl(pair.watch[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(pair.watch[0], F_GETFL) & O_ACCMODE, O_RDONLY);
	outcome = run_and_keep("ls -l /proc/self/fd; cat /proc/self/maps");
	assert_null(strstr(outcome.out, "exchrange-watch"));
	drop_outcome(&outcome);
	outcome = run_and_keep("ls -l /proc/%d/fd; cat /proc/%d/maps", getpid(), getpid());
	assert_non_null(strstr(outcome.out, "exchrange-watch"));
	drop_outcome(&outcome);

	assert_int_equal(pipe(go), 0);
	pid = fork();
	if (pid == 0)
		_exit(use_inherited(&pair, go[0]));
	unmap_page(pair.page[0]);
	close(pair.watch[0]);
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(go[0]);
	close(go[1]);
	pair.watch[0] = watch_file(pair.fd[0]);
	pair.page[0] = map_page(pair.watch[0]);
	assert_int_equal(pair.page[0]->count, 0);
	drop_pair(&pair);
}

static void send_descriptor(int socket_fd, int fd)
{
	char byte = 'x', space[CMSG_SPACE(sizeof(fd))] = { };
	struct iovec bytes = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &bytes, .msg_iovlen = 1,
		.msg_control = space, .msg_controllen = sizeof(space),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	assert_int_equal(sendmsg(socket_fd, &message, 0), 1);
}

static int receive_descriptor(int socket_fd)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec bytes = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &bytes, .msg_iovlen = 1,
		.msg_control = space, .msg_controllen = sizeof(space),
	};
	int fd;

	if (recvmsg(socket_fd, &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

static int use_received(int socket_fd)
{
	const struct exchrange_watch_page *page;
	int watch;

	if (setgid(NOBODY) || setuid(NOBODY))
		return 1;
	watch = receive_descriptor(socket_fd);
	page = try_map(watch);
	if (!page)
		return 2;
	return page->count == 1 && read_count(watch) == 1 ? 0 : 3;
}

/* As it is on its way, nobody has it open. */
static void test_descriptor_is_passed_on(void **state)
{
	struct pair pair = make_pair(plain);
	int sockets[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	send_descriptor(sockets[0], pair.watch[0]);
	unmap_page(pair.page[0]);
	close(pair.watch[0]);
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	pid = fork();
	if (pid == 0)
		_exit(use_received(sockets[1]));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(sockets[0]);
	close(sockets[1]);
	pair.watch[0] = watch_file(pair.fd[0]);
	pair.page[0] = map_page(pair.watch[0]);
	drop_pair(&pair);
}

/* --- limits ----------------------------------------------------------------------------------- */

/* How many more watches of the file are there for the caller; the errno of the next one. */
static int count_until_full(int fd, int *error)
{
	int watches[64], count = 0, i;

	*error = 0;
	while (count < (int)COUNT(watches)) {
		watches[count] = try_watch(fd);
		if (watches[count] < 0) {
			*error = -watches[count];
			break;
		}
		count++;
	}
	for (i = 0; i < count; i++)
		close(watches[i]);
	return count;
}

static bool has_five(const void *argument)
{
	int error;

	return count_until_full(*(const int *)argument, &error) == 5 && error == ENOSPC;
}

/* Those of a process that is killed come back. */
static int use_up_and_be_killed(void *argument)
{
	const int *fd = argument;
	int error, status;
	pid_t pid;

	if (count_until_full(*fd, &error) != 5 || error != ENOSPC)
		return 1;
	/* Twice: the first time nothing may have stayed. */
	if (count_until_full(*fd, &error) != 5 || error != ENOSPC)
		return 2;
	pid = fork();
	if (pid == 0) {
		int i;

		for (i = 0; i < 4; i++)
			try_map(try_watch(*fd));
		kill(getpid(), SIGKILL);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return 3;
	return comes_true(has_five, fd) ? 0 : 4;
}

static int use_up(void *argument)
{
	int error, count = count_until_full(*(int *)argument, &error);

	return error == ENOSPC ? count : 99;
}

static void test_limit_of_each_user(void **state)
{
	int fd = make_file("file1", plain, 1), mine[3], i;

	(void)state;
	assert_int_equal(run("grep -qx 1024 " PARAMETER " && echo 5 >" PARAMETER), 0);
	assert_int_equal(as_nobody(use_up_and_be_killed, &fd), 0);
	/* What one user has does not count for another one, root neither. */
	for (i = 0; i < 3; i++)
		mine[i] = watch_file(fd);
	assert_int_equal(as_nobody(use_up, &fd), 5);
	assert_int_equal(as_root(use_up, &fd), 2);
	assert_int_equal(run("echo 0 >" PARAMETER), 0);
	assert_int_equal(try_watch(fd), -ENOSPC);
	assert_int_equal(as_nobody(use_up, &fd), 0);
	for (i = 0; i < 3; i++)
		close(mine[i]);
	close(fd);
}

static int restore_limit(void **state)
{
	(void)state;
	return run("echo 1024 >" PARAMETER);
}

static int watch_without_descriptors(void *argument)
{
	struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_NOFILE, &none))
		return 1;
	return try_watch(*(int *)argument) == -EMFILE ? 0 : 2;
}

static void test_no_descriptor_left(void **state)
{
	int fd = make_file("file1", plain, 1);

	(void)state;
	assert_int_equal(as_nobody(watch_without_descriptors, &fd), 0);
	close(fd);
}

/* --- what a watch keeps ------------------------------------------------------------------------ */

static int unload(void)
{
	return syscall(SYS_delete_module, "exchrange", O_NONBLOCK) ? errno : 0;
}

static bool is_unloaded(const void *argument)
{
	(void)argument;
	return unload() == 0;
}

static void test_watch_keeps_the_module(void **state)
{
	int fd = make_file("file1", plain, 1), watch = watch_file(fd);
	const struct exchrange_watch_page *page;

	(void)state;
	close(device);
	assert_int_equal(unload(), EWOULDBLOCK);
	page = map_page(watch);
	close(watch);
	assert_int_equal(unload(), EWOULDBLOCK);
	assert_int_equal(page->count, 0);
	unmap_page(page);
	assert_true(comes_true(is_unloaded, NULL));
	assert_int_equal(run("modprobe exchrange"), 0);
	device = exchrange_open();
	assert_true(device >= 0);
	close(fd);
}

/* The mount, and not the locks of the descriptor that was watched. */
static void test_watch_keeps_the_mount(void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd, watch, other;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	fd = make_file("file1", plain, 1);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	watch = watch_file(fd);
	close(fd);
	other = open_path(path_of("file1"), O_RDWR);
	assert_int_equal(fcntl(other, F_OFD_SETLK, &lock), 0);
	close(other);
	assert_int_equal(umount(mount_point), -1);
	assert_int_equal(errno, EBUSY);
	/* A file without a name, too. */
	assert_int_equal(unlink(path_of("file1")), 0);
	assert_int_equal(umount(mount_point), -1);
	assert_int_equal(errno, EBUSY);
	close(watch);
	leave_scratch();
}

/* --- the library ---------------------------------------------------------------------------------- */

static void test_library_waits(void **state)
{
	struct pair pair = make_pair(plain);
	struct exchrange_watcher watcher;
	uint64_t count = 99;

	(void)state;
	assert_int_equal(exchrange_watch_open(-1, pair.fd[0], &watcher), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(exchrange_watch_open(device, -1, &watcher), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(exchrange_watch_open(device, pair.fd[0], &watcher), 0);
	assert_int_equal(exchrange_watch_wait(&watcher, 0, (__u64 *)&count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(exchrange_watch_wait(&watcher, 20, (__u64 *)&count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	assert_int_equal(swap_files(pair.fd[0], pair.fd[1]), 0);
	assert_int_equal(exchrange_watch_wait(&watcher, -1, (__u64 *)&count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(exchrange_watch_read_begin(&watcher), 4);
	assert_false(exchrange_watch_read_retry(&watcher, 4));
	assert_true(exchrange_watch_read_retry(&watcher, 2));
	errno = 77;
	exchrange_watch_close(&watcher);
	assert_int_equal(errno, 77);
	assert_int_equal(exchrange_watch_wait(&watcher, 0, (__u64 *)&count), 0);
	drop_pair(&pair);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_page_of_a_new_watch),
		cmocka_unit_test(test_two_ranges_of_one_file),
		cmocka_unit_test(test_other_changes_do_not_count),
		cmocka_unit_test(test_many_watches_of_one_file),
		cmocka_unit_test(test_first_watch_begins_anew),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_waits),
		cmocka_unit_test(test_waiting_read_is_interrupted),
		cmocka_unit_test(test_epoll),
		cmocka_unit_test(test_mapping_is_one_page_to_read),
		cmocka_unit_test(test_mapping_outlives_the_descriptors),
		cmocka_unit_test(test_wrong_descriptors),
		cmocka_unit_test(test_structs),
		cmocka_unit_test(test_reader_without_the_right_to_write),
		cmocka_unit_test(test_another_process_and_user),
		cmocka_unit_test(test_fork_and_exec),
		cmocka_unit_test(test_descriptor_is_passed_on),
		cmocka_unit_test_teardown(test_limit_of_each_user, restore_limit),
		cmocka_unit_test(test_no_descriptor_left),
		cmocka_unit_test(test_watch_keeps_the_module),
		cmocka_unit_test(test_watch_keeps_the_mount),
		cmocka_unit_test(test_library_waits),
	};
	const struct table calls = {
		.group		= "watch",
		.rows		= call_rows,
		.row_size	= sizeof(call_rows[0]),
		.row_count	= COUNT(call_rows),
		.test		= test_call,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&calls);
}

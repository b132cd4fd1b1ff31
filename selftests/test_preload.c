// SPDX-License-Identifier: GPL-2.0
/*
 * libexchange-preload: what is written for XFS's ioctls exchanges through the device, on each
 * file system; everything else goes on to whom it is for.  This program loads the library for
 * itself: ioctl() is the library's here, direct_ioctl() the kernel's.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "scripts.h"
#include "watch.h"

#define PROGRAMS	"/usr/libexec/exchrange/"
#define WITH_LIBRARY	"LD_PRELOAD=" PRELOAD " "

/* The numbers; the calls are in common/xfs.c, by XFS's own header. */
#define IOC_EXCHANGE_RANGE	_IOC(_IOC_WRITE, 'X', 129, 40)
#define IOC_START_COMMIT	_IOC(_IOC_READ, 'X', 130, 88)
#define IOC_COMMIT_RANGE	_IOC(_IOC_WRITE, 'X', 131, 88)
#define IOC_FSGEOMETRY		_IOC(_IOC_READ, 'X', 126, 256)

static const struct file_spec spec = { SHAPE_PLAIN, 5 * BLOCK };

static int direct_ioctl(int fd, unsigned long request, void *argument)
{
	return syscall(SYS_ioctl, fd, request, argument);
}

/* --- exchanges -------------------------------------------------------------------- */

static struct exchrange_range whole(const struct pair *pair)
{
	return (struct exchrange_range) {
		.file1_fd	= pair->fd[0],
		.file2_fd	= pair->fd[1],
		.flags		= EXCHRANGE_TO_EOF,
	};
}

static struct exchrange_commit whole_commit(const struct pair *pair)
{
	return (struct exchrange_commit) {
		.file1_fd	= pair->fd[0],
		.file2_fd	= pair->fd[1],
		.flags		= EXCHRANGE_TO_EOF,
	};
}

/* Watches tell of exchanges through the device alone. */
static void assert_counted(const struct pair *pair, uint64_t count)
{
	assert_int_equal(read_count(pair->watch[0]), count);
	assert_int_equal(read_count(pair->watch[1]), count);
}

static void test_exchange_is_the_device_s(void **state)
{
	struct pair pair = make_pair(spec);
	struct exchrange_range range = whole(&pair);

	(void)state;
	assert_int_equal(xfs_exchange(&range), 0);
	assert_counted(&pair, 1);
	range.flags = EXCHRANGE_DRY_RUN | EXCHRANGE_TO_EOF;
	assert_int_equal(xfs_exchange(&range), 0);
	assert_counted(&pair, 0);
	drop_pair(&pair);
}

static void test_commit_is_the_device_s(void **state)
{
	struct pair pair = make_pair(spec);
	struct exchrange_commit commit = whole_commit(&pair);

	(void)state;
	assert_int_equal(xfs_start_commit(&commit), 0);
	wait_for_another_timestamp();
	assert_int_equal(xfs_commit(&commit), 0);
	assert_counted(&pair, 1);
	/* The first one was a change. */
	assert_int_equal(xfs_commit(&commit), EBUSY);
	assert_counted(&pair, 0);
	drop_pair(&pair);
}

/* XFS looks at nothing in it, and writes the sample alone. */
static void test_start_commit_reads_nothing(void **state)
{
	struct pair pair = make_pair(spec);
	unsigned char bytes[88];
	size_t i;

	(void)state;
	memset(bytes, 0xa5, sizeof(bytes));
	assert_int_equal(ioctl(pair.fd[1], IOC_START_COMMIT, bytes), 0);
	for (i = 0; i < 40; i++)
		assert_int_equal(bytes[i], 0xa5);
	drop_pair(&pair);
}

/* As by a C library whose request is an int. */
static void test_sign_is_no_part_of_the_number(void **state)
{
	struct pair pair = make_pair(spec);
	struct exchrange_commit commit = { 0 };

	(void)state;
	assert_int_equal(ioctl(pair.fd[1], (unsigned long)(int)IOC_START_COMMIT, &commit), 0);
	commit.file1_fd = pair.fd[0];
	commit.flags = EXCHRANGE_TO_EOF;
	assert_int_equal(ioctl(pair.fd[1], IOC_COMMIT_RANGE, &commit), 0);
	assert_counted(&pair, 1);
	drop_pair(&pair);
}

static void test_errno_stays_after_success(void **state)
{
	struct pair pair = make_pair(spec);
	struct exchrange_range range = whole(&pair);
	int other = open_path("/dev/shm", O_TMPFILE | O_RDWR), flags;

	(void)state;
	errno = ENOTUNIQ;
	assert_int_equal(ioctl(pair.fd[1], IOC_EXCHANGE_RANGE, &range), 0);
	assert_int_equal(errno, ENOTUNIQ);
	assert_int_equal(ioctl(other, FS_IOC_GETFLAGS, &flags), 0);
	assert_int_equal(errno, ENOTUNIQ);
	close(other);
	drop_pair(&pair);
}

/* --- the tables of the other tests, of calls by XFS's own header ------------------- */

static void run_with_library(const char *program)
{
	assert_int_equal(run("env -u TEST_FILTER " WITH_LIBRARY "CMOCKA_MESSAGE_OUTPUT=stdout " PROGRAMS "%s %s",
			     program, mount_point), 0);
}

static void test_table_of_exchanges(void **state)
{
	(void)state;
	run_with_library("test_exchange");
}

static void test_table_of_errors(void **state)
{
	(void)state;
	run_with_library("test_errors");
}

static void test_table_of_commits(void **state)
{
	(void)state;
	run_with_library("test_commit");
}

/* --- pointers and descriptors ------------------------------------------------------ */

static void *map_page_and_none(int protection)
{
	long page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(munmap(pages + page, page), 0);
	if (protection != (PROT_READ | PROT_WRITE))
		assert_int_equal(mprotect(pages, page, protection), 0);
	return pages;
}

static void assert_fault(int fd, unsigned long request, void *argument)
{
	assert_int_equal(ioctl(fd, request, argument), -1);
	assert_int_equal(errno, EFAULT);
	if (!kind->alone)
		return;
	assert_int_equal(direct_ioctl(fd, request, argument), -1);
	assert_int_equal(errno, EFAULT);
}

static void test_bad_pointers_are_efault(void **state)
{
	static const unsigned long requests[] = {
		IOC_EXCHANGE_RANGE, IOC_START_COMMIT, IOC_COMMIT_RANGE,
	};
	struct pair pair = make_pair(spec);
	long page = sysconf(_SC_PAGESIZE);
	char *end = map_page_and_none(PROT_READ | PROT_WRITE);
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(requests); i++) {
		assert_fault(pair.fd[1], requests[i], NULL);
		assert_fault(pair.fd[1], requests[i], (void *)UINTPTR_MAX);
		assert_fault(pair.fd[1], requests[i], end + page - 24);
	}
	munmap(end, page);
	end = map_page_and_none(PROT_READ);
	assert_fault(pair.fd[1], IOC_START_COMMIT, end);
	munmap(end, page);
	assert_counted(&pair, 0);
	drop_pair(&pair);
}

/* The device is the next descriptor: the file that was there before is not there. */
static void test_closed_file1_is_not_the_device(void **state)
{
	struct pair pair = make_pair(spec);
	struct exchrange_range range = whole(&pair);
	struct exchrange_commit commit = whole_commit(&pair);

	(void)state;
	assert_int_equal(xfs_start_commit(&commit), 0);
	range.file1_fd = dup(pair.fd[0]);
	commit.file1_fd = range.file1_fd;
	close(range.file1_fd);
	assert_int_equal(xfs_exchange(&range), EBADF);
	assert_int_equal(xfs_commit(&commit), EBADF);
	range.pad = 1;
	assert_int_equal(xfs_exchange(&range), EINVAL);
	assert_counted(&pair, 0);
	drop_pair(&pair);
}

static int exchange_after_closefrom(void *argument)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	int error;

	(void)argument;
	closefrom(3);
	range.file1_fd = open(path_of("file1"), O_RDWR);
	range.file2_fd = open(path_of("file2"), O_RDWR);
	error = xfs_exchange(&range);
	/* What it opened is closed again. */
	return error ? error : range.file1_fd != 3 || dup(0) != 5;
}

static int exchange_after_dup2(void *argument)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	int fd, error;

	(void)argument;
	range.file1_fd = open(path_of("file1"), O_RDWR);
	range.file2_fd = open(path_of("file2"), O_RDWR);
	error = xfs_exchange(&range);
	for (fd = 3; fd < 100; fd++)
		if (fd != range.file1_fd && fd != range.file2_fd)
			dup2(0, fd);
	return error ? error : xfs_exchange(&range);
}

static void test_descriptors_are_the_program_s_own(void **state)
{
	struct pair pair = make_pair(spec);

	(void)state;
	assert_int_equal(as_root(exchange_after_closefrom, NULL), 0);
	assert_counted(&pair, 1);
	assert_int_equal(as_root(exchange_after_dup2, NULL), 0);
	assert_counted(&pair, 2);
	drop_pair(&pair);
}

/* No descriptor is left for the device. */
static int exchange_without_room(void *argument)
{
	const struct rlimit none = { 0 };

	return setrlimit(RLIMIT_NOFILE, &none) ? 253 : xfs_exchange(argument);
}

static void test_without_room_for_the_device(void **state)
{
	struct pair pair = make_pair(spec);
	struct exchrange_range range = whole(&pair);

	(void)state;
	assert_int_equal(as_root(exchange_without_room, &range), EMFILE);
	assert_counted(&pair, 0);
	/* Where it is nothing for the device, that does not matter. */
	range.file2_fd = open_path("/dev/shm", O_TMPFILE | O_RDWR);
	assert_int_equal(as_root(exchange_without_room, &range), ENOTTY);
	close(range.file2_fd);
	drop_pair(&pair);
}

/* --- threads, signals, children ---------------------------------------------------- */

#define THREADS	8
#define ROUNDS	20

struct swapper {
	pthread_t	thread;
	struct pair	pair;
	int		errors;
};

static void *swap_often(void *argument)
{
	struct swapper *swapper = argument;
	struct exchrange_range range = whole(&swapper->pair);
	struct exchrange_commit commit = whole_commit(&swapper->pair);
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if (xfs_exchange(&range))
			swapper->errors++;
		if (xfs_start_commit(&commit) || xfs_commit(&commit))
			swapper->errors++;
	}
	return NULL;
}

/* The lowest number that is not open. */
static int next_descriptor(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static void test_threads_at_once(void **state)
{
	struct swapper swappers[THREADS] = { 0 };
	int i, next;

	(void)state;
	for (i = 0; i < THREADS; i++)
		swappers[i].pair = make_pair(spec);
	next = next_descriptor();
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&swappers[i].thread, NULL, swap_often,
						&swappers[i]), 0);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(swappers[i].thread, NULL), 0);
	assert_int_equal(next_descriptor(), next);
	for (i = 0; i < THREADS; i++) {
		assert_int_equal(swappers[i].errors, 0);
		assert_counted(&swappers[i].pair, 2 * ROUNDS);
		drop_pair(&swappers[i].pair);
	}
}

static struct exchrange_range signalled;
static atomic_int signals, signal_errors;

static void exchange_in_handler(int number)
{
	(void)number;
	signals++;
	if (xfs_exchange(&signalled))
		signal_errors++;
}

/* The C library's locks are held now and then when the signal comes. */
static void test_signal_handler(void **state)
{
	const struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { 0 };
	struct pair pair = make_pair(spec);
	int i;

	(void)state;
	signalled = whole(&pair);
	signal(SIGALRM, exchange_in_handler);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (i = 0; signals < 50 && i < 100000000; i++) {
		free(malloc(100000));
		setenv("SIGNALLED", "yes", 1);
		dlsym(RTLD_NEXT, "ioctl");
	}
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	signal(SIGALRM, SIG_DFL);
	assert_true(signals >= 50);
	assert_int_equal(signal_errors, 0);
	assert_counted(&pair, signals);
	drop_pair(&pair);
}

static void test_child_of_vfork(void **state)
{
	struct pair pair = make_pair(spec);
	struct exchrange_range range = whole(&pair);
	int status;
	pid_t pid;

	(void)state;
	pid = vfork();
	if (pid == 0)
		_exit(ioctl(range.file2_fd, IOC_EXCHANGE_RANGE, &range) ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_counted(&pair, 1);
	drop_pair(&pair);
}

static bool came_back;

static void *exchange_while_cancelled(void *argument)
{
	pthread_cancel(pthread_self());
	xfs_exchange(argument);
	came_back = true;
	pthread_testcancel();
	return NULL;
}

/* open(2) and close(2) are points of cancellation, ioctl(2) is none. */
static void test_no_point_of_cancellation(void **state)
{
	struct pair pair = make_pair(spec);
	struct exchrange_range range = whole(&pair);
	pthread_t thread;
	void *result;

	(void)state;
	came_back = false;
	assert_int_equal(pthread_create(&thread, NULL, exchange_while_cancelled, &range), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_true(came_back);
	assert_counted(&pair, 1);
	drop_pair(&pair);
}

/* --- everything else --------------------------------------------------------------- */

static int open_nothing(void)
{
	return -1;
}

static int open_file(void)
{
	return make_file("file1", spec, 1);
}

static int open_folder(void)
{
	return open_path(mount_point, O_RDONLY);
}

static int open_fifo(void)
{
	unlink(path_of("fifo"));
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	return open_path(path_of("fifo"), O_RDWR);
}

static int open_elsewhere(void)
{
	return open_path("/dev/shm", O_TMPFILE | O_RDWR);
}

static int open_null(void)
{
	return open_path("/dev/null", O_RDWR);
}

static int open_terminal(void)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY);

	assert_true(fd >= 0);
	return fd;
}

static const struct other_row {
	const char	*name;
	int		(*open)(void);
	unsigned long	request;
} others[] = {
	{ "file flags",				open_file,	FS_IOC_GETFLAGS },
	{ "attributes",				open_file,	FS_IOC_FSGETXATTR },
	{ "extents",				open_file,	FS_IOC_FIEMAP },
	{ "a clone of nothing",			open_file,	FICLONE },
	{ "a range of a clone",			open_file,	FICLONERANGE },
	{ "XFS's geometry of a file",		open_file,	IOC_FSGEOMETRY },
	{ "XFS's geometry of a directory",	open_folder,	IOC_FSGEOMETRY },
	{ "XFS's old exchange",			open_file,	_IOC(_IOC_READ | _IOC_WRITE, 'X', 109, 192) },
	{ "a number of XFS that is none",	open_file,	_IO('X', 200) },
	{ "a number of nobody",			open_file,	_IO(0xfe, 77) },
	{ "an exchange of another size",	open_file,	_IOC(_IOC_WRITE, 'X', 129, 48) },
	{ "an exchange in another direction",	open_file,	_IOC(_IOC_READ, 'X', 129, 40) },
	{ "the device's own exchange",		open_file,	EXCHRANGE_IOC_EXCHANGE },
	{ "a terminal's modes, of a file",	open_file,	TCGETS },
	{ "a terminal's modes",			open_terminal,	TCGETS },
	{ "a terminal's size",			open_terminal,	TIOCGWINSZ },
	{ "a terminal's queue",			open_terminal,	FIONREAD },
	{ "an exchange, of a terminal",		open_terminal,	IOC_EXCHANGE_RANGE },
	{ "an exchange, of a fifo",		open_fifo,	IOC_EXCHANGE_RANGE },
	{ "a start, of a fifo",			open_fifo,	IOC_START_COMMIT },
	{ "an exchange, of the null device",	open_null,	IOC_EXCHANGE_RANGE },
	{ "an exchange, of tmpfs",		open_elsewhere,	IOC_EXCHANGE_RANGE },
	{ "a start, of tmpfs",			open_elsewhere,	IOC_START_COMMIT },
	{ "a commit, of tmpfs",			open_elsewhere,	IOC_COMMIT_RANGE },
	{ "an exchange, of no descriptor",	open_nothing,	IOC_EXCHANGE_RANGE },
	{ "a commit, of no descriptor",		open_nothing,	IOC_COMMIT_RANGE },
};

/* With the library and without it: the same result, errno and bytes. */
static void test_other_row(void **state)
{
	const struct other_row *row = *state;
	unsigned char with[4096] = { 0 }, without[4096] = { 0 };
	int fd = row->open(), result, error;

	errno = 0;
	result = direct_ioctl(fd, row->request, without);
	error = errno;
	errno = 0;
	assert_int_equal(ioctl(fd, row->request, with), result);
	assert_int_equal(errno, error);
	assert_memory_equal(with, without, sizeof(with));
	if (fd >= 0)
		close(fd);
}

/* An argument that is a number, and one that is not there. */
static void test_arguments_that_are_no_pointers(void **state)
{
	int fd1 = make_file("file1", spec, 1), fd2 = make_file("file2", spec, 2);
	struct picture picture = take_picture(fd1), clone;
	int pipes[2];

	(void)state;
	assert_int_equal(ioctl(fd2, FICLONE, fd1), direct_ioctl(fd2, FICLONE, (void *)(intptr_t)fd1));
	clone = take_picture(fd2);
	assert_true(same_bytes(&picture, &clone));
	drop_picture(&picture);
	drop_picture(&clone);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(ioctl(pipes[0], FIOCLEX), 0);
	assert_int_equal(fcntl(pipes[0], F_GETFD), FD_CLOEXEC);
	close(pipes[0]);
	close(pipes[1]);
	close(fd1);
	close(fd2);
}

/* --- the ways to ask for it, and where there is no device -------------------------- */

/* What XFS's own exchange of two such files comes to, where there is no library. */
static int answer_without_library(const struct pair *pair)
{
	struct exchrange_range range = whole(pair);

	return direct_ioctl(range.file2_fd, IOC_EXCHANGE_RANGE, &range) ? errno : 0;
}

/* This program with the library, as --exchange: its exit status is the errno. */
static struct outcome exchange_by_program(const char *before, const char *environment)
{
	return run_and_keep("%s env " WITH_LIBRARY "%s " PROGRAMS "test_preload --exchange %s %s",
			    before, environment, path_of("file1"), path_of("file2"));
}

static void assert_way(const char *environment, bool device_if_alone, const char *text)
{
	struct pair pair = make_pair(spec);
	struct outcome outcome = exchange_by_program("", environment);

	assert_int_equal(outcome.status, 0);
	assert_string_equal(outcome.err, text);
	assert_counted(&pair, !kind->alone || device_if_alone);
	drop_outcome(&outcome);
	drop_pair(&pair);
}

static void test_always(void **state)
{
	(void)state;
	assert_way("", true, "");
	assert_way("EXCHRANGE_PRELOAD=", true, "");
	assert_way("EXCHRANGE_PRELOAD=always", true, "");
}

static void test_fallback(void **state)
{
	(void)state;
	assert_way("EXCHRANGE_PRELOAD=fallback", false, "");
}

static void test_another_value_is_told_once(void **state)
{
	(void)state;
	assert_way("EXCHRANGE_PRELOAD=sometimes", true,
		   "libexchange-preload: EXCHRANGE_PRELOAD is 'sometimes', which is neither always nor fallback: taken as always\n");
}

/* In a mount namespace of its own: no device, or something else in its place. */
static void test_without_the_device(void **state)
{
	static const char *const hidings[] = {
		"mount -t tmpfs none /dev", "mount --bind /dev/null /dev/exchrange",
	};
	struct outcome outcome;
	struct pair pair;
	char before[128];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(hidings); i++) {
		pair = make_pair(spec);
		snprintf(before, sizeof(before), "unshare -m sh -c '%s && exec \"$@\"' -", hidings[i]);
		outcome = exchange_by_program(before, "");
		assert_string_equal(outcome.err, "");
		assert_int_equal(outcome.status, answer_without_library(&pair));
		assert_counted(&pair, 0);
		drop_outcome(&outcome);
		drop_pair(&pair);
	}
}

/* --- people's programs --------------------------------------------------------------- */

static int enter(void **state)
{
	(void)state;
	return enter_folder("preload");
}

/* xfs_io before 6.10 knows no exchange, and the one of Debian 12 is 6.1. */
static void need_xfs_io(void)
{
	if (is_btrfs() || run("xfs_io -c 'help commitupdate' | grep -q atomically"))
		skip();
}

#define XFS_IO	WITH_LIBRARY "xfs_io "

static void test_xfs_io_exchanges(void **state)
{
	(void)state;
	need_xfs_io();
	check("seq 1000 >g; cp f f.old; cp g g.old; " XFS_IO "-c 'exchangerange g' f"
	      " && cmp f g.old && cmp g f.old");
	check("head -c 8192 /dev/urandom >a; head -c 8192 /dev/urandom >b; cp a a.old; cp b b.old; "
	      XFS_IO "-c 'exchangerange -f -s 4096 -d 0 -l 4096 a' b"
	      " && { tail -c 4096 a.old; tail -c 4096 b.old; } | cmp - b"
	      " && { head -c 4096 a.old; head -c 4096 b.old; } | cmp - a");
	check("cp f f.old; " XFS_IO "-c 'exchangerange -n g' f && cmp f f.old");
	check("cp f f.old; cp g g.old; " XFS_IO "-c 'exchangerange -c g' f && cmp f g.old && cmp g f.old");
}

static void test_xfs_io_updates(void **state)
{
	(void)state;
	need_xfs_io();
	check("seq 1000 >f; i=$(stat -c %i f); " XFS_IO "-c startupdate -c 'pwrite -S 0x61 0 4097' -c commitupdate ./f >said; cat said;"
	      " grep -q 'Committed updates' said && test $i = $(stat -c %i f) && test $(stat -c %s f) = 4097 && test -z \"$(tr -d a <f)\"");
	check("echo old >f; " XFS_IO "-c startupdate -c 'pwrite -S 0x61 0 4097' -c cancelupdate ./f && echo old | cmp - f");
}

static void test_xfs_io_update_of_a_changed_file(void **state)
{
	(void)state;
	need_xfs_io();
	check("mkfifo in; " XFS_IO "./f <in >said 2>&1 & exec 3>in; printf 'startupdate\\npwrite -S 0x61 0 4097\\n' >&3;"
	      UNTIL("stat -L -c %s /proc/$(pgrep -nx xfs_io)/fd/* 2>/dev/null | grep -qx 4097")
	      "echo theirs >>f; cp f f.old; printf 'commitupdate\\ncancelupdate\\nquit\\n' >&3; exec 3>&-; wait; cat said;"
	      " grep -q 'committing update: Device or resource busy' said && cmp f f.old");
}

static void test_xfs_io_refuses_btrfs_by_itself(void **state)
{
	(void)state;
	if (!is_btrfs())
		skip();
	check("echo other >g; cp f f.old; " XFS_IO "-c 'exchangerange g' f 2>&1 | grep 'foreign file active'; cmp f f.old");
}

/* It asks for the exchange itself first, and for XFS's older one where that fails. */
static void defragment(const char *attributes)
{
	static const struct file_spec scattered = { SHAPE_SCATTERED, 64 * BLOCK };
	int fd = make_file("scattered", scattered, 1), watch = watch_file(fd);
	unsigned int before = count_extents(fd);
	struct picture picture = take_picture(fd), now;

	assert_true(before > 32);
	assert_int_equal(run("cd %s && { %s }", mount_point, attributes), 0);
	assert_int_equal(run("cd %s && " WITH_LIBRARY "xfs_fsr -v scattered", mount_point), 0);
	assert_true(count_extents(fd) < before / 8);
	assert_int_equal(read_count(watch), 1);
	now = take_picture(fd);
	assert_true(same_bytes(&picture, &now));
	assert_int_equal(now.st.st_ino, picture.st.st_ino);
	drop_picture(&picture);
	drop_picture(&now);
	close(watch);
	close(fd);
}

static void test_xfs_fsr_defragments(void **state)
{
	(void)state;
	need_xfs_io();
	defragment("true;");
	/* Its copy has another fork of attributes, which the older exchange does not take. */
	defragment("setfacl -m u:33:r,u:34:r,u:35:r,u:36:r scattered;"
		   " for i in $(seq 30); do setfattr -n user.$i -v 0123456789 scattered; done;");
}

/* --- the beginning --------------------------------------------------------------- */

static int exchange_paths(const char *path1, const char *path2)
{
	struct exchrange_range range = {
		.file1_fd	= open(path1, O_RDWR),
		.file2_fd	= open(path2, O_RDWR),
		.flags		= EXCHRANGE_TO_EOF,
	};
	int error;

	errno = ENOTUNIQ;
	error = xfs_exchange(&range);
	/* Success leaves it alone, whoever was asked before. */
	return error || errno == ENOTUNIQ ? error : 252;
}

static bool is_library_s(void *function)
{
	Dl_info info;

	return dladdr(function, &info) && strstr(info.dli_fname, PRELOAD);
}

/* Begins anew with the library, which what it runs does not get unasked. */
static void load_library(char **argv)
{
	if (!is_preloaded()) {
		setenv("LD_PRELOAD", PRELOAD, 1);
		execv("/proc/self/exe", argv);
		perror("/proc/self/exe");
		exit(1);
	}
	if (!is_library_s(dlsym(RTLD_DEFAULT, "ioctl"))) {
		fprintf(stderr, PRELOAD " is not found\n");
		exit(1);
	}
	unsetenv("LD_PRELOAD");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exchange_is_the_device_s),
		cmocka_unit_test(test_commit_is_the_device_s),
		cmocka_unit_test(test_start_commit_reads_nothing),
		cmocka_unit_test(test_sign_is_no_part_of_the_number),
		cmocka_unit_test(test_errno_stays_after_success),
		cmocka_unit_test(test_table_of_exchanges),
		cmocka_unit_test(test_table_of_errors),
		cmocka_unit_test(test_table_of_commits),
		cmocka_unit_test(test_bad_pointers_are_efault),
		cmocka_unit_test(test_closed_file1_is_not_the_device),
		cmocka_unit_test(test_descriptors_are_the_program_s_own),
		cmocka_unit_test(test_without_room_for_the_device),
		cmocka_unit_test(test_threads_at_once),
		cmocka_unit_test(test_signal_handler),
		cmocka_unit_test(test_child_of_vfork),
		cmocka_unit_test(test_no_point_of_cancellation),
		cmocka_unit_test(test_arguments_that_are_no_pointers),
		cmocka_unit_test(test_always),
		cmocka_unit_test(test_fallback),
		cmocka_unit_test(test_another_value_is_told_once),
		cmocka_unit_test(test_without_the_device),
		cmocka_unit_test_setup(test_xfs_io_exchanges, enter),
		cmocka_unit_test_setup(test_xfs_io_updates, enter),
		cmocka_unit_test_setup(test_xfs_io_update_of_a_changed_file, enter),
		cmocka_unit_test_setup(test_xfs_io_refuses_btrfs_by_itself, enter),
		cmocka_unit_test(test_xfs_fsr_defragments),
	};
	static const struct table table = {
		.group		= "passed on",
		.rows		= others,
		.row_size	= sizeof(others[0]),
		.row_count	= COUNT(others),
		.test		= test_other_row,
		.others		= tests,
		.other_count	= COUNT(tests),
	};

	if (argc == 4 && !strcmp(argv[1], "--exchange"))
		return exchange_paths(argv[2], argv[3]);
	load_library(argv);
	start(argc, argv);
	return run_table(&table);
}

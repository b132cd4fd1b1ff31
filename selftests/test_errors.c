// SPDX-License-Identifier: GPL-2.0
/*
 * Every error of the contract, as an exchange and as a commit, asked for by root and
 * by nobody; afterwards both files are what they were.  The answer is the same as
 * XFS's own ioctl gives, where the call can be put to it.  What takes a full disk or
 * a quota is in test_space.c, EBUSY in test_commit.c.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <unistd.h>

#include "common.h"

#define SIZE	(64 * 1024ull)

/* The call that a row makes: a good one, until its prepare() spoils it. */
struct call {
	struct exchrange_range	range;
	bool			device_only;	/* XFS has no word for it */
	bool			exchange_only;	/* START_COMMIT answers first */
	rlim_t			file_size_limit;
};

struct row {
	const char *name;
	int error;
	void (*prepare)(struct call *call);
	void (*undo)(void);
};

static void bad_file1(struct call *call)
{
	call->range.file1_fd = -1;
}

static void bad_file2(struct call *call)
{
	call->range.file2_fd = 1000;
}

static int *fd_of(struct call *call, int file)
{
	return file == 1 ? &call->range.file1_fd : &call->range.file2_fd;
}

/* Opens file 1 or 2 again with other flags. */
static void reopen(struct call *call, int file, int flags)
{
	int *fd = fd_of(call, file);

	close(*fd);
	*fd = open_path(path_of(file == 1 ? "file1" : "file2"), flags);
}

static void readonly_file1(struct call *call)
{
	reopen(call, 1, O_RDONLY);
}

static void readonly_file2(struct call *call)
{
	reopen(call, 2, O_RDONLY);
}

static void writeonly_file1(struct call *call)
{
	reopen(call, 1, O_WRONLY);
}

static void append_file1(struct call *call)
{
	reopen(call, 1, O_RDWR | O_APPEND);
}

static void append_file2(struct call *call)
{
	reopen(call, 2, O_RDWR | O_APPEND);
}

static void path_file1(struct call *call)
{
	reopen(call, 1, O_PATH);
}

static void path_file2(struct call *call)
{
	reopen(call, 2, O_PATH);
}

static void use_path(struct call *call, int file, const char *path, int flags)
{
	int *fd = fd_of(call, file);

	close(*fd);
	*fd = open_path(path, flags);
}

static void directory_file1(struct call *call)
{
	use_path(call, 1, mount_point, O_RDONLY);
}

static void directory_file2(struct call *call)
{
	use_path(call, 2, mount_point, O_RDONLY);
}

static void use_fifo(struct call *call, int file)
{
	unlink(path_of("fifo"));
	assert_int_equal(mkfifo(path_of("fifo"), 0666), 0);
	use_path(call, file, path_of("fifo"), O_RDWR);
	call->device_only = file == 2;
}

static void fifo_file1(struct call *call)
{
	use_fifo(call, 1);
}

static void fifo_file2(struct call *call)
{
	use_fifo(call, 2);
}

static void pipe_and_pipe(struct call *call)
{
	int fds[2];

	close(call->range.file1_fd);
	close(call->range.file2_fd);
	assert_int_equal(pipe(fds), 0);
	call->range.file1_fd = fds[0];
	call->range.file2_fd = fds[1];
	call->device_only = true;
}

static void socket_file1(struct call *call)
{
	close(call->range.file1_fd);
	call->range.file1_fd = socket(AF_UNIX, SOCK_STREAM, 0);
}

static void other_file_system_file1(struct call *call)
{
	use_path(call, 1, "/tmp", O_TMPFILE | O_RDWR);
}

static void other_file_system_file2(struct call *call)
{
	use_path(call, 2, "/tmp", O_TMPFILE | O_RDWR);
	call->device_only = true;
	call->exchange_only = true;
}

static void other_mount(struct call *call)
{
	assert_int_equal(run("mkdir -p /tmp/bind && mount --bind '%s' /tmp/bind",
			     mount_point), 0);
	use_path(call, 1, "/tmp/bind/file1", O_RDWR);
}

static void undo_other_mount(void)
{
	assert_int_equal(run("umount /tmp/bind"), 0);
}

static void no_backend(struct call *call)
{
	use_path(call, 1, "/tmp", O_TMPFILE | O_RDWR);
	use_path(call, 2, "/tmp", O_TMPFILE | O_RDWR);
	assert_int_equal(ftruncate(call->range.file1_fd, SIZE), 0);
	assert_int_equal(ftruncate(call->range.file2_fd, SIZE), 0);
	call->device_only = true;
}

static void set_immutable(int file, bool on)
{
	int fd = open_path(path_of(file == 1 ? "file1" : "file2"), O_RDONLY);
	int flags;

	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
}

static void immutable_file1(struct call *call)
{
	(void)call;
	set_immutable(1, true);
}

static void immutable_file2(struct call *call)
{
	(void)call;
	set_immutable(2, true);
}

static void undo_immutable(void)
{
	set_immutable(1, false);
	set_immutable(2, false);
}

/* A swap file as it has to be made: on btrfs without CoW, which takes an empty one. */
static void turn_swap_on(const char *name)
{
	const char *path = path_of(name);

	assert_int_equal(run("truncate -s 0 '%s' && chmod 600 '%s'"
			     " && { [ %s != btrfs ] || chattr +C '%s'; }"
			     " && dd if=/dev/zero of='%s' bs=64k count=1 status=none"
			     " && mkswap -q '%s'",
			     path, path, kind->name, path, path, path), 0);
	assert_int_equal(swapon(path, 0), 0);
}

/* Nobody's own swap file: only root may turn it on, which happened here. */
static void swap_file1(struct call *call)
{
	(void)call;
	/* overlayfs has none. */
	if (is_overlay())
		skip();
	turn_swap_on("file1");
}

static void undo_swap_file1(void)
{
	assert_int_equal(swapoff(path_of("file1")), 0);
}

static void swap_file2(struct call *call)
{
	(void)call;
	/* overlayfs has none. */
	if (is_overlay())
		skip();
	turn_swap_on("file2");
}

static void undo_swap_file2(void)
{
	assert_int_equal(swapoff(path_of("file2")), 0);
}

/* Of a read-only mount there are read-only descriptors alone: open(2) is EROFS. */
static void readonly_mount(struct call *call)
{
	assert_int_equal(run("mkdir -p /tmp/bind && mount --bind '%s' /tmp/bind && mount -o remount,bind,ro /tmp/bind",
			     mount_point), 0);
	assert_int_equal(open("/tmp/bind/file1", O_RDWR), -1);
	assert_int_equal(errno, EROFS);
	use_path(call, 1, "/tmp/bind/file1", O_RDONLY);
	use_path(call, 2, "/tmp/bind/file2", O_RDONLY);
}

/* Two faults each: the first in the order of the checks decides. */
static void other_file_system_and_directory(struct call *call)
{
	use_path(call, 1, "/tmp", O_RDONLY);
}

static void fifo_and_directory(struct call *call)
{
	use_fifo(call, 1);
	use_path(call, 2, mount_point, O_RDONLY);
}

static void directory_and_wrap(struct call *call)
{
	use_path(call, 1, mount_point, O_RDONLY);
	call->range.file1_offset = UINT64_MAX;
}

static void readonly_and_wrap(struct call *call)
{
	reopen(call, 2, O_RDONLY);
	call->range.file1_offset = UINT64_MAX;
}

static void past_eof_file1(struct call *call)
{
	call->range.file1_offset = SIZE + BLOCK;
}

static void past_eof_file2(struct call *call)
{
	call->range.file2_offset = SIZE;
	call->range.length = BLOCK;
}

static void unaligned(struct call *call)
{
	call->range.file2_offset = 100;
}

static void overlap(struct call *call)
{
	reopen(call, 2, O_RDWR);
	close(call->range.file1_fd);
	call->range.file1_fd = open_path(path_of("file2"), O_RDWR);
	call->range.file1_offset = BLOCK;
	call->range.length = 2 * BLOCK;
}

static void wrap(struct call *call)
{
	call->range.file1_offset = BLOCK;
	call->range.length = UINT64_MAX - BLOCK + 1;
}

static void limit_before_range(struct call *call)
{
	call->range.file1_offset = 8 * BLOCK;
	call->range.file2_offset = 8 * BLOCK;
	call->file_size_limit = 4 * BLOCK;
}

static void limit_within_range(struct call *call)
{
	call->range.length = 8 * BLOCK;
	call->file_size_limit = 4 * BLOCK;
}

static const struct row rows[] = {
	{ "EBADF: file1 is no descriptor", EBADF, bad_file1 },
	{ "EBADF: file2 is no descriptor", EBADF, bad_file2 },
	{ "EBADF: file1 is read-only", EBADF, readonly_file1 },
	{ "EBADF: file2 is read-only", EBADF, readonly_file2 },
	{ "EBADF: file1 is write-only", EBADF, writeonly_file1 },
	{ "EBADF: file1 is O_APPEND", EBADF, append_file1 },
	{ "EBADF: file2 is O_APPEND", EBADF, append_file2 },
	{ "EBADF: file1 is O_PATH", EBADF, path_file1 },
	{ "EBADF: file2 is O_PATH", EBADF, path_file2 },
	{ "EISDIR: file1 is a directory", EISDIR, directory_file1 },
	{ "EISDIR: file2 is a directory", EISDIR, directory_file2 },
	{ "EINVAL: file1 is a FIFO", EINVAL, fifo_file1 },
	{ "EINVAL: file2 is a FIFO", EINVAL, fifo_file2 },
	{ "EINVAL: both ends of a pipe", EINVAL, pipe_and_pipe },
	{ "EXDEV: file1 is a socket", EXDEV, socket_file1 },
	{ "EXDEV: file1 on another file system", EXDEV,
	  other_file_system_file1 },
	{ "EXDEV: file2 on another file system", EXDEV,
	  other_file_system_file2 },
	{ "EXDEV: file1 on another mount", EXDEV, other_mount,
	  undo_other_mount },
	{ "EOPNOTSUPP: a file system without a back end", EOPNOTSUPP,
	  no_backend },
	{ "EPERM: file1 is immutable", EPERM, immutable_file1, undo_immutable },
	{ "EPERM: file2 is immutable", EPERM, immutable_file2, undo_immutable },
	{ "ETXTBSY: file1 is a swap file", ETXTBSY, swap_file1,
	  undo_swap_file1 },
	{ "ETXTBSY: file2 is a swap file", ETXTBSY, swap_file2,
	  undo_swap_file2 },
	{ "EROFS by open, EBADF by the call: a read-only mount", EBADF,
	  readonly_mount, undo_other_mount },
	{ "EXDEV before EISDIR", EXDEV, other_file_system_and_directory },
	{ "EISDIR before EINVAL of a FIFO", EISDIR, fifo_and_directory },
	{ "EISDIR before EINVAL of a range", EISDIR, directory_and_wrap },
	{ "EBADF before EINVAL of a range", EBADF, readonly_and_wrap },
	{ "EINVAL: an offset past EOF of file1", EINVAL, past_eof_file1 },
	{ "EINVAL: a range past EOF of file2", EINVAL, past_eof_file2 },
	{ "EINVAL: an unaligned range", EINVAL, unaligned },
	{ "EINVAL: overlapping ranges of one file", EINVAL, overlap },
	{ "EINVAL: a range that wraps", EINVAL, wrap },
	{ "EFBIG: a range that starts past RLIMIT_FSIZE", EFBIG,
	  limit_before_range },
	{ "EINVAL: a range that crosses RLIMIT_FSIZE", EINVAL,
	  limit_within_range },
};

struct attempt {
	int (*exchange)(const struct exchrange_range *range);
	const struct call *call;
};

static int try_exchange(void *argument)
{
	const struct attempt *attempt = argument;
	const struct call *call = attempt->call;
	const struct rlimit limit = {
		.rlim_cur = call->file_size_limit,
		.rlim_max = call->file_size_limit,
	};

	signal(SIGXFSZ, SIG_IGN);
	if (call->file_size_limit && setrlimit(RLIMIT_FSIZE, &limit))
		return 254;
	return attempt->exchange(&call->range);
}

static void assert_answer(const struct call *call, int error,
			  int (*exchange)(const struct exchrange_range *range))
{
	struct attempt attempt = { exchange, call };

	assert_int_equal(as_root(try_exchange, &attempt), error);
	assert_int_equal(as_nobody(try_exchange, &attempt), error);
}

/* An exchange and a commit, through the device and with XFS's own ioctl. */
static void assert_answers(const struct call *call, int error)
{
	assert_answer(call, error, device_exchange);
	if (!call->exchange_only)
		assert_answer(call, error, device_exchange_by_commit);
	if (call->device_only || !has_reference())
		return;
	assert_answer(call, error, xfs_exchange);
	assert_answer(call, error, xfs_exchange_by_commit);
}

static void test_row(void **state)
{
	static const struct file_spec plain = { SHAPE_PLAIN, SIZE };
	const struct row *row = *state;
	int fd1 = make_file("file1", plain, 1);
	int fd2 = make_file("file2", plain, 2);
	struct call call = {
		.range.file1_fd	= dup(fd1),
		.range.file2_fd	= dup(fd2),
		.range.length	= BLOCK,
	};
	struct picture before[2];

	row->prepare(&call);
	before[0] = take_picture(fd1);
	before[1] = take_picture(fd2);
	assert_answers(&call, row->error);
	if (row->undo) {
		close(call.range.file1_fd);
		close(call.range.file2_fd);
		row->undo();
	}
	/* Turning immutability off is a change of its own: bytes only. */
	if (!row->undo) {
		assert_unchanged(&before[0], fd1);
		assert_unchanged(&before[1], fd2);
		close(call.range.file1_fd);
		close(call.range.file2_fd);
	} else {
		struct picture after[2] = { take_picture(fd1), take_picture(fd2) };

		assert_true(same_bytes(&before[0], &after[0]));
		assert_true(same_bytes(&before[1], &after[1]));
		drop_picture(&after[0]);
		drop_picture(&after[1]);
	}
	drop_picture(&before[0]);
	drop_picture(&before[1]);
	close(fd1);
	close(fd2);
}

/* What spoils no call: the same request, untouched, succeeds. */
static void test_good_call_works_for_nobody(void **state)
{
	static const struct file_spec plain = { SHAPE_PLAIN, SIZE };
	struct call call = {
		.range.file1_fd	= make_file("file1", plain, 1),
		.range.file2_fd	= make_file("file2", plain, 2),
		.range.length	= BLOCK,
	};
	struct attempt attempt = { device_exchange, &call };

	(void)state;
	assert_int_equal(as_nobody(try_exchange, &attempt), 0);
	close(call.range.file1_fd);
	close(call.range.file2_fd);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_good_call_works_for_nobody),
	};
	static const struct table table = {
		.group		= "errors",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_row,
		.others		= others,
		.other_count	= COUNT(others),
	};

	start(argc, argv);
	return run_table(&table);
}

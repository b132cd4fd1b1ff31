// SPDX-License-Identifier: MIT
/*
 * libexchange-preload: programs that know XFS's ioctls for exchanges use the device.
 *
 *	LD_PRELOAD=libexchange-preload.so PROGRAM
 *
 * A program may call ioctl(2) in a signal handler, between vfork and exec, in many threads,
 * and after it has closed or replaced every descriptor that it did not open.  So the device
 * is open for the time of one call only, nothing but what the constructor has set is kept
 * from one call to the next, and all of it is made of plain system calls: no memory is
 * allocated, no lock is taken, and no call here is a point of cancellation.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/exchrange.h>

#include "preload.h"

#define DEVICE	"/dev/exchrange"

/*
 * ioctl_xfs_exchange_range(2), ioctl_xfs_commit_range(2).  They are called for file2.  Their
 * structs are the beginnings of ours, up to file2_fd.
 */
#define XFS_EXCHANGE_RANGE_SIZE	offsetof(struct exchrange_range, file2_fd)
#define XFS_COMMIT_RANGE_SIZE	offsetof(struct exchrange_commit, file2_fd)
#define XFS_IOC_EXCHANGE_RANGE	_IOC(_IOC_WRITE, 'X', 129, XFS_EXCHANGE_RANGE_SIZE)
#define XFS_IOC_START_COMMIT	_IOC(_IOC_READ, 'X', 130, XFS_COMMIT_RANGE_SIZE)
#define XFS_IOC_COMMIT_RANGE	_IOC(_IOC_WRITE, 'X', 131, XFS_COMMIT_RANGE_SIZE)

typedef int ioctl_function(int fd, unsigned long request, ...);

/* Who would have been called without this library; NULL before the constructor has run. */
static ioctl_function *next_ioctl, *next_ioctl_time64;

/* Files that XFS's own ioctl can exchange are left to it. */
static bool only_where_missing;

static int fail(int error)
{
	errno = error;
	return -1;
}

/* --- the caller's memory --------------------------------------------------------- */

typedef ssize_t vm_function(pid_t pid, const struct iovec *here, unsigned long here_count,
			    const struct iovec *there, unsigned long there_count,
			    unsigned long flags);

/*
 * It may not be there, which is EFAULT and no SIGSEGV: so the kernel copies, between @here and
 * @user.  A kernel or a filter of system calls may have no such copy: 1, and the caller copies.
 */
static int copy_by_kernel(vm_function *function, void *here, void *user, size_t size)
{
	const struct iovec local = { here, size }, remote = { user, size };
	ssize_t count = function(getpid(), &local, 1, &remote, 1, 0);

	if (count < 0 && errno != EFAULT)
		return 1;
	return count == (ssize_t)size ? 0 : fail(EFAULT);
}

static int read_argument(void *to, void *user, size_t size)
{
	int ret = copy_by_kernel(process_vm_readv, to, user, size);

	if (ret > 0)
		memcpy(to, user, size);
	return ret < 0 ? -1 : 0;
}

static int write_argument(void *user, void *from, size_t size)
{
	int ret = copy_by_kernel(process_vm_writev, from, user, size);

	if (ret > 0)
		memcpy(user, from, size);
	return ret < 0 ? -1 : 0;
}

/* --- the device ------------------------------------------------------------------ */

static int device_ioctl(int device, unsigned int request, void *argument)
{
	return syscall(SYS_ioctl, device, request, argument);
}

/* The device took the lowest number that was free: to the caller there is no such file. */
static int without_device(int fd, int device)
{
	return fd == device ? -1 : fd;
}

static int exchange(int device, int file2, void *user)
{
	struct exchrange_range range = { 0 };

	if (read_argument(&range, user, XFS_EXCHANGE_RANGE_SIZE))
		return -1;
	range.file1_fd = without_device(range.file1_fd, device);
	range.file2_fd = file2;
	return device_ioctl(device, EXCHRANGE_IOC_EXCHANGE, &range);
}

/* Of the struct it is only the sample that XFS looks at. */
static int start_commit(int device, int file2, void *user)
{
	struct exchrange_commit commit = { .file2_fd = file2 };

	if (device_ioctl(device, EXCHRANGE_IOC_START_COMMIT, &commit))
		return -1;
	return write_argument((char *)user + offsetof(struct exchrange_commit, file2_freshness),
			      commit.file2_freshness, sizeof(commit.file2_freshness));
}

static int commit(int device, int file2, void *user)
{
	struct exchrange_commit commit = { 0 };

	if (read_argument(&commit, user, XFS_COMMIT_RANGE_SIZE))
		return -1;
	commit.file1_fd = without_device(commit.file1_fd, device);
	commit.file2_fd = file2;
	return device_ioctl(device, EXCHRANGE_IOC_COMMIT, &commit);
}

static int exchange_ioctl(int device, int file2, unsigned int request, void *user)
{
	switch (request) {
	case XFS_IOC_EXCHANGE_RANGE:
		return exchange(device, file2, user);
	case XFS_IOC_START_COMMIT:
		return start_commit(device, file2, user);
	default:
		return commit(device, file2, user);
	}
}

/* --- whom to ask ----------------------------------------------------------------- */

/* Elsewhere the numbers may mean anything. */
static bool may_have_back_end(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	return (unsigned int)fs.f_type == XFS_SUPER_MAGIC ||
	       (unsigned int)fs.f_type == BTRFS_SUPER_MAGIC;
}

/* Whether the device answers for @fd: files with a back end, and directories. */
static bool answers_for(int device, int fd)
{
	struct exchrange_query query = { .fd = fd };

	if (device_ioctl(device, EXCHRANGE_IOC_QUERY, &query))
		return errno == EISDIR;
	if (query.backend == EXCHRANGE_BACKEND_XFS)
		return !only_where_missing;
	return query.backend != EXCHRANGE_BACKEND_NONE;
}

/* As open(2), and close(2), without being points of cancellation. */
static int open_device(void)
{
	return syscall(SYS_openat, AT_FDCWD, DEVICE, O_RDWR | O_CLOEXEC);
}

static void close_device(int device)
{
	int error = errno;

	syscall(SYS_close, device);
	errno = error;
}

/* open_device() has failed; is the device there all the same? */
static bool has_no_room(void)
{
	int error = errno;
	bool full = error == EMFILE || error == ENFILE || error == ENOMEM;

	full = full && syscall(SYS_faccessat, AT_FDCWD, DEVICE, F_OK) == 0;
	errno = error;
	return full;
}

/* false: this is not for the device.  Otherwise *@result, and errno with it. */
static bool ask_device(int file2, unsigned int request, void *user, int *result)
{
	bool asked;
	int device;

	if (!may_have_back_end(file2))
		return false;
	device = open_device();
	if (device < 0) {
		*result = -1;
		return has_no_room();
	}
	asked = answers_for(device, file2);
	if (asked)
		*result = exchange_ioctl(device, file2, request, user);
	close_device(device);
	return asked;
}

/* --- what programs call ---------------------------------------------------------- */

static bool is_exchange(unsigned int request)
{
	return request == XFS_IOC_EXCHANGE_RANGE || request == XFS_IOC_START_COMMIT ||
	       request == XFS_IOC_COMMIT_RANGE;
}

static int take(ioctl_function *next, int fd, unsigned long request, void *argument)
{
	int error = errno, result = 0;

	/* The kernel takes 32 bits of it, too. */
	if (is_exchange(request)) {
		if (ask_device(fd, request, argument, &result)) {
			if (result == 0)
				errno = error;
			return result;
		}
		errno = error;
	}
	return next ? next(fd, request, argument) : syscall(SYS_ioctl, fd, request, argument);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list list;
	void *argument;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	return take(next_ioctl, fd, request, argument);
}

/* What ioctl is called in 32-bit programs with times of 64 bits. */
int __ioctl_time64(int fd, unsigned long request, ...)
{
	va_list list;
	void *argument;

	va_start(list, request);
	argument = va_arg(list, void *);
	va_end(list);
	return take(next_ioctl_time64, fd, request, argument);
}

/* --- the beginning --------------------------------------------------------------- */

static struct iovec text(const char *text)
{
	return (struct iovec){ (char *)text, strlen(text) };
}

static void complain(const char *mode)
{
	const struct iovec line[3] = {
		text("libexchange-preload: EXCHRANGE_PRELOAD is '"), text(mode),
		text("', which is neither always nor fallback: taken as always\n"),
	};

	if (writev(STDERR_FILENO, line, 3) < 0)
		return;
}

/* dlsym() and the environment are not for later: a signal may come, or setenv(). */
__attribute__((constructor))
static void prepare(void)
{
	const char *mode = secure_getenv("EXCHRANGE_PRELOAD");
	int error = errno;

	next_ioctl = (ioctl_function *)dlsym(RTLD_NEXT, "ioctl");
	next_ioctl_time64 = (ioctl_function *)dlsym(RTLD_NEXT, "__ioctl_time64");
	/* That most have no second one is not for the program to hear. */
	dlerror();
	if (mode && *mode) {
		only_where_missing = !strcmp(mode, "fallback");
		if (!only_where_missing && strcmp(mode, "always"))
			complain(mode);
	}
	errno = error;
}

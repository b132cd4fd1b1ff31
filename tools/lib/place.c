// SPDX-License-Identifier: MIT
/*
 * Where a file lies: the directory and the name that a path leads to, found by the kernel
 * step by step, so that file and directory are of one look-up.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "place.h"

/* As many as the kernel follows. */
#define MAX_LINKS	40

/* The kernel ends a lease after 45 s, unless it is told otherwise. */
#define MAX_PATIENCE	100		/* seconds */
#define PAUSE		20000000	/* ns */

static int fail(int error)
{
	errno = error;
	return -1;
}

void exchrange_close(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
}

void exchrange_drop_place(struct exchrange_place *place)
{
	exchrange_close(place->dir);
	place->dir = -1;
}

bool exchrange_is_same(int fd1, int fd2)
{
	struct stat st1, st2;

	return fstat(fd1, &st1) == 0 && fstat(fd2, &st2) == 0 &&
	       st1.st_dev == st2.st_dev && st1.st_ino == st2.st_ino;
}

int64_t exchrange_mount_of(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) ||
	    !(st.stx_mask & STATX_MNT_ID))
		return -1;
	return st.stx_mnt_id;
}

/* --- opening --------------------------------------------------------------------- */

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

int exchrange_open_patiently(int dir, const char *name, int flags)
{
	const struct timespec pause = { .tv_nsec = PAUSE };
	time_t end = 0;
	int fd;

	for (;;) {
		fd = openat(dir, name, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (fd >= 0 || errno != EWOULDBLOCK)
			return fd;
		if (!end)
			end = now() + MAX_PATIENCE;
		else if (now() >= end)
			return fail(EWOULDBLOCK);
		nanosleep(&pause, NULL);
	}
}

int exchrange_open_place(const struct exchrange_place *place, int flags)
{
	return exchrange_open_patiently(place->dir, place->name,
					flags | (place->follow ? 0 : O_NOFOLLOW));
}

int exchrange_pin(const struct exchrange_place *place)
{
	return openat(place->dir, place->name,
		      O_PATH | O_CLOEXEC | (place->follow ? 0 : O_NOFOLLOW));
}

int exchrange_check_writable(int fd)
{
	struct statx st;

	if (faccessat(fd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS) ||
	    statx(fd, "", AT_EMPTY_PATH, 0, &st))
		return -1;
	return st.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND |
				    STATX_ATTR_VERITY) ? fail(EPERM) : 0;
}

/* --- by path --------------------------------------------------------------------- */

/* A path that ends with a slash is of a directory, or of none. */
static int fail_without_name(int from, const char *path)
{
	int fd = openat(from, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int error = fd < 0 && errno == ENOTDIR ? ENOTDIR : EISDIR;

	exchrange_close(fd);
	return fail(error);
}

/* Opens the directory of @path as seen from @from, and takes its last name. */
static int open_directory(int from, const char *path,
			  struct exchrange_place *place)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char directory[PATH_MAX];

	place->dir = -1;
	place->follow = false;
	if (!*path)
		return fail(ENOENT);
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return fail_without_name(from, path);
	if (strlen(path) >= sizeof(directory) ||
	    strlen(name) >= sizeof(place->name))
		return fail(ENAMETOOLONG);
	snprintf(place->name, sizeof(place->name), "%s", name);
	/* With a dot, so that a link before it is in the middle, as it is in @path. */
	snprintf(directory, sizeof(directory), "%.*s.", (int)(name - path), path);
	place->dir = openat(from, directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return place->dir < 0 ? -1 : 0;
}

/* A directory where everybody makes files, and only the owner of one removes it. */
static bool is_shared(const struct stat *dir)
{
	return dir->st_mode & 01000 && dir->st_mode & 00002;
}

/*
 * The rule of fs.protected_symlinks: in a directory where everybody makes files, a
 * link is followed where it is the caller's or of the directory's owner.
 */
static int check_link(int dir, const struct stat *link)
{
	struct stat st;

	if (fstat(dir, &st))
		return -1;
	if (is_shared(&st) && link->st_uid != geteuid() &&
	    link->st_uid != st.st_uid)
		return fail(EACCES);
	return 0;
}

/* What fs.protected_regular says; where nobody can tell, what systemd sets. */
static int protection(void)
{
	int fd = open("/proc/sys/fs/protected_regular", O_RDONLY | O_CLOEXEC);
	char digit = '2';

	if (fd >= 0 && read(fd, &digit, 1) != 1)
		digit = '2';
	exchrange_close(fd);
	return digit - '0';
}

int exchrange_check_planted(const struct exchrange_place *place, int pin)
{
	struct stat dir, file;

	if (fstat(place->dir, &dir) || fstat(pin, &file))
		return -1;
	if (!(dir.st_mode & 01000) || !(dir.st_mode & 00022) ||
	    file.st_uid == dir.st_uid || file.st_uid == geteuid())
		return 0;
	return protection() >= (dir.st_mode & 00002 ? 1 : 2) ? fail(EACCES) : 0;
}

/* Replaces @place, where the link @pin lies, by what that points to. */
static int follow_link(struct exchrange_place *place, int pin,
		       const struct stat *link)
{
	struct exchrange_place next;
	char target[PATH_MAX];
	ssize_t length;

	if (check_link(place->dir, link))
		return -1;
	length = readlinkat(pin, "", target, sizeof(target));
	if (length < 0)
		return -1;
	if (length == sizeof(target))
		return fail(ENAMETOOLONG);
	target[length] = '\0';
	if (open_directory(place->dir, target, &next))
		return -1;
	exchrange_drop_place(place);
	*place = next;
	return 0;
}

/* The text of a link of procfs is not where it leads. */
static bool is_magic(int pin)
{
	struct statfs fs;

	return fstatfs(pin, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* One link less; 0 where there is none, 1 where there is more to follow. */
static int take_step(bool follow, struct exchrange_place *place, int *pin)
{
	struct stat st;
	int ret;

	*pin = exchrange_pin(place);
	if (*pin < 0)
		return errno == ENOENT ? 0 : -1;
	if (fstat(*pin, &st))
		return -1;
	if (!S_ISLNK(st.st_mode))
		return 0;
	if (!follow)
		return fail(ELOOP);
	ret = is_magic(*pin);
	place->follow = ret;
	if (ret)
		ret = 1;
	else
		ret = follow_link(place, *pin, &st) ? -1 : 1;
	exchrange_close(*pin);
	*pin = -1;
	return ret;
}

int exchrange_find(const char *path, bool follow, struct exchrange_place *place,
		   int *pin)
{
	int links, ret;

	*pin = -1;
	if (open_directory(AT_FDCWD, path, place))
		return -1;
	for (links = 0; links <= MAX_LINKS; links++) {
		ret = take_step(follow, place, pin);
		if (ret == 0)
			return 0;
		errno = ret < 0 ? errno : ELOOP;
		if (ret < 0)
			break;
	}
	exchrange_close(*pin);
	*pin = -1;
	exchrange_drop_place(place);
	return -1;
}

/* --- by descriptor --------------------------------------------------------------- */

/* @fd is what lies in @place, and on the same mount. */
static int check_place(int fd, const struct exchrange_place *place, int pin)
{
	if (!exchrange_is_same(fd, pin))
		return fail(ENOENT);	/* the name is gone, or another file's */
	return exchrange_mount_of(pin) == exchrange_mount_of(fd) &&
	       exchrange_mount_of(fd) == exchrange_mount_of(place->dir) ?
	       0 : fail(EXDEV);
}

/* What /proc says is a hint: it counts where the same file is found there. */
int exchrange_find_by_fd(int fd, struct exchrange_place *place)
{
	char link[32], path[PATH_MAX];
	ssize_t length;
	int pin, ret;

	place->dir = -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return -1;
	path[length] = '\0';
	if (path[0] != '/')
		return fail(ENOENT);
	if (exchrange_find(path, false, place, &pin))
		return -1;
	ret = pin < 0 ? fail(ENOENT) : check_place(fd, place, pin);
	exchrange_close(pin);
	if (ret)
		exchrange_drop_place(place);
	return ret;
}

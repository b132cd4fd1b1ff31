// SPDX-License-Identifier: GPL-2.0
/*
 * Why a file could not be saved: the file, its directory, the place for the staging file,
 * the clock, a lease, room.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "contents.h"
#include "explain.h"
#include "place.h"
#include "stage.h"

/* Less than this is no space, for what an exchange takes besides. */
#define SOME_SPACE	(16 << 20)	/* bytes */

static bool is_there(const char *path)
{
	return faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) == 0;
}

void explain_planted(const char *path)
{
	complain("%s: was made by another user in a directory where everybody makes files, and is not written to, as fs.protected_regular says",
		 path);
}

/* Why there could be no update, as far as QUERY knows. */
static void explain_unsupported(const struct target *target)
{
	struct exchrange_query query = {
		.fd = exchrange_open_patiently(AT_FDCWD, target->path, O_RDONLY),
	};

	if (query.fd < 0 || exchrange_query(target->device, &query)) {
		complain("%s: its file system has no unnamed files (O_TMPFILE); --fallback=rename makes 'write' replace the file the old way",
			 target->path);
	} else if (query.backend == EXCHRANGE_BACKEND_NONE) {
		explain_no_backend(target->path, query.fd, query.reason,
				   target->device_error);
		if (target->can_rename && !target->device_error)
			complain("%s: --fallback=rename would replace it the old way",
				 target->path);
	} else {
		explain_no_to_eof(target->path, query.reason);
	}
	exchrange_close(query.fd);
}

/* True, and said, where the file itself may not be read and written. */
static bool explain_file(const struct target *target, const struct exchrange_place *place,
			 int pin)
{
	int fd, error;

	if (pin < 0)
		return false;
	if (exchrange_check_planted(place, pin)) {
		explain_planted(target->path);
		return true;
	}
	fd = exchrange_open_place(place, O_RDONLY);
	error = fd < 0 || exchrange_check_writable(fd) ? errno : 0;
	exchrange_close(fd);
	if (error)
		explain_open(target->path, error);
	return error;
}

/* Whether a staging file can be made. */
static bool can_stage(const struct target *target, const struct exchrange_place *place)
{
	int dir = target->staging ? open(target->staging, O_PATH | O_DIRECTORY | O_CLOEXEC) :
				    dup(place->dir);
	int staging = dir < 0 ? -1 : exchrange_stage_for_name(dir, 0600);

	exchrange_close(staging);
	exchrange_close(dir);
	return staging >= 0;
}

/* Else it is the directory where the staging file would be. */
static void explain_directory(const struct target *target, bool is_new, int error)
{
	const char *path = target->path, *staging = target->staging;
	bool immutable = false;
	struct statx st;
	struct exchrange_place place;
	int pin;

	if (staging && !is_new) {
		immutable = attributes_of(staging) & STATX_ATTR_IMMUTABLE;
	} else if (exchrange_find(path, true, &place, &pin) == 0) {
		immutable = statx(place.dir, "", AT_EMPTY_PATH, 0, &st) == 0 &&
			    st.stx_attributes & STATX_ATTR_IMMUTABLE;
		exchrange_close(pin);
		exchrange_drop_place(&place);
	}

	if (error == EROFS)
		complain("%s: the directory for its staging file is on a read-only mount; name another one of the same mount as the file with --staging, or make it writable ('mount -o remount,rw')",
			 path);
	else if (immutable && is_new)
		complain("%s: its directory is immutable; 'chattr -i' makes that an ordinary one",
			 path);
	else if (immutable)
		complain("%s: no staging file can be made in %s, which is immutable; name another directory of the same mount with --staging",
			 path, staging ? staging : "its directory");
	else if (staging && !is_new)
		complain("%s: no right to make a staging file there; --staging takes a directory that you may write to",
			 staging);
	else if (!is_new)
		complain("%s: no right to make a staging file in its directory; name another one of the same mount with --staging",
			 path);
	else
		complain("%s: permission denied; making it takes the right to write to its directory",
			 path);
}

static void explain_rights(const struct target *target, int error)
{
	struct exchrange_place place;
	int pin;

	if (exchrange_find(target->path, true, &place, &pin)) {
		explain_open(target->path, errno);
		return;
	}
	if (explain_file(target, &place, pin))
		;
	else if (pin >= 0 && can_stage(target, &place))
		complain("%s: a security module does not let you read, write or truncate it or its staging file (Landlock: LANDLOCK_ACCESS_FS_TRUNCATE)",
			 target->path);
	else
		explain_directory(target, pin < 0, error);
	exchrange_close(pin);
	exchrange_drop_place(&place);
}

/* A file that is to be made takes its directory. */
static void explain_missing(const struct target *target, int error)
{
	const char *path = target->path, *slash = strrchr(path, '/');
	int length = slash ? (int)(slash + 1 - path) : 1;
	char *directory = strndup(slash ? path : ".", length);

	if (target->staging && is_there(path))
		complain("%s: no such directory; --staging takes one on the mount of %s",
			 target->staging, path);
	else if (error == ENOENT && directory && !is_there(directory))
		complain("%s: no such directory; make %s first", path, directory);
	else if (error == ENOENT && target->creates && !is_there("/proc/self/fd"))
		complain("%s: cannot be made here, since /proc is not mounted, by which it would get its name",
			 path);
	else
		explain_open(path, error);
	free(directory);
}

/* A line of /proc/locks: "7: LEASE BREAKING READ 123 08:02:4711 0 EOF". */
static bool has_lease(const char *path)
{
	FILE *stream = fopen("/proc/locks", "re");
	char line[256], kind[16], end[32];
	bool found = false;
	struct stat st;

	if (stream && stat(path, &st) == 0) {
		snprintf(end, sizeof(end), ":%llu 0 EOF", (unsigned long long)st.st_ino);
		while (!found && fgets(line, sizeof(line), stream))
			found = sscanf(line, "%*s %15s", kind) == 1 &&
				!strcmp(kind, "LEASE") && strstr(line, end);
	}
	if (stream)
		fclose(stream);
	return found;
}

static bool clock_stands(void)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	struct timespec now, then;

	clock_gettime(CLOCK_REALTIME_COARSE, &then);
	nanosleep(&pause, NULL);
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return exchrange_same_time(&then, &now);
}

static void explain_again(const char *path)
{
	if (has_lease(path))
		explain_open(path, EWOULDBLOCK);
	else if (clock_stands())
		complain("%s: the clock stands, so that changes cannot be told", path);
	else
		complain("%s: changes all the time; end what writes to it first", path);
}

static void explain_no_space(const char *path)
{
	struct statvfs fs;
	unsigned long long free_bytes;

	if (statvfs(path, &fs))
		fs.f_bavail = 0;
	free_bytes = (unsigned long long)fs.f_bavail * fs.f_frsize;
	if (free_bytes < SOME_SPACE)
		complain("%s: no space left on its file system; free some", path);
	else
		complain("%s: no space left for it, though its file system has %llu MiB: a quota, as of its project, is reached, or the contents are larger than that; free some or raise the limit",
			 path, free_bytes >> 20);
}

static void explain_invalid(const struct target *target)
{
	struct exchrange_query query = { };
	struct stat st;
	int fd;

	if (stat(target->path, &st) || !S_ISREG(st.st_mode)) {
		explain_open(target->path, EINVAL);
		return;
	}
	fd = exchrange_open_patiently(AT_FDCWD, target->path, O_RDONLY);
	query.fd = fd;
	if (fd >= 0 && exchrange_query(target->device, &query) == 0 &&
	    query.backend == EXCHRANGE_BACKEND_BTRFS)
		complain("%s: cannot be exchanged with a file that is made now: one has checksums and the other has none (mount option 'nodatasum')",
			 target->path);
	else
		complain("%s: its file system does not exchange it with a file that is made now",
			 target->path);
	exchrange_close(fd);
}

static void explain_link(const char *path)
{
	struct exchrange_place place;
	int pin;

	if (exchrange_find(path, true, &place, &pin)) {
		explain_open(path, errno);
		return;
	}
	complain("%s: is a symbolic link; without --no-follow it is followed", path);
	exchrange_close(pin);
	exchrange_drop_place(&place);
}

/* The device could do it. */
static void explain_mounted(const struct target *target)
{
	const char *path = target->path;

	if (target->device_error)
		complain("%s: is mounted by itself, and cannot be saved without /dev/exchrange; %s, or mount the directory instead",
			 path, how_to_get_the_device(target->device_error));
	else
		complain("%s: is mounted by itself, and no other mount shows it with its directory; the module that is loaded is too old to save it, or a security module forbids that; write it from where its directory is seen, or mount the directory instead",
			 path);
}

/* An update failed with @error: says why, and what to do. */
void explain_update(const struct target *target, int error)
{
	const char *path = target->path;

	switch (error) {
	case EOPNOTSUPP:
		explain_unsupported(target);
		break;
	case EACCES:
	case EPERM:
	case EROFS:
		explain_rights(target, error);
		break;
	case EXDEV:
		if (target->staging)
			complain("%s: is not on the same mount as %s; --staging takes a directory that is",
				 target->staging, path);
		else
			explain_mounted(target);
		break;
	case ENOENT:
	case ENOTDIR:
		explain_missing(target, error);
		break;
	case EBUSY:
		complain("%s: has changed meanwhile, or a device is writing to a mapping of it; nothing was written",
			 path);
		break;
	case EAGAIN:
		explain_again(path);
		break;
	case EOVERFLOW:
		complain("%s: the clock is past the last time that its file system knows, so that changes cannot be told",
			 path);
		break;
	case ELOOP:
		explain_link(path);
		break;
	case ENOSPC:
		explain_no_space(path);
		break;
	case EDQUOT:
		complain("%s: it would exceed a quota; free some space or raise the limit",
			 path);
		break;
	case EUSERS:
		complain("%s: you have as many staging files as a user may have, in other saves that go on; /sys/module/exchrange/parameters/staging_max_user has the limit",
			 path);
		break;
	case EFBIG:
		complain("%s: it would pass the file size limit; raise it with 'ulimit -f'",
			 path);
		break;
	case EIO:
		complain("%s: I/O error; look at the file before you try again, for it may have been written after all",
			 path);
		break;
	case EINVAL:
		explain_invalid(target);
		break;
	default:
		explain_open(path, error);
	}
}

/* A temporary file could not be made beside @path, or not be renamed over it. */
void explain_rename(const char *path, int error)
{
	switch (error) {
	case EBUSY:
		complain("%s: is mounted by itself, and another file cannot take its place; write it from where its directory is mounted",
			 path);
		break;
	case EACCES:
	case EPERM:
		complain("%s: no right to make a file in its directory and rename it over this one",
			 path);
		break;
	case EROFS:
		complain("%s: its directory is on a read-only mount", path);
		break;
	case ENOSPC:
		explain_no_space(path);
		break;
	default:
		complain("%s: %s", path, strerror(error));
	}
}

// SPDX-License-Identifier: MIT
/*
 * An update: a staging file without a name, written by the caller, whose contents
 * become the file's at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "exchrange.h"
#include "place.h"

#define BEGIN_FLAGS	(EXCHRANGE_UPDATE_CLONE | EXCHRANGE_UPDATE_UNCHANGED | \
			 EXCHRANGE_UPDATE_CREATE | EXCHRANGE_UPDATE_NOFOLLOW)
#define COMMIT_FLAGS	(EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN | \
			 EXCHRANGE_FILE1_WRITTEN)

/* Whatever the name turns out to be, the call does not wait for it. */
#define OPEN_FLAGS	(O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* So often a name may be another file's when it is looked at. */
#define MAX_TRIES	1000

struct exchrange_update {
	int			device;		/* the caller's */
	unsigned int		flags;
	mode_t			mode;
	bool			named;		/* begun by a path: commit looks again */
	int			file;		/* -1: it is not there yet */
	int			staging;
	struct exchrange_place	place;
	struct exchrange_sample	sample;
};

static int fail(int error)
{
	errno = error;
	return -1;
}

static void close_quietly(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
}

/* --- the file -------------------------------------------------------------------- */

/* A regular file, open for reading and writing, that can be exchanged whole. */
static int check_file(int device, int fd)
{
	struct exchrange_query query = { .fd = fd };
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -1;
	if ((flags & O_ACCMODE) != O_RDWR || flags & (O_APPEND | O_PATH))
		return fail(EBADF);
	if (exchrange_query(device, &query))
		return -1;
	if (query.backend == EXCHRANGE_BACKEND_NONE ||
	    !(query.flags & EXCHRANGE_TO_EOF))
		return fail(EOPNOTSUPP);
	return 0;
}

/*
 * The directory that the file is in, for the staging file and for a look at the name
 * before the commit.  A file that is mounted by itself has none on its own mount:
 * then it is taken through another mount.
 */
static int find_place(struct exchrange_update *update)
{
	int there;

	if (exchrange_find_place(update->file, &update->place) == 0)
		return 0;
	if (errno != EXDEV)
		return -1;
	there = exchrange_open_elsewhere(update->file);
	if (there < 0)
		return -1;
	close(update->file);
	update->file = there;
	return exchrange_find_place(update->file, &update->place);
}

/* With a directory given, a file may do without its own. */
static int take_file(struct exchrange_update *update, const char *directory)
{
	if (check_file(update->device, update->file))
		return -1;
	if (find_place(update) == 0)
		return 0;
	return directory && (errno == ENOENT || errno == EXDEV) ? 0 : -1;
}

static int open_path(struct exchrange_update *update, const char *path,
		     const char *directory)
{
	bool follow = !(update->flags & EXCHRANGE_UPDATE_NOFOLLOW);
	int tries = 0;

	update->named = true;
	for (;;) {
		update->file = open(path, O_RDWR | OPEN_FLAGS |
				    (follow ? 0 : O_NOFOLLOW));
		if (update->file < 0)
			break;
		if (take_file(update, directory) == 0)
			return 0;
		/* Renamed or replaced meanwhile: there may be another one. */
		if (errno != ENOENT || ++tries == MAX_TRIES)
			return -1;
		close(update->file);
	}
	if (errno != ENOENT || !(update->flags & EXCHRANGE_UPDATE_CREATE))
		return -1;
	return exchrange_find_new_place(path, follow, &update->place);
}

/* --- the staging file ------------------------------------------------------------ */

/*
 * What decides how the contents are stored, and who pays for them, is the file's.
 * All of it is as good as can be had: what keeps the two from being exchanged, the
 * commit tells.
 */
static void copy_attributes(int from, int to)
{
	const int inode_flags = FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL;
	const unsigned int xflags = FS_XFLAG_REALTIME | FS_XFLAG_EXTSIZE;
	struct fsxattr ours, its;
	int our_flags, its_flags;
	char algorithm[32];
	struct stat st;
	ssize_t length;
	int ret = 0;

	/* Only root may give files away: else the caller pays. */
	if (fstat(from, &st) == 0 &&
	    (st.st_uid != geteuid() || st.st_gid != getegid()))
		ret = fchown(to, st.st_uid, st.st_gid);

	if (ioctl(from, FS_IOC_FSGETXATTR, &its) == 0 &&
	    ioctl(to, FS_IOC_FSGETXATTR, &ours) == 0 &&
	    ((its.fsx_xflags ^ ours.fsx_xflags) & xflags ||
	     its.fsx_extsize != ours.fsx_extsize ||
	     its.fsx_projid != ours.fsx_projid)) {
		ours.fsx_xflags = (ours.fsx_xflags & ~xflags) |
				  (its.fsx_xflags & xflags);
		ours.fsx_extsize = its.fsx_extsize;
		ours.fsx_projid = its.fsx_projid;
		ioctl(to, FS_IOC_FSSETXATTR, &ours);
	}

	if (ioctl(from, FS_IOC_GETFLAGS, &its_flags) == 0 &&
	    ioctl(to, FS_IOC_GETFLAGS, &our_flags) == 0 &&
	    (its_flags ^ our_flags) & inode_flags) {
		our_flags = (our_flags & ~inode_flags) | (its_flags & inode_flags);
		ioctl(to, FS_IOC_SETFLAGS, &our_flags);
	}
	length = fgetxattr(from, "btrfs.compression", algorithm,
			   sizeof(algorithm));
	if (length > 0)
		ret = fsetxattr(to, "btrfs.compression", algorithm, length, 0);
	(void)ret;
}

/* It may get a name only where the file may have to be created. */
static int make_staging(struct exchrange_update *update, const char *directory)
{
	mode_t mode = update->flags & EXCHRANGE_UPDATE_CREATE ? update->mode : 0600;

	if (directory)
		update->staging = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC,
				       mode);
	else
		update->staging = openat(update->place.dir, ".",
					 O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (update->staging < 0)
		return -1;
	if (update->file >= 0)
		copy_attributes(update->file, update->staging);
	return 0;
}

static int copy_range(int from, int to, off_t start, off_t end)
{
	char *buffer = malloc(1 << 20);
	ssize_t count = 1;

	while (buffer && start < end && count > 0) {
		size_t size = end - start < 1 << 20 ? end - start : 1 << 20;
		ssize_t done = 0, step;

		count = pread(from, buffer, size, start);
		for (; done < count; done += step) {
			step = pwrite(to, buffer + done, count - done,
				      start + done);
			if (step < 0) {
				count = -1;
				break;
			}
		}
		start += done;
	}
	free(buffer);
	return buffer && count >= 0 ? 0 : -1;
}

/* By the byte, holes left out. */
static int copy_contents(int from, int to)
{
	struct stat st;
	off_t data, hole = 0;

	if (fstat(from, &st) || ftruncate(to, 0) || ftruncate(to, st.st_size))
		return -1;
	while (hole < st.st_size) {
		data = lseek(from, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
		if (hole < 0 || copy_range(from, to, data, hole))
			return -1;
	}
	return 0;
}

int exchrange_update_clone(struct exchrange_update *update, int fd)
{
	off_t position;
	int ret;

	/* What a longer staging file has behind it would stay. */
	if (ftruncate(update->staging, 0))
		return -1;
	if (ioctl(update->staging, FICLONE, fd) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EXDEV && errno != EINVAL &&
	    errno != ENOTTY)
		return -1;
	position = lseek(fd, 0, SEEK_CUR);
	if (position < 0)
		return -1;
	ret = copy_contents(fd, update->staging);
	lseek(fd, position, SEEK_SET);
	return ret;
}

/* --- the exchange ---------------------------------------------------------------- */

static int exchange(struct exchrange_update *update, bool sampled, __u64 flags)
{
	struct exchrange_commit commit = {
		.file1_fd	= update->staging,
		.file2_fd	= update->file,
		.flags		= flags | EXCHRANGE_TO_EOF,
	};
	struct exchrange_range range = {
		.file1_fd	= update->staging,
		.file2_fd	= update->file,
		.flags		= flags | EXCHRANGE_TO_EOF,
	};

	if (!sampled)
		return exchrange_exchange(update->device, &range);
	memcpy(commit.file2_freshness, update->sample.freshness,
	       sizeof(commit.file2_freshness));
	return exchrange_commit(update->device, &commit);
}

/* --- begin ----------------------------------------------------------------------- */

static int take_sample(struct exchrange_update *update,
		       const struct exchrange_sample *sample)
{
	if (!(update->flags & EXCHRANGE_UPDATE_UNCHANGED))
		return 0;
	/* What was sampled once is gone; what was not there shall stay away. */
	if (update->file < 0)
		return sample ? fail(EBUSY) : 0;
	if (!sample)
		return exchrange_sample(update->device, update->file,
					&update->sample);
	update->sample = *sample;
	return 0;
}

static const char *staging_of(const struct exchrange_update_options *options)
{
	return options ? options->staging : NULL;
}

static int begin(struct exchrange_update *update,
		 const struct exchrange_update_options *options)
{
	if (take_sample(update, options ? options->sample : NULL) ||
	    make_staging(update, staging_of(options)))
		return -1;
	if (update->file < 0)
		return 0;
	/*
	 * What cannot be committed is told before anything is written; a change since
	 * the sample that was taken just now, at the commit.
	 */
	if (exchange(update, options && options->sample &&
		     update->flags & EXCHRANGE_UPDATE_UNCHANGED, EXCHRANGE_DRY_RUN))
		return -1;
	return update->flags & EXCHRANGE_UPDATE_CLONE ?
	       exchrange_update_clone(update, update->file) : 0;
}

static struct exchrange_update *
new_update(int device, const struct exchrange_update_options *options)
{
	struct exchrange_update *update;

	if (options && options->flags & ~BEGIN_FLAGS) {
		errno = EINVAL;
		return NULL;
	}
	update = calloc(1, sizeof(*update));
	if (!update)
		return NULL;
	update->device = device;
	update->flags = options ? options->flags : 0;
	update->mode = options ? options->mode : 0;
	update->file = update->staging = update->place.dir = -1;
	return update;
}

struct exchrange_update *
exchrange_update_begin(int device, const char *path,
		       const struct exchrange_update_options *options)
{
	struct exchrange_update *update = new_update(device, options);

	if (update && (open_path(update, path, staging_of(options)) ||
		       begin(update, options))) {
		exchrange_update_drop(update);
		update = NULL;
	}
	return update;
}

struct exchrange_update *
exchrange_update_begin_fd(int device, int fd,
			  const struct exchrange_update_options *options)
{
	struct exchrange_update *update = new_update(device, options);

	if (!update)
		return NULL;
	/* An open file is there, and no link. */
	update->flags &= ~(EXCHRANGE_UPDATE_CREATE | EXCHRANGE_UPDATE_NOFOLLOW);
	update->file = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (update->file < 0 || take_file(update, staging_of(options)) ||
	    begin(update, options)) {
		exchrange_update_drop(update);
		update = NULL;
	}
	return update;
}

int exchrange_update_fd(const struct exchrange_update *update)
{
	return update->staging;
}

void exchrange_update_drop(struct exchrange_update *update)
{
	if (!update)
		return;
	close_quietly(update->file);
	close_quietly(update->staging);
	exchrange_drop_place(&update->place);
	free(update);
}

/* --- commit ---------------------------------------------------------------------- */

/* What the name is of now; st_ino is 0 where it is of nothing. */
static int stat_name(const struct exchrange_update *update, struct stat *st)
{
	if (fstatat(update->place.dir, update->place.name, st,
		    AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	st->st_ino = 0;
	return errno == ENOENT ? 0 : -1;
}

/* Opens what the name is of now, if anything. */
static int open_again(struct exchrange_update *update)
{
	int fd = openat(update->place.dir, update->place.name,
			O_RDWR | O_NOFOLLOW | OPEN_FLAGS);

	if (fd < 0 && errno != ENOENT)
		return -1;
	if (fd >= 0 && check_file(update->device, fd)) {
		close_quietly(fd);
		return -1;
	}
	close_quietly(update->file);
	update->file = fd;
	return 0;
}

/*
 * The file that the name is of now is taken instead of the one that it was of.  EBUSY
 * where it had to stay the same.
 */
static int look_again(struct exchrange_update *update)
{
	struct stat now, then = { 0 };

	if (!update->named || update->place.dir < 0)
		return 0;
	if (stat_name(update, &now) ||
	    (update->file >= 0 && fstat(update->file, &then)))
		return -1;
	if (now.st_ino == then.st_ino &&
	    (!now.st_ino || now.st_dev == then.st_dev))
		return 0;
	if (update->flags & EXCHRANGE_UPDATE_UNCHANGED)
		return fail(EBUSY);
	return open_again(update);
}

/* The directory may be one that can be written to and not read. */
static int sync_directory(const struct exchrange_update *update)
{
	int dir = openat(update->place.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret;

	if (dir < 0)
		return syncfs(update->staging);
	ret = fsync(dir);
	close_quietly(dir);
	return ret;
}

/*
 * Gives the staging file the name.  Its contents are on the disk before: else a crash
 * might leave the name without them.
 */
static int create(struct exchrange_update *update, __u64 flags)
{
	char link[32];

	if (!(update->flags & EXCHRANGE_UPDATE_CREATE))
		return fail(ENOENT);
	if (flags & EXCHRANGE_DRY_RUN)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", update->staging);
	if (fsync(update->staging) ||
	    linkat(AT_FDCWD, link, update->place.dir, update->place.name,
		   AT_SYMLINK_FOLLOW))
		return -1;
	update->file = fcntl(update->staging, F_DUPFD_CLOEXEC, 0);
	if (!(flags & EXCHRANGE_DSYNC))
		return 0;
	return fsync(update->staging) ? -1 : sync_directory(update);
}

int exchrange_update_commit(struct exchrange_update *update, __u64 flags)
{
	if (flags & ~(__u64)COMMIT_FLAGS)
		return fail(EINVAL);
	for (;;) {
		if (look_again(update))
			return -1;
		if (update->file >= 0)
			return exchange(update, update->flags &
					EXCHRANGE_UPDATE_UNCHANGED, flags);
		if (create(update, flags) == 0)
			return 0;
		/* Somebody else made it meanwhile. */
		if (errno != EEXIST)
			return -1;
		if (update->flags & EXCHRANGE_UPDATE_UNCHANGED)
			return fail(EBUSY);
	}
}

// SPDX-License-Identifier: MIT
/*
 * A file's contents copied: by the file system where it can share blocks, else by reading
 * to the end.  What stat(2) says of a size is not believed: procfs says 0, sysfs a page.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "contents.h"

#define CHUNK	((size_t)1 << 20)

struct source {
	int	fd;
	bool	seeks;		/* it can tell of holes */
	off_t	size;		/* as it is said to be */
	char	*chunk;
};

static int write_all(int fd, const char *bytes, size_t size, off_t at)
{
	while (size) {
		ssize_t count = pwrite(fd, bytes, size, at);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -1;
		bytes += count;
		size -= count;
		at += count;
	}
	return 0;
}

/* Where data may be from @at on; what is said to be the end where none follows. */
static off_t skip_hole(const struct source *source, off_t at)
{
	off_t data = source->seeks ? lseek(source->fd, at, SEEK_DATA) : at;

	if (data >= at)
		return data;
	return errno == ENXIO && source->size > at ? source->size : at;
}

/* Bytes to read at @at: a chunk, or what there is before the next hole. */
static size_t room_at(const struct source *source, off_t at)
{
	off_t hole = source->seeks ? lseek(source->fd, at, SEEK_HOLE) : -1;

	return hole > at && hole - at < (off_t)CHUNK ? (size_t)(hole - at) : CHUNK;
}

static ssize_t read_at(const struct source *source, off_t at)
{
	size_t room = room_at(source, at);
	ssize_t count;

	do
		count = source->seeks ? pread(source->fd, source->chunk, room, at) :
			read(source->fd, source->chunk, room);
	while (count < 0 && errno == EINTR);
	return count;
}

static int copy_to_end(const struct source *source, int to)
{
	ssize_t count;
	off_t at = 0;

	for (;;) {
		at = skip_hole(source, at);
		count = read_at(source, at);
		if (count < 0)
			return -1;
		if (count == 0)
			return ftruncate(to, at);
		if (write_all(to, source->chunk, count, at))
			return -1;
		at += count;
	}
}

static bool is_unchanged(const struct stat *before, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_size == before->st_size &&
	       exchrange_same_time(&st.st_mtim, &before->st_mtim) &&
	       exchrange_same_time(&st.st_ctim, &before->st_ctim);
}

/* By the byte, holes left out. */
static int copy_bytes(int from, int to)
{
	off_t position = lseek(from, 0, SEEK_CUR);
	struct source source = { .fd = from, .seeks = position >= 0 };
	struct stat before;
	int ret;

	/* At the end of time its size still tells, and nothing else does. */
	if (exchrange_settle(from, &before) && errno != EOVERFLOW)
		return -1;
	source.size = before.st_size;
	source.chunk = malloc(CHUNK);
	if (!source.chunk)
		return -1;
	ret = copy_to_end(&source, to);
	free(source.chunk);
	if (source.seeks)
		lseek(from, position, SEEK_SET);
	if (ret == 0 && !is_unchanged(&before, from)) {
		errno = EAGAIN;
		ret = -1;
	}
	return ret;
}

int exchrange_copy(int from, int to)
{
	/* What a longer file has behind it would stay. */
	if (ftruncate(to, 0))
		return -1;
	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EXDEV && errno != EINVAL &&
	    errno != ENOTTY)
		return -1;
	return copy_bytes(from, to);
}

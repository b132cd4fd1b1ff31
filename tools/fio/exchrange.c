// SPDX-License-Identifier: GPL-2.0
/*
 * An I/O engine for fio: what a job writes goes to slots of a staging file, and each sync
 * commits it, by one vector.
 *
 *	ioengine=external:/usr/local/lib/fio/exchrange.so
 *	fdatasync=16			a commit after every 16 writes, durable
 *
 * A read sees what its own job has written, committed or not.  What was not committed when the job
 * ends, or the machine, is not in the file.
 *
 * It is built with the headers of the fio that is to load it, which checks the version.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* fio's own, by -I. */
#include "fio.h"

#include <exchrange.h>

/* Of one file of a job; FILE_ENG_DATA(). */
struct pages {
	int			staging;
	uint32_t		alignment;	/* bytes: what can be exchanged */
	uint64_t		used;		/* bytes of the staging file */
	struct exchrange_pair	*pairs;		/* in the order of the staging file */
	unsigned int		count, room;
};

/* td->io_ops_data: the device. */
static int device_of(struct thread_data *td)
{
	return (int)(intptr_t)td->io_ops_data - 1;
}

/* --- slots ---------------------------------------------------------------------------- */

/* The newest slot that has @offset of the file, or NULL. */
static const struct exchrange_pair *find_pair(const struct pages *pages, uint64_t offset)
{
	unsigned int i;

	for (i = pages->count; i-- > 0;)
		if (offset >= pages->pairs[i].file2_offset &&
		    offset - pages->pairs[i].file2_offset < pages->pairs[i].length)
			return &pages->pairs[i];
	return NULL;
}

static bool overlaps(const struct pages *pages, uint64_t offset, uint64_t length)
{
	unsigned int i;

	for (i = 0; i < pages->count; i++)
		if (offset < pages->pairs[i].file2_offset + pages->pairs[i].length &&
		    pages->pairs[i].file2_offset < offset + length)
			return true;
	return false;
}

static int write_all(int fd, const char *from, uint64_t length, uint64_t offset)
{
	while (length) {
		ssize_t done = pwrite(fd, from, length, offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? errno : ENOSPC;
		from += done;
		offset += done;
		length -= done;
	}
	return 0;
}

static int read_all(int fd, char *to, uint64_t length, uint64_t offset)
{
	while (length) {
		ssize_t done = pread(fd, to, length, offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? errno : EIO;
		to += done;
		offset += done;
		length -= done;
	}
	return 0;
}

static int add_pair(struct pages *pages, const struct exchrange_pair *pair)
{
	if (pages->count == pages->room) {
		unsigned int room = pages->room ? 2 * pages->room : 64;
		struct exchrange_pair *more = realloc(pages->pairs, room * sizeof(*more));

		if (!more)
			return ENOMEM;
		pages->pairs = more;
		pages->room = room;
	}
	pages->pairs[pages->count++] = *pair;
	return 0;
}

/* All of the file's slots become its pages, or none does. */
static int commit(struct thread_data *td, struct pages *pages, bool durable)
{
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pages->pairs,
		.count		= pages->count,
		.pair_size	= sizeof(struct exchrange_pair),
		.flags		= durable ? EXCHRANGE_DSYNC : 0,
	};

	if (pages->count && exchrange_exchange_vector(device_of(td), &vector))
		return errno;
	pages->count = 0;
	pages->used = 0;
	return 0;
}

/* --- what fio asks for ------------------------------------------------------------------ */

static int write_slot(struct thread_data *td, struct io_u *io_u, struct pages *pages)
{
	const struct exchrange_pair pair = {
		.file1_fd	= pages->staging,
		.file2_fd	= io_u->file->fd,
		.file1_offset	= pages->used,
		.file2_offset	= io_u->offset,
		.length		= io_u->xfer_buflen,
	};
	const struct exchrange_pair *old = find_pair(pages, io_u->offset);
	int error = 0;

	if (io_u->offset % pages->alignment || io_u->xfer_buflen % pages->alignment)
		return EINVAL;
	/* The same block once more, before its commit. */
	if (old && old->file2_offset == io_u->offset && old->length == io_u->xfer_buflen)
		return write_all(pages->staging, io_u->xfer_buf, old->length, old->file1_offset);
	/* Another cut of the same bytes cannot be in the vector, too. */
	if (overlaps(pages, io_u->offset, io_u->xfer_buflen))
		error = commit(td, pages, false);
	if (!error)
		error = write_all(pages->staging, io_u->xfer_buf, io_u->xfer_buflen, pages->used);
	if (!error)
		error = add_pair(pages, &pair);
	if (!error)
		pages->used += io_u->xfer_buflen;
	return error;
}

static int read_through(struct io_u *io_u, const struct pages *pages)
{
	uint64_t offset = io_u->offset, end = offset + io_u->xfer_buflen;
	char *to = io_u->xfer_buf;

	while (offset < end) {
		const struct exchrange_pair *pair = find_pair(pages, offset);
		uint64_t length = pages->alignment - offset % pages->alignment;
		int error;

		if (length > end - offset)
			length = end - offset;
		error = pair ? read_all(pages->staging, to, length,
					pair->file1_offset + offset - pair->file2_offset) :
			read_all(io_u->file->fd, to, length, offset);
		if (error)
			return error;
		to += length;
		offset += length;
	}
	return 0;
}

static enum fio_q_status queue(struct thread_data *td, struct io_u *io_u)
{
	struct pages *pages = FILE_ENG_DATA(io_u->file);

	fio_ro_check(td, io_u);
	switch (io_u->ddir) {
	case DDIR_READ:
		io_u->error = read_through(io_u, pages);
		break;
	case DDIR_WRITE:
		io_u->error = write_slot(td, io_u, pages);
		break;
	case DDIR_SYNC:
	case DDIR_DATASYNC:
		io_u->error = commit(td, pages, true);
		break;
	default:
		io_u->error = EOPNOTSUPP;
	}
	if (io_u->error)
		td_verror(td, io_u->error, "exchrange");
	return FIO_Q_COMPLETED;
}

static int init(struct thread_data *td)
{
	int device = exchrange_open();

	if (device < 0) {
		log_err("exchrange: /dev/exchrange: %s\n", strerror(errno));
		return 1;
	}
	td->io_ops_data = (void *)(intptr_t)(device + 1);
	return 0;
}

static void cleanup(struct thread_data *td)
{
	if (td->io_ops_data)
		close(device_of(td));
	td->io_ops_data = NULL;
}

/* Why it cannot, for people. */
static int complain(struct thread_data *td, struct fio_file *f, int error, const char *what)
{
	int ret;

	log_err("exchrange: %s: %s: %s\n", f->file_name, what, strerror(error));
	td_verror(td, error, "exchrange");
	ret = generic_close_file(td, f);
	(void)ret;
	return 1;
}

static int open_file(struct thread_data *td, struct fio_file *f)
{
	struct exchrange_query query = { };
	struct pages *pages;
	int ret = generic_open_file(td, f);

	if (ret)
		return ret;
	query.fd = f->fd;
	if (exchrange_query(device_of(td), &query))
		return complain(td, f, errno, "query");
	if (!(query.features & EXCHRANGE_FEATURE_VECTOR))
		return complain(td, f, EOPNOTSUPP, "it cannot be in a vector");
	pages = calloc(1, sizeof(*pages));
	if (!pages)
		return complain(td, f, ENOMEM, "slots");
	pages->alignment = query.alignment;
	pages->staging = -1;
	/* What is only read, to verify it, needs none. */
	if (td_write(td)) {
		pages->staging = exchrange_stage(device_of(td), f->fd, 0);
		if (pages->staging < 0) {
			ret = errno;
			free(pages);
			return complain(td, f, ret, "staging file");
		}
	}
	FILE_SET_ENG_DATA(f, pages);
	return 0;
}

static int close_file(struct thread_data *td, struct fio_file *f)
{
	struct pages *pages = FILE_ENG_DATA(f);

	if (pages) {
		if (pages->staging >= 0)
			close(pages->staging);
		free(pages->pairs);
		free(pages);
		FILE_SET_ENG_DATA(f, NULL);
	}
	return generic_close_file(td, f);
}

/* fio looks for this name. */
struct ioengine_ops ioengine = {
	.name		= "exchrange",
	.version	= FIO_IOOPS_VERSION,
	.flags		= FIO_SYNCIO,
	.init		= init,
	.cleanup	= cleanup,
	.queue		= queue,
	.open_file	= open_file,
	.close_file	= close_file,
	.get_file_size	= generic_get_file_size,
};

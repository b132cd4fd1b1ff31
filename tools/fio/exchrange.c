// SPDX-License-Identifier: GPL-2.0
/*
 * An I/O engine for fio: what a job writes goes to slots of staging files, and a batch of writes
 * is committed by one vector, durably.  A batch is
 *
 *	fdatasync=16			16 writes; each fsync or fdatasync of a job commits
 *	iodepth=16 iodepth_batch=16	likewise: a write is complete when its batch is committed
 *
 * A read sees what its own job has written, committed or not.  If a write of a batch fails, its
 * commit does, and nothing of the batch is in a file.  Nor is what was not committed when the
 * job ends, or the machine.
 *
 * A job's files are all in one vector.  Each has a staging file of its own, since one has the
 * owner and the attributes of its file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fio.h"

#include <exchrange.h>

/* Of one file of a job. */
struct store {
	struct store	*next;
	struct fio_file	*of;
	bool		open;		/* by fio; one that it has closed lasts until the commit */
	int		file;		/* our own descriptor of it */
	int		staging;	/* or -1: the job only reads */
	uint64_t	alignment;	/* bytes: of a block, and of a slot */
	uint64_t	*blocks;	/* of the file, that slots 0, 1, ... are for */
	unsigned int	count, room;
};

/* td->io_ops_data */
struct job {
	int			device;
	int			error;		/* why the batch cannot be committed any more */
	struct store		*stores;
	struct exchrange_pair	*pairs;
	unsigned int		room;		/* of pairs */
	struct io_u		**queued;	/* that wait for their commit */
	unsigned int		queued_count;
	struct io_u		**done;		/* that were committed, or not: fio is to be told */
	unsigned int		done_count;
	unsigned int		told;		/* of these, by the last getevents() */
};

/* At the end. */
struct ioengine_ops ioengine;

/* --- slots ---------------------------------------------------------------------------- */

/* store->count if it has none. */
static unsigned int slot_of(const struct store *store, uint64_t block)
{
	unsigned int slot;

	for (slot = 0; slot < store->count; slot++)
		if (store->blocks[slot] == block)
			break;
	return slot;
}

/* How many slots from @slot on, @most at the most, are for one block after the other. */
static unsigned int run_of(const struct store *store, unsigned int slot, uint64_t most)
{
	unsigned int run = 1;

	while (run < most && slot + run < store->count &&
	       store->blocks[slot + run] == store->blocks[slot] + run)
		run++;
	return run;
}

static int take_slot(struct store *store, uint64_t block)
{
	if (slot_of(store, block) < store->count)
		return 0;
	if (store->count == EXCHRANGE_VECTOR_PAIRS) {
		log_err("exchrange: a batch has %u blocks of a file at the most: commit earlier\n",
			EXCHRANGE_VECTOR_PAIRS);
		return E2BIG;
	}
	if (store->count == store->room) {
		unsigned int room = store->room ? 2 * store->room : 64;
		uint64_t *more = realloc(store->blocks, room * sizeof(*more));

		if (!more)
			return ENOMEM;
		store->blocks = more;
		store->room = room;
	}
	store->blocks[store->count++] = block;
	return 0;
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

/* EIO at the end of the file, too. */
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

/* A block that is written twice in a batch has one slot: what is written last counts. */
static int write_slots(struct store *store, const char *from, uint64_t offset, uint64_t length)
{
	const uint64_t first = offset / store->alignment, count = length / store->alignment;
	uint64_t i, run;
	int error;

	if (offset % store->alignment || length % store->alignment)
		return EINVAL;
	for (i = 0; i < count; i++) {
		error = take_slot(store, first + i);
		if (error)
			return error;
	}
	for (i = 0; i < count; i += run) {
		unsigned int slot = slot_of(store, first + i);

		run = run_of(store, slot, count - i);
		error = write_all(store->staging, from + i * store->alignment,
				  run * store->alignment, slot * store->alignment);
		if (error)
			return error;
	}
	return 0;
}

static int read_through(const struct store *store, char *to, uint64_t offset, uint64_t length)
{
	while (length) {
		uint64_t within = offset % store->alignment, part = store->alignment - within;
		unsigned int slot = slot_of(store, offset / store->alignment);
		int error;

		if (part > length || !store->count)
			part = length;
		error = slot < store->count ?
			read_all(store->staging, to, part, slot * store->alignment + within) :
			read_all(store->file, to, part, offset);
		if (error)
			return error;
		to += part;
		offset += part;
		length -= part;
	}
	return 0;
}

/* --- files ---------------------------------------------------------------------------- */

static void free_store(struct store *store)
{
	if (store->staging >= 0)
		close(store->staging);
	if (store->file >= 0)
		close(store->file);
	free(store->blocks);
	free(store);
}

/* Those that fio has closed, and that are in no batch. */
static void drop_closed(struct job *job)
{
	struct store **link = &job->stores, *store;

	while ((store = *link)) {
		if (store->open || store->count) {
			link = &store->next;
			continue;
		}
		*link = store->next;
		free_store(store);
	}
}

/* fio may have unlinked the file and made another one meanwhile. */
static bool is_same_file(int fd1, int fd2)
{
	struct stat st1, st2;

	return !fstat(fd1, &st1) && !fstat(fd2, &st2) && st1.st_dev == st2.st_dev &&
	       st1.st_ino == st2.st_ino;
}

/* One that is closed, and waits for its commit. */
static struct store *find_closed(struct job *job, const struct fio_file *of)
{
	struct store *store = job->stores;

	while (store && (store->of != of || store->open || !is_same_file(store->file, of->fd)))
		store = store->next;
	return store;
}

/* Says why not, for people, and returns NULL. */
static struct store *refuse(struct thread_data *td, const struct fio_file *f, int error,
			    const char *why)
{
	log_err("exchrange: %s: %s (%s)\n", f->file_name, why, strerror(error));
	td_verror(td, error, "exchrange");
	return NULL;
}

static struct store *make_store(struct thread_data *td, struct fio_file *f)
{
	struct job *job = td->io_ops_data;
	struct exchrange_query query = { .fd = f->fd };
	struct store *store;

	if (exchrange_query(job->device, &query))
		return refuse(td, f, errno, "it cannot be exchanged");
	if (!query.alignment)
		return refuse(td, f, EOPNOTSUPP,
			      "its file system has no back end; exchrange query says why");
	if (!(query.features & EXCHRANGE_FEATURE_VECTOR))
		return refuse(td, f, EOPNOTSUPP, "it cannot be in a vector");
	store = calloc(1, sizeof(*store));
	if (!store)
		return refuse(td, f, ENOMEM, "no memory");
	store->of = f;
	store->alignment = query.alignment;
	store->staging = -1;
	store->file = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	if (store->file >= 0 && td_write(td))
		store->staging = exchrange_stage(job->device, f->fd, 0);
	if (store->file < 0 || (td_write(td) && store->staging < 0)) {
		refuse(td, f, errno, "no staging file");
		free_store(store);
		return NULL;
	}
	store->next = job->stores;
	job->stores = store;
	return store;
}

static int open_file(struct thread_data *td, struct fio_file *f)
{
	struct store *store;
	int ret = generic_open_file(td, f);

	if (ret)
		return ret;
	store = find_closed(td->io_ops_data, f);
	if (!store)
		store = make_store(td, f);
	if (!store) {
		ret = generic_close_file(td, f);
		(void)ret;
		return 1;
	}
	store->open = true;
	FILE_SET_ENG_DATA(f, store);
	return 0;
}

static int close_file(struct thread_data *td, struct fio_file *f)
{
	struct store *store = FILE_ENG_DATA(f);

	if (store) {
		store->open = false;
		FILE_SET_ENG_DATA(f, NULL);
		drop_closed(td->io_ops_data);
	}
	return generic_close_file(td, f);
}

/* --- the commit ------------------------------------------------------------------------- */

/* Blocks side by side, in slots side by side, are one pair.  -1 where there is no memory. */
static int64_t list_pairs(struct job *job)
{
	unsigned int slots = 0, count = 0, slot, run;
	const struct store *store;

	for (store = job->stores; store; store = store->next)
		slots += store->count;
	if (slots > job->room) {
		free(job->pairs);
		job->room = 0;
		job->pairs = calloc(slots, sizeof(*job->pairs));
		if (!job->pairs)
			return -1;
		job->room = slots;
	}
	for (store = job->stores; store; store = store->next) {
		for (slot = 0; slot < store->count; slot += run) {
			run = run_of(store, slot, store->count);
			job->pairs[count++] = (struct exchrange_pair) {
				.file1_fd	= store->staging,
				.file2_fd	= store->file,
				.file1_offset	= slot * store->alignment,
				.file2_offset	= store->blocks[slot] * store->alignment,
				.length		= run * store->alignment,
			};
		}
	}
	return count;
}

/*
 * Durable, since slots are written over: on XFS their blocks may be those of the file on the
 * disk until the exchange is.
 */
static int exchange(struct job *job)
{
	struct exchrange_vector vector = {
		.pair_size	= sizeof(struct exchrange_pair),
		.flags		= EXCHRANGE_DSYNC,
	};
	int64_t count = list_pairs(job);

	if (count < 0)
		return ENOMEM;
	if (!count)
		return 0;
	vector.pairs = (uintptr_t)job->pairs;
	vector.count = count;
	if (exchrange_exchange_vector(job->device, &vector)) {
		const int error = errno;

		log_err("exchrange: the commit of %u ranges: %s\n", vector.count, strerror(error));
		return error;
	}
	return 0;
}

/*
 * Whatever comes of it, the next write begins another batch.  The writes that were queued for this
 * one are done.
 */
static int commit_batch(struct job *job)
{
	int error = job->error ? job->error : exchange(job);
	struct store *store;
	unsigned int i;

	for (store = job->stores; store; store = store->next) {
		/* It may have been done and not be durable: what comes next goes to other blocks. */
		if (error && store->count && ftruncate(store->staging, 0))
			log_err("exchrange: a staging file: %s\n", strerror(errno));
		store->count = 0;
	}
	for (i = 0; i < job->queued_count; i++) {
		job->queued[i]->error = error;
		job->done[job->done_count++] = job->queued[i];
	}
	job->queued_count = 0;
	job->error = 0;
	drop_closed(job);
	return error;
}

/* --- what fio asks for ------------------------------------------------------------------ */

static enum fio_q_status queue(struct thread_data *td, struct io_u *io_u)
{
	struct store *store = FILE_ENG_DATA(io_u->file);
	struct job *job = td->io_ops_data;

	/* Here, and not after it, as for engines that queue: a sync would have taken no time. */
	if (fio_fill_issue_time(td))
		fio_gettime(&io_u->issue_time, NULL);
	switch (io_u->ddir) {
	case DDIR_READ:
		io_u->error = read_through(store, io_u->xfer_buf, io_u->offset,
					   io_u->xfer_buflen);
		break;
	case DDIR_WRITE:
		io_u->error = write_slots(store, io_u->xfer_buf, io_u->offset,
					  io_u->xfer_buflen);
		if (io_u->error) {
			job->error = io_u->error;
		} else if (td->o.iodepth > 1) {
			job->queued[job->queued_count++] = io_u;
			return FIO_Q_QUEUED;
		}
		break;
	case DDIR_SYNC:
	case DDIR_DATASYNC:
		io_u->error = commit_batch(job);
		break;
	default:
		io_u->error = EOPNOTSUPP;
	}
	if (io_u->error)
		td_verror(td, io_u->error, "exchrange");
	return FIO_Q_COMPLETED;
}

/* fio asks for this also where it wants the events that there are: no smaller batch because of that. */
static int commit(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	if (job->queued_count >= td->o.iodepth_batch)
		commit_batch(job);
	return 0;
}

static int getevents(struct thread_data *td, unsigned int min, unsigned int max,
		     const struct timespec *timeout)
{
	struct job *job = td->io_ops_data;

	(void)timeout;
	if (job->done_count < min)
		commit_batch(job);
	job->told = job->done_count < max ? job->done_count : max;
	job->done_count -= job->told;
	return job->told;
}

/* From the end of them: the order of what one commit has done has no meaning. */
static struct io_u *event(struct thread_data *td, int number)
{
	const struct job *job = td->io_ops_data;

	return job->done[job->done_count + number];
}

static void free_job(struct job *job)
{
	struct store *store;

	while ((store = job->stores)) {
		if (store->count)
			log_info("exchrange: %u blocks were written after the last commit, and are not in the file (end_fsync=1 commits them)\n",
				 store->count);
		job->stores = store->next;
		free_store(store);
	}
	if (job->device >= 0)
		close(job->device);
	free(job->pairs);
	free(job->queued);
	free(job->done);
	free(job);
}

static void cleanup(struct thread_data *td)
{
	if (td->io_ops_data)
		free_job(td->io_ops_data);
	td->io_ops_data = NULL;
}

/* What a job must not ask for, or NULL. */
static const char *unsuitable(const struct thread_data *td)
{
	/* Another configuration of the source gives fio's structs other members. */
	if (td->io_ops != &ioengine)
		return "it was built with the source of a fio that is configured in another way";
	if (td_trim(td))
		return "it does not trim";
	if (td->o.odirect)
		return "slots are written through the page cache: not with direct=1";
	if (td->o.sync_io)
		return "a write is durable with its batch: fdatasync=1 in the place of sync=";
	return NULL;
}

static int init(struct thread_data *td)
{
	const char *why = unsuitable(td);
	struct job *job;

	if (why) {
		log_err("exchrange: %s\n", why);
		return EINVAL;
	}
	job = calloc(1, sizeof(*job));
	if (!job)
		return ENOMEM;
	job->queued = calloc(td->o.iodepth, sizeof(*job->queued));
	job->done = calloc(td->o.iodepth, sizeof(*job->done));
	job->device = exchrange_open();
	if (job->device < 0) {
		int error = errno;

		log_err("exchrange: there is no /dev/exchrange (%s): is the module loaded?\n",
			strerror(error));
		free_job(job);
		return error;
	}
	if (!job->queued || !job->done) {
		free_job(job);
		return ENOMEM;
	}
	td->io_ops_data = job;
	return 0;
}

/* fio looks for this name. */
struct ioengine_ops ioengine = {
	.name		= "exchrange",
	.version	= FIO_IOOPS_VERSION,
	/*
	 * NOEXTEND: an exchange takes place inside the file, so fio lays it out before.  NO_OFFLOAD: a
	 * batch is one thread's.
	 */
	.flags		= FIO_NOEXTEND | FIO_NO_OFFLOAD | FIO_ASYNCIO_SETS_ISSUE_TIME,
	.init		= init,
	.cleanup	= cleanup,
	.queue		= queue,
	.commit		= commit,
	.getevents	= getevents,
	.event		= event,
	.open_file	= open_file,
	.close_file	= close_file,
	.get_file_size	= generic_get_file_size,
};

/*
 * Before fio looks at anything in here.  Its structs differ between releases that have the same
 * FIO_IOOPS_VERSION, which is all that it compares.
 */
static void __attribute__((constructor)) check_version(void)
{
	if (!strcmp(fio_version_string, BUILT_FOR))
		return;
	fprintf(stderr, "exchrange: this engine was built with the source of %s and does not fit %s: make -C tools/fio FIO_SOURCE=DIR, with the source of that\n",
		BUILT_FOR, fio_version_string);
	ioengine.version = 0;
}

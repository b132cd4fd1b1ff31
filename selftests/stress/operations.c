// SPDX-License-Identifier: GPL-2.0
/*
 * What a thread does to its own files beside exchanging them: each operation is made
 * on the file and on its model.  All of them must work.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress.h"

struct span {
	uint64_t	offset;
	uint64_t	length;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Anywhere in the file or past its end, around which it is often.  A small file
 * mostly stays one, and only few get larger than 256 KiB.
 */
static struct span pick_span(struct worker *worker, const struct file *file)
{
	uint64_t size = file->model.size;
	uint64_t limit = size > 256 * KIB ? size : 256 * KIB;
	struct span span;

	if (size < 2 * KIB && !one_in(worker, 3))
		limit = 2 * KIB;
	if (one_in(worker, 3))
		span.offset = size + draw(worker, 2 * block_size);
	else
		span.offset = draw(worker, size + 1) + block_size;
	span.offset = span.offset < block_size ? 0 : span.offset - block_size;
	if (span.offset >= limit)
		span.offset = draw(worker, limit);
	span.length = 1 + draw_magnitude(worker, 16);
	span.length = smaller(span.length, limit - span.offset);
	return span;
}

/* Within the file, which has something in it. */
static struct span pick_inside(struct worker *worker, const struct file *file)
{
	struct span span;

	span.offset = draw(worker, file->model.size);
	span.length = 1 + draw_magnitude(worker, 15);
	span.length = smaller(span.length, file->model.size - span.offset);
	return span;
}

static const uint8_t *pick_bytes(struct worker *worker, uint64_t length)
{
	return pool + draw(worker, POOL - length + 1);
}

static void model_write(struct file *file, struct span span, const void *bytes)
{
	grow(file, span.offset + span.length);
	memcpy(file->model.bytes + span.offset, bytes, span.length);
}

static int pwrite_all(int fd, const void *bytes, struct span span)
{
	ssize_t ret = pwrite(fd, bytes, span.length, span.offset);

	if (ret < 0)
		return errno;
	return (uint64_t)ret == span.length ? 0 : ENODATA;
}

static int do_write(struct worker *worker, struct file *file)
{
	struct span span = pick_span(worker, file);
	const uint8_t *bytes = pick_bytes(worker, span.length);

	begin(worker, "write file %u (%lu bytes) offset %lu length %lu",
	      file->number, file->model.size, span.offset, span.length);
	model_write(file, span, bytes);
	return pwrite_all(file->fd, bytes, span);
}

static int do_write_direct(struct worker *worker, struct file *file)
{
	struct span span = pick_span(worker, file);

	span.length = (span.length + block_size - 1) / block_size * block_size;
	span.offset = span.offset / block_size * block_size;
	memcpy(worker->buffer, pick_bytes(worker, span.length), span.length);
	begin(worker, "O_DIRECT write file %u (%lu bytes) offset %lu length %lu",
	      file->number, file->model.size, span.offset, span.length);
	model_write(file, span, worker->buffer);
	return pwrite_all(file->direct_fd, worker->buffer, span);
}

/* Through one of the two old mappings or through a new one. */
static int do_store(struct worker *worker, struct file *file)
{
	unsigned int which = draw(worker, 3);
	const uint8_t *bytes;
	struct span span;
	uint8_t *mapping;

	if (!file->model.size)
		return -1;
	span = pick_inside(worker, file);
	bytes = pick_bytes(worker, span.length);
	begin(worker, "store file %u (%lu bytes) offset %lu length %lu mapping %u",
	      file->number, file->model.size, span.offset, span.length, which);
	model_write(file, span, bytes);
	if (which < 2) {
		memcpy(file->mapping[which] + span.offset, bytes, span.length);
		return 0;
	}
	mapping = mmap(NULL, file->model.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       file->fd, 0);
	if (mapping == MAP_FAILED)
		return errno;
	memcpy(mapping + span.offset, bytes, span.length);
	return munmap(mapping, file->model.size) ? errno : 0;
}

/* Sometimes to the size of another, so that both may end within a block. */
static int do_truncate(struct worker *worker, struct file *file)
{
	uint64_t size = pick_size(worker);

	if (one_in(worker, 4))
		size = worker->files[draw(worker, FILES)].model.size;
	if (size == file->model.size)
		size++;
	begin(worker, "truncate file %u (%lu bytes) to %lu", file->number,
	      file->model.size, size);
	model_truncate(&file->model, size);
	return ftruncate(file->fd, size) ? errno : 0;
}

static void model_zero(struct file *file, struct span span)
{
	uint64_t end = smaller(span.offset + span.length, file->model.size);

	if (span.offset < end)
		memset(file->model.bytes + span.offset, 0, end - span.offset);
}

static int fallocate_span(struct worker *worker, struct file *file, int mode,
			  struct span span, const char *name)
{
	begin(worker, "%s%s file %u (%lu bytes) offset %lu length %lu", name,
	      mode & FALLOC_FL_KEEP_SIZE ? ", KEEP_SIZE," : "", file->number,
	      file->model.size, span.offset, span.length);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		grow(file, span.offset + span.length);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		model_zero(file, span);
	return fallocate(file->fd, mode, span.offset, span.length) ? errno : 0;
}

static int do_punch_hole(struct worker *worker, struct file *file)
{
	struct span span = pick_span(worker, file);

	if (one_in(worker, 2)) {
		span.offset = span.offset / block_size * block_size;
		span.length += 2 * block_size;
	}
	return fallocate_span(worker, file,
			      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, span,
			      "punch hole");
}

static int do_zero_range(struct worker *worker, struct file *file)
{
	struct span span = pick_span(worker, file);
	int keep = one_in(worker, 2) ? FALLOC_FL_KEEP_SIZE : 0;

	return fallocate_span(worker, file, FALLOC_FL_ZERO_RANGE | keep, span,
			      "zero range");
}

static int do_preallocate(struct worker *worker, struct file *file)
{
	struct span span = pick_span(worker, file);
	int keep = one_in(worker, 2) ? FALLOC_FL_KEEP_SIZE : 0;

	return fallocate_span(worker, file, keep, span, "preallocate");
}

static struct file *pick_other(struct worker *worker, const struct file *file)
{
	unsigned int i = file->number + 1 + draw(worker, FILES - 1);

	return &worker->files[i % FILES];
}

/* Whole blocks of @from to somewhere in @to, or all to the ends of both. */
static bool pick_clone(struct worker *worker, const struct file *from,
		       const struct file *to, struct file_clone_range *clone)
{
	uint64_t blocks = from->model.size / block_size;
	uint64_t tail = from->model.size % block_size;

	if (tail && (!blocks || one_in(worker, 3))) {
		clone->src_offset = draw(worker, blocks + 1) * block_size;
		clone->src_length = from->model.size - clone->src_offset;
		if (to->model.size > clone->src_length)
			clone->dest_offset = (to->model.size - clone->src_length +
					      block_size - 1) / block_size * block_size;
	} else if (blocks) {
		clone->src_offset = draw(worker, blocks) * block_size;
		clone->src_length = (1 + draw(worker, smaller(16, blocks -
				     clone->src_offset / block_size))) * block_size;
		clone->dest_offset = draw(worker, to->model.size / block_size + 2) *
				     block_size;
	}
	return clone->src_length &&
	       clone->dest_offset + clone->src_length <= FILE_MAX;
}

static int do_reflink(struct worker *worker, struct file *file)
{
	struct file *from = pick_other(worker, file);
	struct file_clone_range clone = { .src_fd = from->fd };
	struct span to;

	if (!pick_clone(worker, from, file, &clone))
		return -1;
	begin(worker, "reflink file %u (%lu bytes) offset %llu length %llu to file %u (%lu bytes) offset %llu",
	      from->number, from->model.size, clone.src_offset, clone.src_length,
	      file->number, file->model.size, clone.dest_offset);
	to.offset = clone.dest_offset;
	to.length = clone.src_length;
	model_write(file, to, from->model.bytes + clone.src_offset);
	return ioctl(file->fd, FICLONERANGE, &clone) ? errno : 0;
}

static int dedupe(int from, const struct span *source, int to, uint64_t offset,
		  bool *same)
{
	union {
		struct file_dedupe_range range;
		char room[sizeof(struct file_dedupe_range) +
			  sizeof(struct file_dedupe_range_info)];
	} u = { .range = {
		.src_offset = source->offset,
		.src_length = source->length,
		.dest_count = 1,
	} };

	u.range.info[0].dest_fd = to;
	u.range.info[0].dest_offset = offset;
	if (ioctl(from, FIDEDUPERANGE, &u.range))
		return errno;
	if (u.range.info[0].status < 0)
		return -u.range.info[0].status;
	*same = u.range.info[0].status == FILE_DEDUPE_RANGE_SAME;
	if (*same && u.range.info[0].bytes_deduped != source->length)
		return ENODATA;
	return 0;
}

/* Of what is the same, as it was written so, and of what mostly is not. */
static int do_dedupe(struct worker *worker, struct file *file)
{
	struct file *from = pick_other(worker, file);
	uint64_t blocks = smaller(from->model.size, file->model.size) / block_size;
	bool write = one_in(worker, 2), same, expected;
	struct span source, to;
	int error;

	if (!blocks)
		return -1;
	source.length = (1 + draw(worker, smaller(8, blocks))) * block_size;
	to.length = source.length;
	source.offset = draw(worker, (from->model.size - source.length) / block_size + 1) * block_size;
	to.offset = draw(worker, (file->model.size - to.length) / block_size + 1) * block_size;
	begin(worker, "dedupe%s file %u offset %lu length %lu, file %u offset %lu",
	      write ? " after writing the same," : "", from->number,
	      source.offset, source.length, file->number, to.offset);
	if (write) {
		model_write(file, to, from->model.bytes + source.offset);
		error = pwrite_all(file->fd, file->model.bytes + to.offset, to);
		if (error)
			return error;
	}
	expected = !memcmp(from->model.bytes + source.offset,
			   file->model.bytes + to.offset, to.length);
	error = dedupe(from->fd, &source, file->fd, to.offset, &same);
	if (!error && same != expected)
		complain(worker, "dedupe says %s, the models %s",
			 same ? "same" : "differs", expected ? "same" : "differs");
	return error;
}

static void verify_in_snapshot(struct worker *worker, const struct file *file,
			       const char *name)
{
	char path[192];
	int fd;

	snprintf(path, sizeof(path), "%s/" FOLDER "/%s/%c", mount_point, name,
		 'a' + file->number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		complain(worker, "%s: %s", path, strerror(errno));
		return;
	}
	verify_bytes(worker, file, fd, "in a snapshot");
	close(fd);
}

static int do_snapshot(struct worker *worker, struct file *file)
{
	unsigned int i, folder = file->number % FOLDERS;
	char from[32], name[32];
	int error;

	if (!is_btrfs())
		return -1;
	snprintf(from, sizeof(from), "own-%u-%u", worker->number, folder);
	snprintf(name, sizeof(name), "snapshot-%u", worker->number);
	begin(worker, "snapshot of %s", from);
	error = make_snapshot(from, name);
	if (error)
		return error;
	for (i = folder; i < FILES && !atomic_load(&stop); i += FOLDERS)
		verify_in_snapshot(worker, &worker->files[i], name);
	return delete_snapshot(name);
}

static int do_fsync(struct worker *worker, struct file *file)
{
	begin(worker, "fsync file %u", file->number);
	return fsync(file->fd) ? errno : 0;
}

static int do_fdatasync(struct worker *worker, struct file *file)
{
	begin(worker, "fdatasync file %u", file->number);
	return fdatasync(file->fd) ? errno : 0;
}

static int do_syncfs(struct worker *worker, struct file *file)
{
	begin(worker, "syncfs");
	return syncfs(file->fd) ? errno : 0;
}

static int do_drop_cache(struct worker *worker, struct file *file)
{
	begin(worker, "drop the page cache of file %u", file->number);
	return posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int do_recreate(struct worker *worker, struct file *file)
{
	begin(worker, "recreate file %u (%lu bytes)", file->number,
	      file->model.size);
	close_own_file(file);
	open_own_file(worker, file);
	return 0;
}

/* Of 1000; the rest of them are exchanges. */
static const struct {
	enum operation	row;
	unsigned int	weight;
	int		(*operate)(struct worker *worker, struct file *file);
} operations[] = {
	{ WRITE,	150,	do_write },
	{ WRITE_DIRECT,	50,	do_write_direct },
	{ STORE,	90,	do_store },
	{ TRUNCATE,	85,	do_truncate },
	{ PUNCH_HOLE,	40,	do_punch_hole },
	{ ZERO_RANGE,	30,	do_zero_range },
	{ PREALLOCATE,	40,	do_preallocate },
	{ REFLINK,	50,	do_reflink },
	{ DEDUPE,	20,	do_dedupe },
	{ SNAPSHOT,	2,	do_snapshot },
	{ FSYNC,	5,	do_fsync },
	{ FDATASYNC,	5,	do_fdatasync },
	{ SYNCFS,	2,	do_syncfs },
	{ DROP_CACHE,	20,	do_drop_cache },
	{ RECREATE,	50,	do_recreate },
};

static void operate_as(struct worker *worker, struct file *file, unsigned int i)
{
	int error = operations[i].operate(worker, file);

	if (error < 0)
		return;
	end(worker, operations[i].row, error);
	if (error)
		complain(worker, "%s", error == ENODATA ? "done by half" :
			 strerror(error));
}

void operate(struct worker *worker)
{
	unsigned int number = draw(worker, 1000), i;
	struct file *file = &worker->files[draw(worker, FILES)];

	for (i = 0; i < COUNT(operations); i++) {
		if (number < operations[i].weight) {
			operate_as(worker, file, i);
			return;
		}
		number -= operations[i].weight;
	}
	exchange_own(worker);
}

/* No store where XFS's own check may not notice it. */
void change_file(struct worker *worker, struct file *file)
{
	static const unsigned int changes[] = { 0, 3, 2 };	/* into operations */
	unsigned int kinds = !kind->alone && file->model.size ? 3 : 2;

	operate_as(worker, file, changes[draw(worker, kinds)]);
}

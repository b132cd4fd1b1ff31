// SPDX-License-Identifier: GPL-2.0
/*
 * Exchanges between the files of one thread: with every combination of flags, as
 * EXCHANGE or as START_COMMIT and COMMIT, mostly valid; and vectors of many of them.  The
 * answer is the one that the rules say, and the files are what the model says after it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "stress.h"

struct call {
	struct file		*file1;
	struct file		*file2;
	struct exchrange_range	range;
	bool			commit;
	bool			change;		/* of file2, before COMMIT */
	int			wrong;		/* the errno of a wrong argument, or 0 */
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Two ranges of one file that do not overlap; empty where there is no room. */
static void pick_in_one_file(struct worker *worker, struct call *call)
{
	struct exchrange_range *range = &call->range;
	uint64_t blocks = call->file1->model.size / block_size, length, low, high;

	if (blocks < 2)
		return;
	length = 1 + draw(worker, blocks / 2);
	low = draw(worker, blocks - 2 * length + 1);
	high = low + length + draw(worker, blocks - 2 * length - low + 1);
	range->length = length * block_size;
	range->file1_offset = (one_in(worker, 2) ? low : high) * block_size;
	range->file2_offset = (low + high) * block_size - range->file1_offset;
}

/* The end of a file may lie within a block where it is the end of both. */
static void pick_in_two_files(struct worker *worker, struct call *call)
{
	struct exchrange_range *range = &call->range;
	uint64_t size1 = call->file1->model.size, size2 = call->file2->model.size;
	uint64_t blocks = smaller(size1, size2) / block_size;

	if (size1 % block_size && size1 % block_size == size2 % block_size && one_in(worker, 2)) {
		range->length = draw(worker, blocks + 1) * block_size + size1 % block_size;
		range->file1_offset = size1 - range->length;
		range->file2_offset = size2 - range->length;
		return;
	}
	range->length = (draw(worker, blocks) + !!blocks) * block_size;
	range->file1_offset = draw(worker, (size1 - range->length) / block_size + 1) * block_size;
	range->file2_offset = draw(worker, (size2 - range->length) / block_size + 1) * block_size;
}

/* Of whole files often; the length means nothing then. */
static void pick_to_eof(struct worker *worker, struct call *call)
{
	struct exchrange_range *range = &call->range;
	uint64_t size1 = call->file1->model.size, size2 = call->file2->model.size;

	range->length = draw(worker, MIB);
	if (one_in(worker, 2))
		return;
	range->file1_offset = draw(worker, size1 / block_size + 1) * block_size;
	range->file2_offset = draw(worker, size2 / block_size + 1) * block_size;
	if (size1 + size2 > FILE_MAX) {
		range->file1_offset = 0;
		range->file2_offset = 0;
	}
}

/* Something that no valid call has; some of it may turn out valid after all. */
static void spoil_range(struct worker *worker, struct call *call)
{
	struct exchrange_range *range = &call->range;

	switch (draw(worker, 9)) {
	case 0:
		range->file1_offset += 1 + draw(worker, block_size - 1);
		break;
	case 1:
		range->file2_offset += 512;
		break;
	case 2:
		range->length += 1 + draw(worker, block_size - 1);
		break;
	case 3:
		range->file1_offset += call->file1->model.size / block_size * block_size + block_size;
		break;
	case 4:
		range->file2_offset += call->file2->model.size / block_size * block_size + block_size;
		break;
	case 5:
		range->length += call->file1->model.size / block_size * block_size + block_size;
		break;
	case 6:
		range->length = UINT64_MAX - draw(worker, 3) * block_size;
		break;
	case 7:
		range->file2_offset |= 1ull << 63;
		break;
	case 8:
		range->flags |= 1ull << (4 + draw(worker, 60));
		call->wrong = EINVAL;
		break;
	}
}

/* Descriptors that are none for this, instead of one of the two.  Told to close it. */
static int spoil_descriptor(struct worker *worker, struct call *call)
{
	__s32 *fd = one_in(worker, 2) ? &call->range.file1_fd : &call->range.file2_fd;
	const char *path = fd == &call->range.file1_fd ? call->file1->path :
							 call->file2->path;

	call->commit = false;
	switch (draw(worker, 5)) {
	case 0:
		call->wrong = EBADF;
		return *fd = open_path(path, O_RDONLY);
	case 1:
		call->wrong = EBADF;
		return *fd = open_path(path, O_RDWR | O_APPEND);
	case 2:
		call->wrong = EISDIR;
		return *fd = open_path(mount_point, O_RDONLY | O_DIRECTORY);
	case 3:
		call->wrong = EXDEV;
		*fd = worker->elsewhere;
		return -1;
	default:
		call->wrong = EBADF;
		*fd = -1;
		return -1;
	}
}

/* Each combination, with the odds that its cost allows. */
static uint64_t pick_flags(struct worker *worker)
{
	uint64_t flags = 0;

	if (one_in(worker, 3))
		flags |= EXCHRANGE_TO_EOF;
	if (one_in(worker, 8))
		flags |= EXCHRANGE_DRY_RUN;
	if (one_in(worker, flags & EXCHRANGE_DRY_RUN ? 2 : 16))
		flags |= EXCHRANGE_DSYNC;
	if (one_in(worker, 3))
		flags |= EXCHRANGE_FILE1_WRITTEN;
	return flags;
}

static struct call pick_call(struct worker *worker)
{
	struct call call = {
		.file1	= &worker->files[draw(worker, FILES)],
	};
	unsigned int other = call.file1->number + 1 + draw(worker, FILES - 1);

	call.file2 = &worker->files[other % FILES];
	if (one_in(worker, 8))
		call.file2 = call.file1;
	call.range.file1_fd = one_in(worker, 8) ? call.file1->direct_fd :
						  call.file1->fd;
	call.range.file2_fd = one_in(worker, 8) ? call.file2->direct_fd :
						  call.file2->fd;
	call.range.flags = pick_flags(worker);
	call.commit = one_in(worker, 3);
	/* Another tick of the clock costs time. */
	call.change = call.commit && one_in(worker, kind->alone ? 40 : 5);

	if (call.file1 == call.file2)
		pick_in_one_file(worker, &call);
	else if (call.range.flags & EXCHRANGE_TO_EOF)
		pick_to_eof(worker, &call);
	else
		pick_in_two_files(worker, &call);
	return call;
}

static bool is_aligned(uint64_t bytes)
{
	return bytes % block_size == 0;
}

static bool wraps(uint64_t offset, uint64_t length)
{
	return offset + length < offset || offset + length > INT64_MAX;
}

/* The rules of Documentation/uapi.md: breaking any of these is EINVAL. */
static bool is_valid(const struct call *call)
{
	const struct exchrange_range *range = &call->range;
	uint64_t size1 = call->file1->model.size, size2 = call->file2->model.size;
	uint64_t offset1 = range->file1_offset, offset2 = range->file2_offset;
	uint64_t length = range->length;

	if (range->flags & EXCHRANGE_TO_EOF)
		length = 0;
	if (wraps(offset1, length) || wraps(offset2, length))
		return false;
	if (offset1 > size1 || offset2 > size2 ||
	    !is_aligned(offset1) || !is_aligned(offset2))
		return false;
	if (range->flags & EXCHRANGE_TO_EOF)
		return call->file1 != call->file2 ||
		       (offset1 == size1 && offset2 == size2);
	if (offset1 + length > size1 || offset2 + length > size2)
		return false;
	if (!is_aligned(length) &&
	    (offset1 + length < size1 || offset2 + length < size2))
		return false;
	/* An unaligned length has its last block in both, so the same one. */
	return call->file1 != call->file2 || offset1 + length <= offset2 ||
	       offset2 + length <= offset1;
}

static bool is_empty(const struct call *call)
{
	const struct exchrange_range *range = &call->range;

	if (range->flags & EXCHRANGE_TO_EOF)
		return range->file1_offset == call->file1->model.size &&
		       range->file2_offset == call->file2->model.size;
	return !range->length;
}

static void begin_call(struct worker *worker, const struct call *call,
		       const char *name)
{
	const struct exchrange_range *range = &call->range;

	begin(worker, "%s file1 %u (%lu bytes, fd %d) offset %llu, file2 %u (%lu bytes, fd %d) offset %llu, length %llu flags 0x%llx",
	      name, call->file1->number, call->file1->model.size,
	      range->file1_fd, range->file1_offset, call->file2->number,
	      call->file2->model.size, range->file2_fd, range->file2_offset,
	      range->length, range->flags);
}

static int commit(struct worker *worker, struct call *call)
{
	const struct exchrange_range *range = &call->range;
	struct exchrange_commit commit = {
		.file1_fd	= range->file1_fd,
		.file1_offset	= range->file1_offset,
		.file2_offset	= range->file2_offset,
		.length		= range->length,
		.flags		= range->flags,
		.file2_fd	= range->file2_fd,
	};
	int error;

	begin_call(worker, call, "START_COMMIT");
	error = device_start_commit(&commit);
	if (error)
		return error;
	if (call->change) {
		if (kind->alone)
			wait_for_another_timestamp();
		change_file(worker, call->file2);
	}
	begin_call(worker, call, "COMMIT");
	return device_commit(&commit);
}

static void apply(struct call *call)
{
	const struct exchrange_range *range = &call->range;
	struct picture *model1 = &call->file1->model;
	struct picture *model2 = &call->file2->model;

	if (range->flags & EXCHRANGE_DRY_RUN || is_empty(call))
		return;
	if (range->flags & EXCHRANGE_FILE1_WRITTEN)
		model_exchange_written(model1, model2, range->file1_offset,
				       range->file2_offset, range->length,
				       range->flags);
	else
		model_exchange(model1, model2, range->file1_offset,
			       range->file2_offset, range->length, range->flags);
}

static int expected_error(const struct call *call)
{
	if (call->wrong)
		return call->wrong;
	if (!is_valid(call))
		return EINVAL;
	return call->change ? EBUSY : 0;
}

static void make_call(struct worker *worker, struct call *call)
{
	unsigned int row = call->commit ? COMMIT : EXCHANGE;
	int error, expected;

	if (call->range.flags & EXCHRANGE_FILE1_WRITTEN)
		read_blocks(call->file1->fd, &call->file1->model);
	if (call->commit) {
		error = commit(worker, call);
	} else {
		begin_call(worker, call, "EXCHANGE");
		error = device_exchange(&call->range);
	}
	end(worker, row + (call->range.flags & ALL_FLAGS), error);
	expected = expected_error(call);
	if (error != expected)
		complain(worker, "the answer is %d (%s) where %d (%s) was to be expected",
			 error, strerror(error), expected, strerror(expected));
	if (!expected)
		apply(call);
	if (atomic_load(&stop))
		return;
	verify(worker, call->file1);
	if (call->file2 != call->file1)
		verify(worker, call->file2);
}

/* --- vectors ---------------------------------------------------------------------- */

#define MOST_CALLS	24u

/* Whole blocks of any files; the order of a vector's pairs has no meaning. */
static struct call pick_part(struct worker *worker)
{
	struct call call = pick_call(worker);
	struct exchrange_range *range = &call.range;
	uint64_t blocks1 = call.file1->model.size / block_size;
	uint64_t blocks2 = call.file2->model.size / block_size;
	uint64_t blocks = smaller(smaller(blocks1, blocks2), 1 + draw(worker, 16));

	range->flags &= EXCHRANGE_FILE1_WRITTEN;
	range->length = blocks * block_size;
	range->file1_offset = draw(worker, blocks1 - blocks + 1) * block_size;
	range->file2_offset = draw(worker, blocks2 - blocks + 1) * block_size;
	return call;
}

static bool meet(const struct file *file_a, uint64_t offset_a, uint64_t length_a,
		 const struct file *file_b, uint64_t offset_b, uint64_t length_b)
{
	return file_a == file_b && length_a && length_b &&
	       offset_a < offset_b + length_b && offset_b < offset_a + length_a;
}

static bool calls_meet(const struct call *a, const struct call *b)
{
	const struct exchrange_range *x = &a->range, *y = &b->range;

	return meet(a->file1, x->file1_offset, x->length,
		    b->file1, y->file1_offset, y->length) ||
	       meet(a->file1, x->file1_offset, x->length,
		    b->file2, y->file2_offset, y->length) ||
	       meet(a->file2, x->file2_offset, x->length,
		    b->file1, y->file1_offset, y->length) ||
	       meet(a->file2, x->file2_offset, x->length,
		    b->file2, y->file2_offset, y->length);
}

static bool meets_itself(const struct call *call)
{
	const struct exchrange_range *range = &call->range;

	return meet(call->file1, range->file1_offset, range->length,
		    call->file2, range->file2_offset, range->length);
}

/* The first of @count that overlaps itself or one before it; @count where none does. */
static unsigned int first_overlap(const struct call *calls, unsigned int count)
{
	unsigned int i, j;

	for (i = 0; i < count; i++) {
		if (meets_itself(&calls[i]))
			return i;
		for (j = 0; j < i; j++)
			if (calls_meet(&calls[i], &calls[j]))
				return i;
	}
	return count;
}

/* Mostly pairs that do not overlap. */
static unsigned int pick_parts(struct worker *worker, struct call *calls)
{
	unsigned int count = 0, tries = 2 + draw(worker, MOST_CALLS - 1);
	bool careless = one_in(worker, 10);

	while (tries--) {
		calls[count] = pick_part(worker);
		if (careless || first_overlap(calls, count + 1) == count + 1)
			count++;
	}
	return count;
}

static void begin_vector(struct worker *worker, const struct call *calls, unsigned int count,
			 uint64_t flags)
{
	char text[400] = "";
	size_t length = 0;
	unsigned int i;

	for (i = 0; i < count && length + 48 < sizeof(text); i++) {
		const struct exchrange_range *range = &calls[i].range;

		length += snprintf(text + length, sizeof(text) - length,
				   " %u@%llu-%u@%llu+%llu%s", calls[i].file1->number,
				   range->file1_offset / block_size, calls[i].file2->number,
				   range->file2_offset / block_size, range->length / block_size,
				   range->flags ? "w" : "");
	}
	begin(worker, "VECTOR flags 0x%lx, %u pairs, in blocks:%s", flags, count, text);
}

static int exchange_parts(const struct call *calls, unsigned int count, uint64_t flags)
{
	struct exchrange_pair pairs[MOST_CALLS];
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= count,
		.pair_size	= sizeof(pairs[0]),
		.flags		= flags,
	};
	unsigned int i;

	for (i = 0; i < count; i++)
		pairs[i] = (struct exchrange_pair) {
			.file1_fd	= calls[i].range.file1_fd,
			.file2_fd	= calls[i].range.file2_fd,
			.file1_offset	= calls[i].range.file1_offset,
			.file2_offset	= calls[i].range.file2_offset,
			.length		= calls[i].range.length,
			.flags		= calls[i].range.flags,
		};
	return ioctl(device, EXCHRANGE_IOC_EXCHANGE_VECTOR, &vector) ? errno : 0;
}

static void exchange_vector(struct worker *worker)
{
	struct call calls[MOST_CALLS];
	unsigned int count = pick_parts(worker, calls), i;
	bool dry_run = one_in(worker, 8);
	uint64_t flags = (dry_run ? EXCHRANGE_DRY_RUN : 0) |
			 (one_in(worker, 16) ? EXCHRANGE_DSYNC : 0);
	int expected = first_overlap(calls, count) < count ? EINVAL : 0, error;

	for (i = 0; i < FILES; i++)
		read_blocks(worker->files[i].fd, &worker->files[i].model);
	begin_vector(worker, calls, count, flags);
	error = exchange_parts(calls, count, flags);
	end(worker, dry_run ? VECTOR_DRY_RUN : VECTOR, error);
	if (error != expected)
		complain(worker, "the answer is %d (%s) where %d (%s) was to be expected",
			 error, strerror(error), expected, strerror(expected));
	for (i = 0; i < count && !expected && !dry_run; i++)
		apply(&calls[i]);
	for (i = 0; i < FILES && !atomic_load(&stop); i++)
		verify(worker, &worker->files[i]);
}

void exchange_own(struct worker *worker)
{
	struct call call = pick_call(worker);
	unsigned int luck = draw(worker, 100);
	int fd = -1;

	if (one_in(worker, 8)) {
		exchange_vector(worker);
		return;
	}

	if (luck < 10)
		spoil_range(worker, &call);
	else if (luck < 12)
		fd = spoil_descriptor(worker, &call);
	/* An empty range has no freshness on XFS; a wrong flag gets no sample. */
	if (is_empty(&call) || call.wrong)
		call.change = false;
	make_call(worker, &call);
	if (fd >= 0)
		close(fd);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Vectors: pairs of ranges that are exchanged all or none.
 *
 * The caller's pairs are copied and their descriptors resolved once, before anything is
 * checked.  What they take of memory is charged to the caller, and bounded: some 200 bytes a
 * pair, 14 MiB at the most.  Descriptors matter for rights, inodes for locks: each of either is
 * there once.
 *
 * No locks are held here.
 */
#include <linux/bsearch.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "exchange.h"

#define PAIR_SIZE_VER0	72

static_assert(sizeof(struct exchrange_pair) == PAIR_SIZE_VER0);

#define PAIR_FLAGS	(EXCHRANGE_TO_EOF | EXCHRANGE_FILE1_WRITTEN)
#define VECTOR_FLAGS	(EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN)

/* --- each inode, and the order of all ranges ----------------------------------------- */

struct ranked_range {
	struct inode	*inode;
	u64		offset, end;	/* bytes; TO_EOF has no end */
	u32		code;		/* as in exchange_vector.order */
};

/* Of so many that others have to run meanwhile, which sort() does not see to itself. */
static int compare_ranges(const void *a, const void *b)
{
	const struct ranked_range *x = a, *y = b;

	cond_resched();
	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return 0;
}

static struct ranked_range rank(const struct exchange_request *request, u32 i, int side)
{
	u64 offset = exchange_request_offset(request, side);

	return (struct ranked_range) {
		.inode	= file_inode(exchange_request_file(request, side)),
		.offset	= offset,
		.end	= request->flags & EXCHRANGE_TO_EOF ? U64_MAX :
							      offset + request->length,
		.code	= 2 * i + side,
	};
}

/* The next of the ranges in their order, which is of @inode. */
static void add_ranked(struct exchange_vector *vector, struct inode *inode, u32 place, u32 code)
{
	if (!vector->inode_count ||
	    vector->inodes[vector->inode_count - 1].inode != inode)
		vector->inodes[vector->inode_count++].inode = inode;
	vector->order[place] = code;
	vector->requests[code >> 1].inode_index[code & 1] = vector->inode_count - 1;
}

/*
 * -E2BIG where there are too many files.  Where ranges of one file overlap, exchange_check_locked()
 * says so, after all that it says of a single exchange, too.
 */
static int add_ranges(struct exchange_vector *vector, const struct ranked_range *ranges)
{
	const struct ranked_range *last = NULL;	/* that has bytes, of the inode */
	u32 i;

	for (i = 0; i < 2 * vector->count; i++) {
		const struct ranked_range *range = &ranges[i];

		if (i && range->inode != range[-1].inode) {
			if (vector->inode_count == EXCHRANGE_VECTOR_FILES)
				return -E2BIG;
			last = NULL;
		}
		add_ranked(vector, range->inode, i, range->code);
		if (range->offset == range->end)
			continue;
		if (last && last->end > range->offset)
			vector->overlap = min(vector->overlap,
					      max(last->code, range->code) >> 1);
		if (!last || last->end < range->end)
			last = range;
	}
	return 0;
}

static int index_many(struct exchange_vector *vector)
{
	struct ranked_range *ranges;
	int side, error;
	u32 i;

	ranges = kvmalloc_array(2 * vector->count, sizeof(*ranges), GFP_KERNEL_ACCOUNT);
	if (!ranges)
		return -ENOMEM;
	for (i = 0; i < vector->count; i++)
		for (side = 0; side < 2; side++)
			ranges[2 * i + side] = rank(&vector->requests[i], i, side);
	sort(ranges, 2 * vector->count, sizeof(*ranges), compare_ranges, NULL);
	error = add_ranges(vector, ranges);
	kvfree(ranges);
	return error;
}

/* Of one, check_locked.c says what overlaps, when it knows the sizes. */
static int index_single(struct exchange_vector *vector)
{
	struct exchange_request *request = &vector->requests[0];
	struct ranked_range ranges[2] = { rank(request, 0, 0), rank(request, 0, 1) };
	int first = compare_ranges(&ranges[0], &ranges[1]) > 0;

	add_ranked(vector, ranges[first].inode, 0, ranges[first].code);
	add_ranked(vector, ranges[!first].inode, 1, ranges[!first].code);
	vector->files[0] = request->file1;
	vector->files[1] = request->file2;
	vector->file_count = request->file1 == request->file2 ? 1 : 2;
	return 0;
}

/*
 * Finds each inode of @vector once, and the order of its ranges.  Its requests have passed
 * exchange_check_request(), and it has room for all that.  -E2BIG, -ENOMEM.
 */
int exchange_vector_index(struct exchange_vector *vector)
{
	return vector->count == 1 ? index_single(vector) : index_many(vector);
}

/* --- descriptors -------------------------------------------------------------------- */

struct descriptor {
	int		fd;
	struct file	*file;	/* NULL: not looked at yet, or a bad one */
};

/* What a call has, and gives back at its end. */
struct vector_room {
	struct exchange_vector	vector;
	struct exchange_inode	inodes[EXCHRANGE_VECTOR_FILES];
	int			*fds;		/* two for each pair, as they are there */
	struct descriptor	*descriptors;	/* each once, in ascending order */
	u32			descriptor_count;
};

static int compare_descriptors(const void *a, const void *b)
{
	int x = ((const struct descriptor *)a)->fd;
	int y = ((const struct descriptor *)b)->fd;

	cond_resched();
	return (x > y) - (x < y);
}

/* Makes a list of the descriptors, each once. */
static void list_descriptors(struct vector_room *room)
{
	struct descriptor *all = room->descriptors;
	u32 i, count = 0, total = 0;

	/* Most pairs are of the same two as the pair before them. */
	for (i = 0; i < 2 * room->vector.count; i++)
		if (i < 2 || room->fds[i] != room->fds[i - 2])
			all[total++] = (struct descriptor) { .fd = room->fds[i] };
	sort(all, total, sizeof(*all), compare_descriptors, NULL);
	for (i = 0; i < total; i++)
		if (!count || all[count - 1].fd != all[i].fd)
			all[count++] = all[i];
	room->descriptor_count = count;
}

/* NULL for a bad one. */
static struct file *find_file(struct vector_room *room, int fd)
{
	const struct descriptor key = { .fd = fd };
	struct descriptor *found;

	found = bsearch(&key, room->descriptors, room->descriptor_count,
			sizeof(key), compare_descriptors);
	if (!found->file) {
		found->file = fget(fd);
		if (found->file)
			room->vector.files[room->vector.file_count++] = found->file;
	}
	return found->file;
}

static int compare_files(const void *a, const void *b)
{
	const struct file *x = *(struct file * const *)a;
	const struct file *y = *(struct file * const *)b;

	cond_resched();
	return (x > y) - (x < y);
}

/* Two descriptors may be of one open file. */
static void drop_double_files(struct exchange_vector *vector)
{
	u32 i, count = 0;

	sort(vector->files, vector->file_count, sizeof(*vector->files), compare_files, NULL);
	for (i = 0; i < vector->file_count; i++)
		if (!count || vector->files[count - 1] != vector->files[i])
			vector->files[count++] = vector->files[i];
	vector->file_count = count;
}

/* -EBADF. */
static int resolve(struct vector_room *room)
{
	struct exchange_vector *vector = &room->vector;
	u32 i;

	list_descriptors(room);
	for (i = 0; i < vector->count; i++) {
		struct exchange_request *request = &vector->requests[i];

		cond_resched();
		request->file1 = find_file(room, room->fds[2 * i]);
		request->file2 = find_file(room, room->fds[2 * i + 1]);
		if (!request->file1 || !request->file2) {
			vector->refused = i;
			return -EBADF;
		}
	}
	drop_double_files(vector);
	return 0;
}

/* --- the caller's pairs ------------------------------------------------------------- */

static int copy_freshness(struct exchange_request *request, u64 pointer)
{
	if (!pointer)
		return 0;
	request->operation = EXCHANGE_OPERATION_COMMIT;
	return copy_from_user(request->freshness, u64_to_user_ptr(pointer),
			      sizeof(request->freshness)) ? -EFAULT : 0;
}

/* -EFAULT, -EINVAL, -E2BIG. */
static int copy_pair(struct vector_room *room, u32 i, const void __user *user, u32 size)
{
	struct exchange_request *request = &room->vector.requests[i];
	struct exchrange_pair pair;
	int error;

	error = copy_struct_from_user(&pair, sizeof(pair), user, size);
	if (error)
		return error;
	if (pair.flags & ~PAIR_FLAGS ||
	    memchr_inv(pair.reserved, 0, sizeof(pair.reserved)))
		return -EINVAL;
	room->fds[2 * i] = pair.file1_fd;
	room->fds[2 * i + 1] = pair.file2_fd;
	*request = (struct exchange_request) {
		.operation	= EXCHANGE_OPERATION_EXCHANGE,
		.file1_offset	= pair.file1_offset,
		.file2_offset	= pair.file2_offset,
		.length		= pair.length,
		.flags		= pair.flags | room->vector.flags,
	};
	return copy_freshness(request, pair.freshness);
}

static int copy_pairs(struct vector_room *room, const struct exchrange_vector *argument)
{
	const void __user *user = u64_to_user_ptr(argument->pairs);
	int error = 0;
	u32 i;

	for (i = 0; i < argument->count && !error; i++) {
		cond_resched();
		error = fatal_signal_pending(current) ? -EINTR :
			copy_pair(room, i, user + (size_t)i * argument->pair_size,
				  argument->pair_size);
		if (error)
			room->vector.refused = i;
	}
	return error;
}

static void *alloc_array(size_t count, size_t size)
{
	return kvmalloc_array(count, size, GFP_KERNEL_ACCOUNT);
}

static void free_room(struct vector_room *room)
{
	u32 i;

	for (i = 0; i < room->descriptor_count; i++)
		if (room->descriptors[i].file)
			fput(room->descriptors[i].file);
	kvfree(room->descriptors);
	kvfree(room->fds);
	kvfree(room->vector.order);
	kvfree(room->vector.files);
	kvfree(room->vector.requests);
	kfree(room);
}

/* NULL where there is no memory. */
static struct vector_room *alloc_room(const struct exchrange_vector *argument)
{
	struct vector_room *room = kzalloc(sizeof(*room), GFP_KERNEL_ACCOUNT);
	size_t count = argument->count;

	if (!room)
		return NULL;
	room->vector = (struct exchange_vector) {
		.requests	= alloc_array(count, sizeof(*room->vector.requests)),
		.count		= count,
		.refused	= EXCHRANGE_REFUSED_NONE,
		.flags		= argument->flags,
		.inodes		= room->inodes,
		.files		= alloc_array(2 * count, sizeof(*room->vector.files)),
		.order		= alloc_array(2 * count, sizeof(*room->vector.order)),
		.overlap	= EXCHRANGE_REFUSED_NONE,
	};
	room->fds = alloc_array(2 * count, sizeof(*room->fds));
	room->descriptors = alloc_array(2 * count, sizeof(*room->descriptors));
	if (room->vector.requests && room->vector.files && room->vector.order &&
	    room->fds && room->descriptors)
		return room;
	free_room(room);
	return NULL;
}

/* What is wrong with @argument itself: -EINVAL, -E2BIG. */
static int check_argument(const struct exchrange_vector *argument)
{
	if (argument->flags & ~VECTOR_FLAGS || argument->pad ||
	    memchr_inv(argument->reserved, 0, sizeof(argument->reserved)) ||
	    argument->pair_size < PAIR_SIZE_VER0)
		return -EINVAL;
	if (argument->pair_size > PAGE_SIZE || argument->count > EXCHRANGE_VECTOR_PAIRS)
		return -E2BIG;
	return 0;
}

/*
 * Exchanges what @argument names, and sets its refused.  May sleep.  As
 * exchange_submit(); -EFAULT, -EBADF, -E2BIG, -ENOMEM, -EINTR for a caller that is being killed.
 */
int exchange_vector_submit(struct exchrange_vector *argument)
{
	struct vector_room *room;
	int error;

	argument->refused = EXCHRANGE_REFUSED_NONE;
	error = check_argument(argument);
	if (error || !argument->count)
		return error;
	room = alloc_room(argument);
	if (!room)
		return -ENOMEM;
	error = copy_pairs(room, argument) ?: resolve(room) ?:
		exchange_submit(&room->vector);
	argument->refused = room->vector.refused;
	free_room(room);
	return error;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a file system has to offer, and the request that goes to it.
 */
#ifndef EXCHRANGE_BACKEND_H
#define EXCHRANGE_BACKEND_H

#include <linux/fs.h>
#include <linux/exchrange.h>

#include "watch.h"

enum exchange_operation {
	EXCHANGE_OPERATION_EXCHANGE,
	EXCHANGE_OPERATION_START_COMMIT,
	EXCHANGE_OPERATION_COMMIT,
};

/*
 * Two ranges that change places, copied from user memory once; or the file that is sampled.
 * The caller of exchange_submit() holds a reference to both files; START_COMMIT has no file1.
 */
struct exchange_request {
	enum exchange_operation	operation;
	struct file		*file1;
	struct file		*file2;
	u64			file1_offset;	/* bytes */
	u64			file2_offset;	/* bytes */
	u64			length;		/* bytes; see exchange_check_locked() */
	u64			flags;		/* EXCHRANGE_*, all known */

	/*
	 * COMMIT's sample of file2, and START_COMMIT's if the back end says that it
	 * has put one there; one that hands the call on has not.
	 */
	u64			freshness[6];
	bool			sampled;

	/*
	 * Where the caller's struct lies, for a back end that hands the call
	 * on.  Its contents may have changed since: nothing that is read there
	 * again may decide over anything but the caller's own call.
	 */
	void __user		*argument;

	/* Which of the vector's inodes file1 has, and file2. */
	u8			inode_index[2];
};

/*
 * One call of the device: requests that are carried out all or none; most calls have one.
 * Once exchange_check_locked() has passed them the ranges of one file do not overlap.
 */
struct exchange_vector {
	struct exchange_request	*requests;
	u32			count;
	u32			refused;	/* the request that an error is about */
	u64			flags;		/* EXCHRANGE_DSYNC, EXCHRANGE_DRY_RUN */

	/* exchange_vector_index() fills these; of START_COMMIT they are empty. */
	struct exchange_inode	*inodes;	/* each once, in ascending order of address */
	u32			inode_count;
	struct file		**files;	/* each open file once */
	u32			file_count;
	u32			*order;		/* of all ranges: see exchange_vector_range() */
	u32			overlap;	/* the request that meets an earlier one, or NONE */

	/* Of files on overlayfs: its inodes, for watches, and that all rights were asked for. */
	struct exchange_inode	*above;
	u32			above_count;
	bool			rights_asked;
};

/* The room that a vector of one request needs. */
struct exchange_single {
	struct exchange_vector	vector;
	struct exchange_request	request;
	struct exchange_inode	inodes[2];
	struct file		*files[2];
	u32			order[2];
};

static inline void exchange_init_single(struct exchange_single *single)
{
	single->vector = (struct exchange_vector) {
		.requests	= &single->request,
		.count		= 1,
		.refused	= EXCHRANGE_REFUSED_NONE,
		.flags		= single->request.flags &
				  (EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN),
		.inodes		= single->inodes,
		.files		= single->files,
		.order		= single->order,
		.overlap	= EXCHRANGE_REFUSED_NONE,
	};
}

static inline struct file *exchange_request_file(const struct exchange_request *request,
						 int side)
{
	return side ? request->file2 : request->file1;
}

static inline u64 exchange_request_offset(const struct exchange_request *request, int side)
{
	return side ? request->file2_offset : request->file1_offset;
}

/*
 * The range that is in the place @i when all are in ascending order of their inodes'
 * addresses, and of their offsets: the index of its request, and which @side it is of.
 */
static inline u32 exchange_vector_range(const struct exchange_vector *vector, u32 i, int *side)
{
	*side = vector->order[i] & 1;
	return vector->order[i] >> 1;
}

/*
 * All methods may sleep and are called without locks.  The files they get are
 * regular files on a file system with this magic.
 */
struct exchange_backend {
	unsigned long magic;	/* struct super_block::s_magic */

	/* For as long as the module is loaded.  Either both or none. */
	int (*start)(void);
	void (*stop)(void);

	/*
	 * Fills backend, alignment, reason and flags of @query, which is zero.
	 * 0 also where the answer is EXCHRANGE_BACKEND_NONE.
	 */
	int (*query)(struct file *file, struct exchrange_query *query);

	/*
	 * Carries out @vector, whose requests have passed exchange_check_request().  Sends
	 * the fsnotify events, and calls exchange_watch_begin() and _end().  An exchange is
	 * -EOPNOTSUPP where query() would answer EXCHRANGE_BACKEND_NONE.  After an error that
	 * is about one request, vector->refused says which.
	 */
	int (*submit)(struct exchange_vector *vector);
};

extern const struct exchange_backend exchange_backend_btrfs;
extern const struct exchange_backend exchange_backend_xfs;

#endif /* EXCHRANGE_BACKEND_H */

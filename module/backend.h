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
 * One call of the device, copied from user memory once.  The caller of
 * exchange_submit() holds a reference to both files; START_COMMIT has no file1.
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

	/* What watch.c knows the files by while they change.  Zero before. */
	struct exchange_under_way under_way[2];
};

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
	 * Carries out @request, which has passed exchange_check_request().  Sends the fsnotify
	 * events, and calls exchange_watch_begin() and _end().  An exchange is -EOPNOTSUPP
	 * where query() would answer EXCHRANGE_BACKEND_NONE.
	 */
	int (*submit)(struct exchange_request *request);
};

extern const struct exchange_backend exchange_backend_btrfs;
extern const struct exchange_backend exchange_backend_xfs;

#endif /* EXCHRANGE_BACKEND_H */

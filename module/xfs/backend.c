// SPDX-License-Identifier: GPL-2.0
/*
 * XFS: which of its two back ends exchanges a file.
 *
 *	XFS's own ioctl		Linux 6.10 and newer, file systems made with exchange=1
 *	one transaction		any, where XFS's private functions could be bound
 */
#include <linux/magic.h>
#include <linux/moduleparam.h>

#include "backend.h"

static bool xfs_transaction_first;
module_param(xfs_transaction_first, bool, 0644);
MODULE_PARM_DESC(xfs_transaction_first,
		 "Exchange in one transaction of exchrange's on XFS file systems that could do it by their own ioctl, too (default: no)");

/* After xfs_bind_get() said NONE. */
static bool uses_transaction(const struct file *file)
{
	return READ_ONCE(xfs_transaction_first) || !xfs_has_own_exchange(file);
}

static int xfs_submit(struct exchange_vector *vector)
{
	const struct file *file = vector->requests[0].file2;
	const struct super_block *sb = file_inode(file)->i_sb;
	int error;

	if (xfs_bind_get(sb) != EXCHRANGE_REASON_NONE)
		return vector->count > 1 ? -EOPNOTSUPP : xfs_own_submit(vector, false);
	/* XFS itself knows no vectors. */
	if (vector->count > 1 || uses_transaction(file))
		error = xfs_transaction_submit(vector);
	else
		error = xfs_own_submit(vector, true);
	xfs_bind_put(sb);
	return error;
}

/*
 * Where XFS itself cannot do it either, it is the module that can be mended, unless it was
 * built so.
 */
static int query_own_alone(struct file *file, struct exchrange_query *query,
			   u32 reason)
{
	int error = xfs_own_query(file, query, reason);

	if (!error && query->backend == EXCHRANGE_BACKEND_NONE &&
	    reason != EXCHRANGE_REASON_BUILD)
		query->reason = reason;
	return error;
}

static int xfs_query(struct file *file, struct exchrange_query *query)
{
	const struct super_block *sb = file_inode(file)->i_sb;
	u32 reason = xfs_bind_get(sb);
	bool transaction;

	if (reason != EXCHRANGE_REASON_NONE)
		return query_own_alone(file, query, reason);
	/* Once: the parameter may change meanwhile. */
	transaction = uses_transaction(file);
	if (transaction)
		xfs_transaction_query(file, query);
	else
		xfs_own_describe(query, xfs_own_alignment(file),
				 EXCHRANGE_REASON_NONE);
	if (xfs_takes_vectors(file))
		query->features = EXCHRANGE_FEATURE_VECTOR;
	if (xfs_has_own_exchange(file))
		query->alternative = transaction ?
				     EXCHRANGE_BACKEND_XFS :
				     EXCHRANGE_BACKEND_XFS_TRANSACTION;
	xfs_bind_put(sb);
	return 0;
}

const struct exchange_backend exchange_backend_xfs = {
	.magic		= XFS_SUPER_MAGIC,
	.start		= xfs_bind_start,
	.stop		= xfs_bind_stop,
	.query		= xfs_query,
	.submit		= xfs_submit,
};

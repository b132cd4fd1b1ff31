// SPDX-License-Identifier: GPL-2.0
/*
 * What keeps a crash from cutting a file that an exchange with TO_EOF makes longer.
 *
 * XFS's own exchange is a chain of transactions.  After a crash in the middle of it,
 * log recovery goes on with the chain and sets the sizes on disk, but not i_size of
 * the inodes that it holds (seen with Linux 6.12); when it lets them go, XFS frees
 * the blocks behind i_size, which was the size before, as preallocation that nobody
 * wanted.  So the end of the longer contents is lost, to a DSYNC exchange too, which is
 * durable by its first transaction.  selftests/crash shows it.
 *
 * XFS frees no such blocks of a file with XFS_DIFLAG_PREALLOC.  Both files have
 * it from before the exchange, in the log too, until after it.
 */
#include <linux/hashtable.h>
#include <linux/slab.h>

#include "../compat.h"
#include "backend.h"
#include "private.h"

/* An inode that has the flag for exchanges that are under way. */
struct kept_inode {
	struct hlist_node	node;
	struct inode		*inode;
	unsigned int		users;	/* under the inode lock */
	bool			ours;	/* it did not have it before */
};

static DEFINE_HASHTABLE(kept_inodes, 8);
static DEFINE_SPINLOCK(kept_lock);	/* of the table; inside the inode lock */

static struct kept_inode *find_kept(const struct inode *inode)
{
	struct kept_inode *kept, *found = NULL;

	spin_lock(&kept_lock);
	hash_for_each_possible(kept_inodes, kept, node, (unsigned long)inode)
		if (kept->inode == inode)
			found = kept;
	spin_unlock(&kept_lock);
	return found;
}

/*
 * A transaction of its own: in the log it comes before the exchange, or after it.
 * With the inode lock; ILOCK is the transaction's.  No timestamp changes.
 */
static int log_flag(struct xfs_inode *ip, bool set)
{
	struct xfs_trans *tp;
	int error;

	error = xfs_trans_alloc_inode(ip, &ip->i_mount->m_resv.tr_ichange, 0, 0,
				      true, &tp);
	if (error)
		return error;
	if (set)
		ip->i_diflags |= XFS_DIFLAG_PREALLOC;
	else
		ip->i_diflags &= ~XFS_DIFLAG_PREALLOC;
	xfs_trans_log_inode(tp, ip, XFS_ILOG_CORE);
	error = xfs_trans_commit(tp);
	xfs_iunlock(ip, XFS_ILOCK_EXCL);
	return error;
}

/* With the inode lock and write access; takes @new unless it is kept already. */
static int keep_locked(struct inode *inode, struct kept_inode **new)
{
	struct kept_inode *kept = find_kept(inode);
	int error;

	/* What XFS would answer after it: then there is nothing to keep. */
	if (IS_IMMUTABLE(inode))
		return -EPERM;
	if (IS_SWAPFILE(inode))
		return -ETXTBSY;
	if (kept) {
		kept->users++;
		return 0;
	}
	kept = *new;
	kept->inode = inode;
	kept->users = 1;
	kept->ours = !(XFS_I(inode)->i_diflags & XFS_DIFLAG_PREALLOC);
	error = kept->ours ? log_flag(XFS_I(inode), true) : 0;
	if (error)
		return error;
	spin_lock(&kept_lock);
	hash_add(kept_inodes, &kept->node, (unsigned long)inode);
	spin_unlock(&kept_lock);
	*new = NULL;
	return 0;
}

static int keep(struct file *file)
{
	struct kept_inode *new = kmalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	struct inode *inode = file_inode(file);
	int error;

	if (!new)
		return -ENOMEM;
	file_start_write(file);
	inode_lock(inode);
	error = keep_locked(inode, &new);
	inode_unlock(inode);
	file_end_write(file);
	kfree(new);
	return error;
}

/* A pNFS client that was given blocks meanwhile needs the flag for them. */
static bool has_layout(const struct inode *inode)
{
	struct file_lock_context *context = locks_inode_context(inode);

	return context && !list_empty_careful(&context->flc_lease);
}

/*
 * A preallocation that somebody else makes meanwhile loses the flag here too: then XFS
 * may free what it has behind the end of the file, as if it had never been made.
 * Of no blocks, the transaction fails only where the file system has shut down.
 */
static void release(struct file *file)
{
	struct inode *inode = file_inode(file);
	struct kept_inode *kept;

	file_start_write(file);
	inode_lock(inode);
	kept = find_kept(inode);
	if (--kept->users) {
		kept = NULL;
	} else {
		spin_lock(&kept_lock);
		hash_del(&kept->node);
		spin_unlock(&kept_lock);
		if (kept->ours && !has_layout(inode))
			log_flag(XFS_I(inode), false);
	}
	inode_unlock(inode);
	file_end_write(file);
	kfree(kept);
}

static int keep_both(const struct exchange_request *request)
{
	int error;

	error = keep(request->file1);
	if (error)
		return error;
	error = keep(request->file2);
	if (error)
		release(request->file1);
	return error;
}

/*
 * Calls @submit with both files kept.  No locks held.  -EOPNOTSUPP where that is not
 * possible; else as @submit, or what a transaction answers (-EIO, -ENOMEM), with
 * nothing changed.
 */
int xfs_keep_tails(struct exchange_vector *vector,
		   int (*submit)(struct exchange_vector *vector))
{
	const struct exchange_request *request = &vector->requests[0];
	const struct super_block *sb = file_inode(request->file2)->i_sb;
	int error;

	if (xfs_bind_get(sb) != EXCHRANGE_REASON_NONE)
		return -EOPNOTSUPP;
	/* Without the feature XFS refuses, and nothing needs to be kept. */
	if (request->flags & EXCHRANGE_DRY_RUN ||
	    !xfs_has_own_exchange(request->file2)) {
		error = submit(vector);
		xfs_bind_put(sb);
		return error;
	}
	error = keep_both(request);
	if (!error) {
		error = submit(vector);
		release(request->file2);
		release(request->file1);
	}
	xfs_bind_put(sb);
	return error;
}

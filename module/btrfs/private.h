/* SPDX-License-Identifier: GPL-2.0 */
/*
 * btrfs as it is inside: its private types and functions, which a build takes
 * from the BTF of the kernel that it is for (scripts/private_types), and what btrfs
 * has as inlines and macros, which no BTF tells.
 *
 * A function of btrfs is called by its name, as in btrfs itself: the name is a
 * macro for a static call, which private_symbols.c binds.
 */
#ifndef EXCHRANGE_BTRFS_PRIVATE_H
#define EXCHRANGE_BTRFS_PRIVATE_H

#include <linux/blkdev.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/iversion.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/percpu_counter.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../private_layout.h"
#include "btrfs_types.h"
#include "compat.h"

/* On disk, items follow the header of a leaf, and their data is counted from there. */
#define BTRFS_LEAF_DATA_OFFSET	sizeof(struct btrfs_header)

static inline struct btrfs_inode *BTRFS_I(const struct inode *inode)
{
	return container_of(inode, struct btrfs_inode, vfs_inode);
}

static inline u64 btrfs_ino(const struct btrfs_inode *inode)
{
#if BITS_PER_LONG == 32
	return inode->objectid;
#else
	return inode->vfs_inode.i_ino;
#endif
}

static inline u64 btrfs_root_id(const struct btrfs_root *root)
{
	return root->root_key.objectid;
}

static inline bool btrfs_root_readonly(const struct btrfs_root *root)
{
	return root->root_item.flags & cpu_to_le64(BTRFS_ROOT_SUBVOL_RDONLY);
}

static inline bool btrfs_has_no_holes(const struct btrfs_fs_info *fs_info)
{
	return fs_info->super_copy->incompat_flags &
	       cpu_to_le64(BTRFS_FEATURE_INCOMPAT_NO_HOLES);
}

/* Bytes of a leaf that its items and their data share. */
static inline u32 btrfs_leaf_data_size(const struct btrfs_fs_info *fs_info)
{
	return fs_info->nodesize - BTRFS_LEAF_DATA_OFFSET;
}

static inline u32 btrfs_header_nritems(const struct extent_buffer *leaf)
{
	__le32 nritems;

	read_extent_buffer(leaf, &nritems,
			   offsetof(struct btrfs_header, nritems),
			   sizeof(nritems));
	return le32_to_cpu(nritems);
}

static inline void btrfs_read_item(const struct extent_buffer *leaf, int slot,
				   struct btrfs_item *item)
{
	read_extent_buffer(leaf, item,
			   BTRFS_LEAF_DATA_OFFSET + slot * sizeof(*item),
			   sizeof(*item));
}

static inline void btrfs_read_item_data(const struct extent_buffer *leaf,
					const struct btrfs_item *item,
					void *data, u32 size)
{
	read_extent_buffer(leaf, data,
			   BTRFS_LEAF_DATA_OFFSET + le32_to_cpu(item->offset),
			   size);
}

/* Fills the data of the item in @slot, which was made with this size. */
static inline void btrfs_write_item_data(const struct extent_buffer *leaf,
					 int slot, const void *data)
{
	struct btrfs_item item;

	btrfs_read_item(leaf, slot, &item);
	write_extent_buffer(leaf, data,
			    BTRFS_LEAF_DATA_OFFSET + le32_to_cpu(item.offset),
			    le32_to_cpu(item.size));
}

/*
 * From here to the end of this transaction, an fsync commits all of it instead of
 * writing one inode to the log tree.
 */
static inline void btrfs_set_log_full_commit(struct btrfs_trans_handle *trans)
{
	WRITE_ONCE(trans->fs_info->last_trans_log_full_commit, trans->transid);
}

static inline void btrfs_abort_at(struct btrfs_trans_handle *trans,
				  const char *function, unsigned int line,
				  int error)
{
	bool first = !test_and_set_bit(BTRFS_FS_STATE_TRANS_ABORTED,
				       &trans->fs_info->fs_state);

	/* A positive error says that it is the first. */
	__btrfs_abort_transaction(trans, function, line, first ? -error : error);
}

/* A macro, so that the log tells the caller's line. */
#define btrfs_abort_transaction(trans, error) \
	btrfs_abort_at(trans, __func__, __LINE__, error)

#endif /* EXCHRANGE_BTRFS_PRIVATE_H */

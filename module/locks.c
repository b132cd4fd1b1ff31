// SPDX-License-Identifier: GPL-2.0
/*
 * The locks of all files of a vector.
 *
 * Each kind is taken in one order, that which the kernel has for two of its kind: the locks of
 * inodes and of mappings in ascending order of their addresses
 * (lock_two_nondirectories(), filemap_invalidate_lock_two()).  So whoever takes one, or two,
 * or a vector of them, cannot wait for somebody who waits for him.
 *
 * Lockdep cannot know an order of so many; it takes the caller's word where a lock that he
 * holds stands for all of them: here the file system's, against freezing.  Locks of a kind
 * count as one then, if nothing else is taken in between: it knows 48 at a time.
 */
#include <linux/fs.h>
#include <linux/rwsem.h>

#include "exchange.h"

/* sb_start_write() is the caller's. */
void exchange_lock_inodes(const struct exchange_vector *vector)
{
	u32 i;

	for (i = 0; i < vector->inode_count; i++)
		down_write_nest_lock(&vector->inodes[i].inode->i_rwsem,
				     exchange_nest_lock(vector));
}

void exchange_unlock_inodes(const struct exchange_vector *vector)
{
	u32 i;

	for (i = vector->inode_count; i > 0; i--)
		up_write(&vector->inodes[i - 1].inode->i_rwsem);
}

/* The invalidate_locks.  A mapping of a regular file is in its inode, so the order is the same. */
void exchange_lock_mappings(const struct exchange_vector *vector)
{
	u32 i;

	for (i = 0; i < vector->inode_count; i++)
		down_write_nest_lock(&vector->inodes[i].inode->i_mapping->invalidate_lock,
				     exchange_nest_lock(vector));
}

void exchange_unlock_mappings(const struct exchange_vector *vector)
{
	u32 i;

	for (i = vector->inode_count; i > 0; i--)
		up_write(&vector->inodes[i - 1].inode->i_mapping->invalidate_lock);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A walk through the file extents of a range, one after the other:
 *
 *	extent_walk_start(), then extent_walk_next() and ++slots[0] as long as there is one
 *	extent_walk_end()
 */
#ifndef EXCHRANGE_BTRFS_EXTENT_WALK_H
#define EXCHRANGE_BTRFS_EXTENT_WALK_H

#include "extents.h"

struct extent_walk {
	const struct inode_range		*range;
	u64				start;	/* bytes in the file */
	u64				end;
	struct btrfs_trans_handle	*trans;	/* makes leaves writable, or NULL */
	struct btrfs_path		*path;
	struct btrfs_item		item;	/* where it is, in its leaf */
	struct extent_count		*count;	/* of what it goes through, or NULL */
	bool				changing;	/* no signal ends it any more */
};

int extent_walk_search(struct extent_walk *walk, const struct btrfs_key *key);
void extent_walk_key(const struct extent_walk *walk, struct btrfs_key *key);
bool extent_walk_at_extent(const struct extent_walk *walk);
u64 extent_walk_read(const struct extent_walk *walk, struct file_extent *extent);
int extent_walk_find(struct extent_walk *walk);
int extent_walk_start(struct extent_walk *walk);
int extent_walk_next(struct extent_walk *walk, struct file_extent *extent);
void extent_walk_end(struct extent_walk *walk);

#endif /* EXCHRANGE_BTRFS_EXTENT_WALK_H */

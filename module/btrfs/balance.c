// SPDX-License-Identifier: GPL-2.0
/*
 * What balance has moved, brought up to date before an exchange.
 */
#include "extent_walk.h"

/*
 * Makes the leaf with the first extent at or behind walk->start writable, in a
 * transaction of its own, and moves walk->start behind the leaf's last extent.  1:
 * there may be another leaf.
 */
static int cow_one_leaf(struct extent_walk *walk)
{
	struct btrfs_root *root = walk->range->inode->root;
	struct file_extent extent;
	struct btrfs_key key;
	int ret;

	ret = extent_walk_start(walk) ?: extent_walk_next(walk, &extent);
	if (ret <= 0)
		goto out;
	extent_walk_key(walk, &key);
	btrfs_release_path(walk->path);

	walk->trans = btrfs_start_transaction(root, 1);
	if (IS_ERR(walk->trans)) {
		ret = PTR_ERR(walk->trans);
		goto out;
	}
	ret = extent_walk_search(walk, &key);
	if (!ret) {
		walk->path->slots[0] =
			btrfs_header_nritems(walk->path->nodes[0]) - 1;
		btrfs_read_item(walk->path->nodes[0], walk->path->slots[0],
				&walk->item);
		ret = extent_walk_at_extent(walk);
		if (ret)
			walk->start = extent_walk_read(walk, &extent);
	}
	btrfs_release_path(walk->path);
	btrfs_end_transaction(walk->trans);
out:
	extent_walk_end(walk);
	walk->trans = NULL;
	return ret;
}

/*
 * Where balance is moving data, whoever makes a leaf writable points its extents to
 * their new places, but those of a file whose i_mmap_lock is taken for writing stay.
 * A file that is exchanged again and again would keep balance from ever coming to an
 * end: so this does it before that lock is taken, for [@start, @end) in bytes.  The
 * caller holds the inode's lock.  What fails here is balance's to do.
 */
void update_moved_extents(struct btrfs_inode *inode, u64 start, u64 end)
{
	const struct inode_range range = { .inode = inode };
	struct extent_walk walk = {
		.range	= &range,
		.start	= start,
		.end	= end,
	};

	if (!READ_ONCE(inode->root->fs_info->reloc_ctl) ||
	    btrfs_root_readonly(inode->root))
		return;
	while (walk.start < walk.end && cow_one_leaf(&walk) > 0)
		;
}

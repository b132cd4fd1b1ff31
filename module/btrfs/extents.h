/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The file extents of a byte range: counted and read (extent_list.c), given another owner
 * (extent_refs.c), and put into another file (extent_items.c).
 */
#ifndef EXCHRANGE_BTRFS_EXTENTS_H
#define EXCHRANGE_BTRFS_EXTENTS_H

#include "private.h"

/*
 * One file extent, clipped to the range, with the item as it is on disk.  An inline
 * extent has its data in the list.
 */
struct file_extent {
	u64				offset;	/* bytes from the range's start */
	struct btrfs_file_extent_item	item;
};

/* The file extents of a range of one file, in their order. */
struct extent_list {
	struct file_extent	*extents;
	u32			count;
	u32			capacity;
	void			*inline_item;	/* the whole item, or NULL */
	u32			inline_size;	/* bytes */
};

/*
 * What an exchange takes at most, of both files: lists of 128 MiB.  A transaction that
 * lasts longer would keep the whole file system waiting.
 */
#define MAX_EXTENTS	(2u << 20)

/* What there is in a range, before anything is allocated or locked for it. */
struct extent_count {
	u32	limit;		/* of items; -E2BIG beyond */
	u32	items;		/* gone through, with those passed by */
	u32	extents;
	bool	has_inline;
	u64	leaves;		/* of the subvolume tree, gone through */
	u32	height;		/* of the tree: its levels */
	u64	disk_bytes;	/* that their data takes on disk, shared or not */
	u64	last_leaf;	/* bytenr, not to count one twice */
	u64	last_extent;
};

/* One range of a file.  Bytes, multiples of the sector size. */
struct inode_range {
	struct btrfs_inode	*inode;
	u64			start;
	u64			length;
	bool			written_only;	/* passes holes and preallocation by */
};

/* What it takes to put extents into a file, allocated beforehand. */
struct extent_writer {
	struct item_batch	*batch;
	struct btrfs_path	*path;
};

/* extent_list.c */
int count_extents(const struct inode_range *range, u64 from, u64 to,
		  struct extent_count *count);
int alloc_extent_list(struct extent_list *list, const struct extent_count *count,
		      const struct btrfs_fs_info *fs_info);
void free_extent_list(struct extent_list *list);
int collect_extents(struct btrfs_trans_handle *trans,
		    const struct inode_range *range, u64 from, u64 to,
		    struct extent_list *list);

/* extent_refs.c */
int add_extent_refs(struct btrfs_trans_handle *trans,
		    const struct inode_range *target,
		    const struct extent_list *list, u32 first, u32 end,
		    bool killable);
void undo_extent_refs(struct btrfs_trans_handle *trans,
		      const struct inode_range *target,
		      const struct extent_list *list, u32 first, u32 end);

/* extent_items.c */
int alloc_extent_writer(struct extent_writer *writer, u64 extents);
void free_extent_writer(struct extent_writer *writer);
int insert_extents(struct btrfs_trans_handle *trans,
		   struct extent_writer *writer, const struct inode_range *target,
		   const struct extent_list *list, u32 first, u32 end);
int fill_holes(struct btrfs_trans_handle *trans, struct extent_writer *writer,
	       const struct inode_range *target, u64 from, u64 to);

/* balance.c */
void update_moved_extents(struct btrfs_inode *inode, u64 start, u64 end);

#endif /* EXCHRANGE_BTRFS_EXTENTS_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What other kernels have of btrfs in another form: the rest is written for the newest.
 * The labels come from private.list: HAVE_x where this kernel has x, and the names of
 * the variants of a function's prototype.
 */
#ifndef EXCHRANGE_BTRFS_COMPAT_H
#define EXCHRANGE_BTRFS_COMPAT_H

/* Macros of btrfs's own, before they were enumerators or in linux/btrfs_tree.h. */
#ifndef HAVE_EXTENT_LOCKED
#define EXTENT_LOCKED			BIT(2)
#endif
#ifndef HAVE_btrfs_delayed_ref_action
#define BTRFS_ADD_DELAYED_REF		1
#define BTRFS_DROP_DELAYED_REF		2
#endif
#ifndef BTRFS_INODE_NODATASUM
#define BTRFS_INODE_NODATASUM		BIT(0)
#define BTRFS_INODE_NODATACOW		BIT(1)
#define BTRFS_INODE_PREALLOC		BIT(4)
#endif
#ifndef BTRFS_MAX_LEVEL
#define BTRFS_MAX_LEVEL			8
#endif

/* Simple quotas came in 6.7: no bits are theirs before. */
#ifndef BTRFS_FEATURE_INCOMPAT_SIMPLE_QUOTA
#define BTRFS_FEATURE_INCOMPAT_SIMPLE_QUOTA	0
#endif
#ifndef BTRFS_QGROUP_STATUS_FLAG_SIMPLE_MODE
#define BTRFS_QGROUP_STATUS_FLAG_SIMPLE_MODE	0
#endif

/* A lock of an extent is a bit of a range, under three names. */
static inline void btrfs_lock_extent(struct extent_io_tree *tree, u64 start,
				     u64 end, struct extent_state **cached)
{
#ifdef HAVE_btrfs_lock_extent_bits
	btrfs_lock_extent_bits(tree, start, end, EXTENT_LOCKED, cached);
#elif defined(HAVE___lock_extent)
	__lock_extent(tree, start, end, EXTENT_LOCKED, cached);
#else
	lock_extent(tree, start, end, cached);
#endif
}

static inline void btrfs_unlock_extent(struct extent_io_tree *tree, u64 start,
				       u64 end, struct extent_state **cached)
{
#ifdef HAVE_btrfs_clear_extent_bit_changeset
	btrfs_clear_extent_bit_changeset(tree, start, end, EXTENT_LOCKED, cached, NULL);
#elif defined(BTRFS_CLEAR_EXTENT_BIT_GFP)
	__clear_extent_bit(tree, start, end, EXTENT_LOCKED, cached, GFP_NOFS, NULL);
#else
	__clear_extent_bit(tree, start, end, EXTENT_LOCKED, cached, NULL);
#endif
}

#ifndef HAVE_btrfs_qgroup_reserve_meta_prealloc
static inline int btrfs_qgroup_reserve_meta_prealloc(struct btrfs_root *root, int bytes,
						     bool enforce, bool noflush)
{
	return __btrfs_qgroup_reserve_meta(root, bytes, BTRFS_QGROUP_RSV_META_PREALLOC,
					   enforce, noflush);
}

static inline void btrfs_qgroup_free_meta_prealloc(struct btrfs_root *root, int bytes)
{
	__btrfs_qgroup_free_meta(root, bytes, BTRFS_QGROUP_RSV_META_PREALLOC);
}
#endif

/* Before 6.7 a buffer was made dirty without its transaction. */
#ifdef BTRFS_MARK_BUFFER_DIRTY_ALONE
static inline void compat_btrfs_mark_buffer_dirty(struct btrfs_trans_handle *trans,
						  struct extent_buffer *leaf)
{
	btrfs_mark_buffer_dirty(leaf);
}

#undef btrfs_mark_buffer_dirty
#define btrfs_mark_buffer_dirty(...) compat_btrfs_mark_buffer_dirty(__VA_ARGS__)
#endif

/* Before 6.7 the root was told beside the inode. */
#ifdef BTRFS_UPDATE_INODE_OF_ROOT
static inline int compat_btrfs_update_inode(struct btrfs_trans_handle *trans,
					    struct btrfs_inode *inode)
{
	return btrfs_update_inode(trans, inode->root, inode);
}

#undef btrfs_update_inode
#define btrfs_update_inode(...) compat_btrfs_update_inode(__VA_ARGS__)
#endif

/* Before 6.11 it took the inode of the VFS. */
#ifdef BTRFS_WAIT_ORDERED_RANGE_VFS
static inline int compat_btrfs_wait_ordered_range(struct btrfs_inode *inode, u64 start,
						  u64 length)
{
	return btrfs_wait_ordered_range(&inode->vfs_inode, start, length);
}

#undef btrfs_wait_ordered_range
#define btrfs_wait_ordered_range(...) compat_btrfs_wait_ordered_range(__VA_ARGS__)
#endif

/* Before 7.x the first abort was told by a parameter more, not by the sign of the error. */
#ifdef BTRFS_ABORT_TRANSACTION_FIRST
static inline void compat_btrfs_abort_transaction(struct btrfs_trans_handle *trans,
						  const char *function, unsigned int line,
						  int error)
{
	__btrfs_abort_transaction(trans, function, line, -abs(error), error > 0);
}

#undef __btrfs_abort_transaction
#define __btrfs_abort_transaction(...) compat_btrfs_abort_transaction(__VA_ARGS__)
#endif

/*
 * Marks the first block of a file dirty, as it is, or zeroes what the last one has behind the
 * end: both as a write, with its reservations.  Inode locked, what is there written back.
 *
 * Since 6.16 the range is told by both its ends.  One that ends before it begins is of no bytes,
 * which a kernel with btrfs's assertions would not take: there only a block that has something
 * behind the end is written, and one that has not is -EOPNOTSUPP.
 */
static inline int btrfs_dirty_first_block(struct btrfs_inode *inode)
{
#ifdef BTRFS_TRUNCATE_BLOCK_FRONT
	return btrfs_truncate_block(inode, 0, 1, 1);
#else
	u64 size = i_size_read(&inode->vfs_inode);

	if (!IS_ENABLED(CONFIG_BTRFS_ASSERT))
		return btrfs_truncate_block(inode, 0, 1, 0);
	if (size >= inode->root->fs_info->sectorsize)
		return -EOPNOTSUPP;
	return btrfs_truncate_block(inode, size, size, (u64)-1);
#endif
}

static inline int btrfs_zero_behind_end(struct btrfs_inode *inode)
{
	u64 size = i_size_read(&inode->vfs_inode);

#ifdef BTRFS_TRUNCATE_BLOCK_FRONT
	return btrfs_truncate_block(inode, size, 0, 0);
#else
	return btrfs_truncate_block(inode, size, size, (u64)-1);
#endif
}

/* Two functions that got a prefix, each in its own time. */
#ifndef HAVE_btrfs_alloc_extent_map
#define btrfs_alloc_extent_map	alloc_extent_map
#endif
#ifndef HAVE_btrfs_free_extent_map
#define btrfs_free_extent_map	free_extent_map
#endif

/*
 * Where @length bytes of a file lie that are neither compressed nor preallocated: in the
 * extent at @bytenr, of @bytes, from @offset on.  Since 6.11 the map of an extent says it so.
 */
static inline void btrfs_fill_extent_map(struct extent_map *map, u64 start, u64 length,
					 u64 bytenr, u64 bytes, u64 offset)
{
	map->start = start;
	map->len = length;
	map->ram_bytes = bytes;
#ifdef HAVE_extent_map_disk_bytenr
	map->disk_bytenr = bytenr;
	map->disk_num_bytes = bytes;
	map->offset = offset;
#else
	map->orig_start = start - offset;
	map->orig_block_len = bytes;
	map->block_start = bytenr + offset;
	map->block_len = length;
#endif
}

/* A context whose inode is logged beside what else a transaction does, as by a rename. */
static inline void btrfs_init_log_ctx(struct btrfs_log_ctx *ctx, struct btrfs_inode *inode)
{
	*ctx = (struct btrfs_log_ctx) { .logging_new_name = true };
	/* Older kernels have the VFS's inode. */
	ctx->inode = __builtin_types_compatible_p(typeof(ctx->inode), struct inode *) ?
		     (void *)&inode->vfs_inode : (void *)inode;
	INIT_LIST_HEAD(&ctx->list);
	INIT_LIST_HEAD(&ctx->ordered_extents);
	INIT_LIST_HEAD(&ctx->conflict_inodes);
}

static inline void btrfs_drop_log_ctx(struct btrfs_log_ctx *ctx)
{
#ifdef HAVE_btrfs_log_ctx_scratch_eb
	if (ctx->scratch_eb)
		free_extent_buffer(ctx->scratch_eb);
#endif
}

/*
 * A reference of a file to a data extent, that begins at @offset of the file, in bytes,
 * if all of it were there.
 */
static inline void btrfs_fill_data_ref(struct btrfs_ref *ref, int action, u64 bytenr,
				       u64 bytes, u64 root_id, u64 ino, u64 offset)
{
#ifdef HAVE_btrfs_init_data_ref
	*ref = (struct btrfs_ref) {
		.action		= action,
		.bytenr		= bytenr,
		.num_bytes	= bytes,
		.owning_root	= root_id,
		.ref_root	= root_id,
	};
	btrfs_init_data_ref(ref, ino, offset, 0, false);
#else
	*ref = (struct btrfs_ref) {
		.type		= BTRFS_REF_DATA,
		.action		= action,
		.bytenr		= bytenr,
		.len		= bytes,
#ifdef HAVE_btrfs_ref_owning_root
		/* From 6.7 to 6.9. */
		.owning_root	= root_id,
		.data_ref	= {
			.ref_root	= root_id,
#else
		.data_ref	= {
			.owning_root	= root_id,
#endif
			.ino		= ino,
			.offset		= offset,
		},
	};
#endif
}

#endif /* EXCHRANGE_BTRFS_COMPAT_H */

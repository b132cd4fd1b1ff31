// SPDX-License-Identifier: GPL-2.0
/*
 * What an fsync may write of an exchange.
 *
 * An fsync does not commit the transaction.  It writes one inode, as it is now, to the log tree
 * of the subvolume; after a crash that inode comes back over the last commit.  Of two files that
 * have changed places one would come back as it is now, and the other as it was then.  So an
 * exchange forbids the log for as long as its transaction runs: who asks for an fsync commits it.
 *
 * It need not where all but one of the files are staging files, which are gone after a crash,
 * whatever they had (is_gone_after_crash).  The log then has that file as it is now, or does not
 * have it: all of the exchange, or nothing.  With DSYNC the exchange is an fsync of that file.
 *
 * Three things have to be kept from the log:
 *
 *  - A part of that file.  Others log it too, when it is renamed or linked, and when its
 *    directory is synced: not its extents, but its size, and of two sizes the smaller one.  Where
 *    the exchange makes it smaller, it is logged at once, in the same handle, and nobody's fsync
 *    writes the log in between: btrfs_pin_log_trans(), as btrfs itself does it for a rename.
 *  - One of several such files.  They too are logged at once, all of them: if the caller waits
 *    for that.  If nobody does, to log them is more work than to exchange them.
 *  - What btrfs does not know of.  The extents come with a new generation, so that they are taken
 *    for new ones.  An fsync logs all of the file (BTRFS_INODE_NEEDS_FULL_SYNC), or what has a
 *    new map.  Several inodes may log the checksums of one extent (last_reflink_trans).
 *
 * The replay adds the references that the log has before it removes those of the staging file,
 * whose orphan item is cleaned up after it.
 */
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/sizes.h>

#include "../compat.h"
#include "exchange.h"

/* Extents of all ranges: more of them are written by a commit as cheaply. */
#define MAX_LOGGED	4096

/* Data whose checksums are logged with it, though they may be on the disk. */
#define MAX_LOGGED_BYTES	SZ_256M

/* --- may it be logged? ------------------------------------------------------------------ */

/* An fsync of many extents takes long, and who logs them at once keeps others from theirs. */
static bool is_small(const struct btrfs_exchange *exchange)
{
	return exchange->items <= MAX_LOGGED;
}

/* Each subvolume has a log of its own, and one may be on the disk without the other. */
static bool is_one_log(const struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 1; i < exchange->vector->inode_count; i++)
		if (exchange->files[i].inode->root != exchange->files[0].inode->root)
			return false;
	return true;
}

/*
 * Without CoW a new owner writes to the very blocks that the log on the disk has for the old
 * one: btrfs asks whether an extent is shared, but not whether a log has it.
 */
static bool is_copied_on_write(const struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 0; i < exchange->vector->inode_count; i++)
		if (exchange->files[i].inode->flags & BTRFS_INODE_NODATACOW)
			return false;
	return true;
}

/*
 * Whether the log of @transid may have @inode.  What came into memory after it was logged
 * does not know, if it changed in that transaction.
 */
static bool may_be_logged(const struct btrfs_inode *inode, u64 transid)
{
	const u64 logged = READ_ONCE(inode->logged_trans);

	return logged == transid ||
	       (!logged && READ_ONCE(inode->last_trans) == transid &&
		READ_ONCE(inode->root->log_root));
}

/*
 * Whether a block of a file in the log, on the disk perhaps, gets a new owner that writes to it in
 * place: a crash would bring the old owner back with what the new one wrote.  The transaction
 * has to be committed first.  With all inodes locked: no fsync of them comes in between.
 */
bool btrfs_log_must_go(const struct btrfs_trans_handle *trans,
		       const struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 0; i < exchange->vector->inode_count; i++) {
		const struct btrfs_inode *inode = exchange->files[i].inode;

		if (inode->flags & BTRFS_INODE_NODATACOW &&
		    may_be_logged(inode, trans->transid))
			return true;
	}
	return false;
}

/*
 * The link count of @inode in the last commit, which is what a crash brings back: 0 where it
 * is not there.  Negative: an error.  The handle keeps that commit in its place.
 */
static int links_in_commit(const struct btrfs_trans_handle *trans, struct btrfs_path *path,
			   const struct btrfs_inode *inode)
{
	const struct btrfs_key key = {
		.objectid	= btrfs_ino(inode),
		.type		= BTRFS_INODE_ITEM_KEY,
	};
	struct btrfs_inode_item found;
	struct btrfs_item item;
	int ret;

	if (inode->generation >= trans->transid)
		return 0;
	path->search_commit_root = 1;
	path->skip_locking = 1;
	ret = btrfs_search_slot(NULL, inode->root, &key, path, 0, 0);
	if (!ret) {
		btrfs_read_item(path->nodes[0], path->slots[0], &item);
		btrfs_read_item_data(path->nodes[0], &item, &found, sizeof(found));
		ret = le32_to_cpu(found.nlink) ? 1 : 0;
	} else if (ret > 0) {
		ret = 0;
	}
	btrfs_release_path(path);
	path->search_commit_root = 0;
	path->skip_locking = 0;
	return ret;
}

/*
 * Whether a crash leaves nothing of @inode: it has no name, and had none in the last commit; and it
 * gets none, since link(2) refuses what has no link but for I_LINKABLE.  A name that it had
 * within this transaction was taken out of the log by unlink(2).  The inode is locked, and
 * so its links stay as they are.
 */
static bool is_gone_after_crash(const struct btrfs_trans_handle *trans,
				const struct btrfs_exchange *exchange,
				struct btrfs_inode *inode)
{
	struct inode *vfs_inode = &inode->vfs_inode;

	return !vfs_inode->i_nlink && !(compat_inode_state(vfs_inode) & I_LINKABLE) &&
	       links_in_commit(trans, exchange->writer.path, inode) == 0;
}

/* The side of @pair that a crash brings back, if the other one is gone then.  -1: there is none. */
static int find_kept_side(const struct btrfs_exchange *exchange, const struct btrfs_pair *pair)
{
	bool kept1 = exchange->files[pair->request->inode_index[0]].is_kept;
	bool kept2 = exchange->files[pair->request->inode_index[1]].is_kept;

	return kept1 == kept2 ? -1 : kept2;
}

/*
 * Sorts the files into those that a crash brings back, and those that are gone.  False where one is
 * neither: it has no name, but had one, or may get one; or is in no place to be logged.
 */
static bool sort_files(const struct btrfs_trans_handle *trans, struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 0; i < exchange->vector->inode_count; i++) {
		struct btrfs_file *file = &exchange->files[i];

		file->is_kept = file->inode->vfs_inode.i_nlink;
		if (!file->is_kept && !is_gone_after_crash(trans, exchange, file->inode))
			return false;
	}
	return true;
}

/*
 * Without NO_HOLES a hole has an item, and what has none is not logged: the old data would come
 * back there.  Files with such gaps are rare, and are not forbidden.
 */
static bool has_no_gap(const struct btrfs_pair *pair, int side)
{
	const struct inode_range *range = &pair->range[side];
	const struct btrfs_fs_info *fs_info = range->inode->root->fs_info;
	u64 end = round_up(pair->new_size[side], fs_info->sectorsize) - range->start;

	return btrfs_has_no_holes(fs_info) ||
	       btrfs_pair_fills(pair, side, min(range->length, end));
}

/*
 * When a file is renamed or linked after it was logged, its size in the log stays, and 0 there
 * stands for the one that it had in the last commit.
 */
static bool keeps_bytes(const struct btrfs_pair *pair, int side)
{
	return pair->new_size[side];
}

/* What the extents that @side gets have of data on the disk, in bytes. */
static u64 count_bytes(const struct btrfs_pair *pair, int side)
{
	const struct extent_list *list = &pair->list[!side];
	u64 bytes = 0;
	u32 i;

	for (i = 0; i < list->count; i++) {
		const struct btrfs_file_extent_item *item = &list->extents[i].item;

		/* Neither a hole nor an inline extent. */
		if (item->disk_bytenr)
			bytes += le64_to_cpu(item->compression ? item->disk_num_bytes :
								 item->num_bytes);
	}
	return bytes;
}

static bool shrinks(const struct btrfs_pair *pair, int side)
{
	return pair->new_size[side] < i_size_read(btrfs_pair_inode(pair, side));
}

/* No write is on its way: else the log could have a file without what was written. */
static bool is_written_back(struct btrfs_inode *inode)
{
	bool written_back;

	spin_lock(&inode->lock);
	written_back = !inode->outstanding_extents;
	spin_unlock(&inode->lock);
	return written_back;
}

static bool are_written_back(const struct btrfs_exchange *exchange)
{
	u32 i;

	for (i = 0; i < exchange->vector->inode_count; i++)
		if (exchange->files[i].is_kept && !is_written_back(exchange->files[i].inode))
			return false;
	return true;
}

static u32 count_kept(const struct btrfs_exchange *exchange)
{
	u32 i, count = 0;

	for (i = 0; i < exchange->vector->inode_count; i++)
		count += exchange->files[i].is_kept;
	return count;
}

/* Looks at all pairs.  False where one must not be logged. */
static bool can_log_pairs(struct btrfs_exchange *exchange, bool *at_once)
{
	const struct btrfs_pair *pair;
	u64 bytes = 0;
	int side;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		side = find_kept_side(exchange, pair);
		if (side < 0 || !has_no_gap(pair, side) || !keeps_bytes(pair, side))
			return false;
		if (shrinks(pair, side))
			*at_once = true;
		bytes += count_bytes(pair, side);
	}
	return bytes <= MAX_LOGGED_BYTES;
}

static enum btrfs_log_use choose(const struct btrfs_trans_handle *trans,
				 struct btrfs_exchange *exchange)
{
	bool at_once;

	if (!is_small(exchange) || !is_one_log(exchange) || !is_copied_on_write(exchange) ||
	    !sort_files(trans, exchange))
		return BTRFS_LOG_FORBIDDEN;
	at_once = count_kept(exchange) > 1;
	if (at_once && !exchange_must_be_durable(exchange->vector))
		return BTRFS_LOG_FORBIDDEN;
	if (!can_log_pairs(exchange, &at_once))
		return BTRFS_LOG_FORBIDDEN;
	if (!at_once)
		return BTRFS_LOG_LATER;
	return are_written_back(exchange) ? BTRFS_LOG_AT_ONCE : BTRFS_LOG_FORBIDDEN;
}

/*
 * Whether btrfs_log_begin() may choose to log several files at once, of which all has to be
 * written back then.
 */
bool btrfs_log_may_be_at_once(const struct btrfs_exchange *exchange)
{
	return exchange->vector->inode_count > 2 && exchange_must_be_durable(exchange->vector);
}

/*
 * Before anything changes: the lists are there, in a handle.  btrfs_log_end() follows, whatever
 * comes in between.
 */
void btrfs_log_begin(struct btrfs_trans_handle *trans, struct btrfs_exchange *exchange)
{
	exchange->log = choose(trans, exchange);
	if (exchange->log == BTRFS_LOG_FORBIDDEN)
		btrfs_set_log_full_commit(trans);
	if (exchange->log == BTRFS_LOG_AT_ONCE)
		btrfs_pin_log_trans(exchange->files[0].inode->root);
}

/* --- what it finds then ------------------------------------------------------------------ */

/* Extents of this transaction may be logged with other inodes too. */
static void tell_shared(struct btrfs_inode *inode, u64 transid)
{
	spin_lock(&inode->lock);
	inode->last_reflink_trans = transid;
	spin_unlock(&inode->lock);
}

/* The next fsync looks at all of @inode. */
static void tell_all_changed(struct btrfs_inode *inode)
{
	set_bit(BTRFS_INODE_NEEDS_FULL_SYNC, &inode->runtime_flags);
}

static bool make_maps(const struct btrfs_pair *pair, int side, u64 transid)
{
	return btrfs_pair_can_map(pair, side) && !btrfs_pair_map(pair, side, transid);
}

static void tell_pair(const struct btrfs_exchange *exchange, const struct btrfs_pair *pair)
{
	int kept = find_kept_side(exchange, pair), side;

	for (side = 0; side < 2; side++) {
		struct btrfs_inode *inode = pair->range[side].inode;

		tell_shared(inode, exchange->transid);
		if (side == kept && make_maps(pair, side, exchange->transid))
			continue;
		tell_all_changed(inode);
		btrfs_pair_drop_maps(pair, side);
	}
}

/* The maps of the files, and marks for who logs them. */
static void tell_pairs(const struct btrfs_exchange *exchange)
{
	const struct btrfs_pair *pair;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair))
		tell_pair(exchange, pair);
}

/* No maps: of a transaction whose log is forbidden, or that was aborted. */
static void drop_maps(const struct btrfs_exchange *exchange)
{
	const struct btrfs_pair *pair;
	int side;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair))
		for (side = 0; side < 2; side++)
			btrfs_pair_drop_maps(pair, side);
}

static const struct file *open_file_of(const struct btrfs_exchange *exchange, u32 index)
{
	const struct exchange_vector *vector = exchange->vector;
	u32 i;

	for (i = 0; i < vector->file_count; i++)
		if (file_inode(vector->files[i]) == vector->inodes[index].inode)
			return vector->files[i];
	return NULL;
}

/* 0: the log has the file now. */
static int log_file(struct btrfs_trans_handle *trans, const struct btrfs_exchange *exchange,
		    u32 index)
{
	const struct file *file = open_file_of(exchange, index);
	struct btrfs_log_ctx ctx;
	int ret;

	btrfs_init_log_ctx(&ctx, exchange->files[index].inode);
	ret = btrfs_log_dentry_safe(trans, file_dentry(file), &ctx);
	btrfs_drop_log_ctx(&ctx);
	return ret;
}

/* All or none: what cannot be logged has to be committed. */
static void log_files(struct btrfs_trans_handle *trans, const struct btrfs_exchange *exchange)
{
	int ret = 0;
	u32 i;

	for (i = 0; i < exchange->vector->inode_count && !ret; i++)
		if (exchange->files[i].is_kept)
			ret = log_file(trans, exchange, i);
	if (ret)
		btrfs_set_log_full_commit(trans);
}

/*
 * After the change, in its handle, with all locks; @error: there was none, or it was not
 * finished, and the transaction is aborted.
 */
void btrfs_log_end(struct btrfs_trans_handle *trans, struct btrfs_exchange *exchange, int error)
{
	if (exchange->must_abort && (error || exchange->log == BTRFS_LOG_FORBIDDEN))
		drop_maps(exchange);
	else if (exchange->must_abort)
		tell_pairs(exchange);
	if (exchange->log != BTRFS_LOG_AT_ONCE)
		return;
	if (!error)
		log_files(trans, exchange);
	btrfs_end_log_trans(exchange->files[0].inode->root);
}

/* --- on stable storage ------------------------------------------------------------------- */

/*
 * An fsync.  An error that was there before, of a write to @file, stays for the caller's own
 * one to tell.
 */
static int sync_file(struct file *file)
{
	errseq_t seen = READ_ONCE(file->f_wb_err);
	int error = vfs_fsync(file, 0);

	if (!error)
		return 0;
	spin_lock(&file->f_lock);
	file->f_wb_err = seen;
	spin_unlock(&file->f_lock);
	return error;
}

/* Where several files were logged at once, the log that has one of them has all. */
static int sync_log(const struct btrfs_exchange *exchange)
{
	struct file *file;
	u32 i = 0;

	while (!exchange->files[i].is_kept)
		i++;
	file = (struct file *)open_file_of(exchange, i);
	/* One that has lost its name meanwhile is not logged; a crash may bring the name back. */
	return sync_file(file) ?: file_inode(file)->i_nlink ? 0 : -ENOENT;
}

/*
 * Returns when the exchange is on stable storage, without a lock.  What the log cannot do, or
 * an error that is not of the exchange, a commit does.  -EIO, -EROFS.
 */
int btrfs_exchange_make_durable(const struct btrfs_exchange *exchange)
{
	if (exchange->log != BTRFS_LOG_FORBIDDEN && !sync_log(exchange))
		return 0;
	return btrfs_exchange_commit(exchange);
}

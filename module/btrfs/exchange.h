/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One exchange on btrfs: backend.c goes through the steps, transaction.c does it.
 */
#ifndef EXCHRANGE_BTRFS_EXCHANGE_H
#define EXCHRANGE_BTRFS_EXCHANGE_H

#include "../exchange.h"
#include "extents.h"

/* Two ranges that change places.  Index 0 is file1's, 1 is file2's. */
struct btrfs_pair {
	const struct exchange_request	*request;
	struct inode_range	range[2];
	u64			new_size[2];	/* bytes; the old one without TO_EOF */
	struct folio		*held[2];	/* by readers: see readers.c */
	struct extent_state	*locked[2];	/* in the inodes' io_trees */

	/* transaction.c's own */
	struct extent_count	count[2];
	struct extent_list	list[2];
	u64			moved[2];	/* bytes that went to the other file */
	u64			cut[2];		/* bytes that went for good */
};

/* A file, which may be in many pairs. */
struct btrfs_file {
	struct btrfs_inode	*inode;
	s64			gain;		/* bytes of all files of its subvolume: the first */
	u64			quota;		/* bytes reserved of that */
	bool			is_changed, has_times;
	bool			is_kept;	/* by a crash: log.c's */
};

/* What an fsync may do until the transaction of the exchange is committed: see log.c. */
enum btrfs_log_use {
	BTRFS_LOG_FORBIDDEN,	/* it commits the transaction */
	BTRFS_LOG_LATER,	/* it logs the one file that has a name */
	BTRFS_LOG_AT_ONCE,	/* the files were logged with the exchange */
};

struct btrfs_exchange {
	struct exchange_vector	*vector;
	struct btrfs_fs_info	*fs_info;
	struct btrfs_file	*files;		/* vector->inode_count */
	bool			is_empty;	/* no pair has bytes */

	/* Why an attempt was -EBUSY, which the next one may not be. */
	bool			pages_stay;	/* in the cache */
	bool			readers_stay;	/* with a page that is held */
	bool			patient;	/* with readers */

	/* transaction.c's own */
	u32			limit;		/* of extents, in all ranges */
	u32			items;		/* that were counted so far */
	struct extent_writer	writer;
	struct btrfs_block_rsv	reserve;
	u64			transid;	/* the transaction of the exchange */
	enum btrfs_log_use	log;
	bool			must_wait;	/* for its commit, and begin anew */
	bool			must_abort;	/* an error aborts from here on */
	u64			ref_bytes;	/* of the reserve, for the references */
	bool			refs_run;
	u32			refs_kept;	/* extents since then */

	struct btrfs_pair	pairs[];	/* one for each request */
};

/* The first pair from @pair on that has bytes, or NULL. */
static inline struct btrfs_pair *btrfs_find_pair(const struct btrfs_exchange *exchange,
						 const struct btrfs_pair *pair)
{
	const struct btrfs_pair *end = exchange->pairs + exchange->vector->count;

	while (pair < end && !pair->range[0].length)
		pair++;
	return pair < end ? (struct btrfs_pair *)pair : NULL;
}

/* for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) */
static inline struct btrfs_pair *btrfs_first_pair(const struct btrfs_exchange *exchange)
{
	return btrfs_find_pair(exchange, exchange->pairs);
}

static inline struct btrfs_pair *btrfs_next_pair(const struct btrfs_exchange *exchange,
						 const struct btrfs_pair *pair)
{
	return btrfs_find_pair(exchange, pair + 1);
}

static inline struct inode *btrfs_pair_inode(const struct btrfs_pair *pair, int side)
{
	return &pair->range[side].inode->vfs_inode;
}

/* page_cache.c */
int btrfs_exchange_flush(const struct btrfs_exchange *exchange);
bool btrfs_pair_end_page(const struct btrfs_pair *pair, int side, pgoff_t *index);
int btrfs_exchange_drop_pages(const struct btrfs_exchange *exchange);

/* readers.c */
void btrfs_exchange_lock_cache(const struct btrfs_exchange *exchange);
int btrfs_exchange_drop_cache(struct btrfs_exchange *exchange);
int btrfs_exchange_await_readers(struct btrfs_exchange *exchange,
				 unsigned long *patience);

/* rewrite.c */
int btrfs_exchange_rewrite(const struct btrfs_exchange *exchange);

/* transaction.c */
int btrfs_exchange_prepare(struct btrfs_exchange *exchange);
int btrfs_exchange_rehearse(const struct btrfs_exchange *exchange);
int btrfs_exchange_extents(struct btrfs_exchange *exchange);
void btrfs_exchange_finish(struct btrfs_exchange *exchange);
int btrfs_exchange_commit(const struct btrfs_exchange *exchange);
bool btrfs_pair_tail(const struct btrfs_pair *pair, int side, u64 *from, u64 *to);
bool btrfs_pair_next_run(const struct btrfs_pair *pair, u32 *next, u64 *from, u64 *to);

/* extent_maps.c */
bool btrfs_pair_fills(const struct btrfs_pair *pair, int side, u64 end);
bool btrfs_pair_can_map(const struct btrfs_pair *pair, int side);
int btrfs_pair_map(const struct btrfs_pair *pair, int side, u64 transid);
void btrfs_pair_drop_maps(const struct btrfs_pair *pair, int side);

/* log.c */
bool btrfs_log_must_go(const struct btrfs_trans_handle *trans,
		       const struct btrfs_exchange *exchange);
bool btrfs_log_may_be_at_once(const struct btrfs_exchange *exchange);
void btrfs_log_begin(struct btrfs_trans_handle *trans, struct btrfs_exchange *exchange);
void btrfs_log_end(struct btrfs_trans_handle *trans, struct btrfs_exchange *exchange,
		   int error);
int btrfs_exchange_make_durable(const struct btrfs_exchange *exchange);

/* user_limit.c */
u32 btrfs_user_limit(void);
bool btrfs_admit_work(const struct btrfs_fs_info *fs_info, u64 transid, u64 extents);

/* freshness.c */
int btrfs_sample_freshness(struct file *file, u64 freshness[6]);
int btrfs_check_freshness(struct inode *inode, const u64 freshness[6]);

/* bind.c */
int btrfs_bind_start(void);
void btrfs_bind_stop(void);
u32 btrfs_bind_get(const struct super_block *sb);
void btrfs_bind_put(const struct super_block *sb);

#endif /* EXCHRANGE_BTRFS_EXCHANGE_H */

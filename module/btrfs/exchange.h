/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One exchange on btrfs: backend.c goes through the steps, transaction.c does it.
 */
#ifndef EXCHRANGE_BTRFS_EXCHANGE_H
#define EXCHRANGE_BTRFS_EXCHANGE_H

#include "../exchange.h"
#include "extents.h"

/* Index 0 is file1's, 1 is file2's. */
struct btrfs_exchange {
	struct exchange_request	*request;
	struct inode_range	range[2];
	u64			new_size[2];	/* bytes; the old one without TO_EOF */

	/* Why an attempt was -EBUSY, which the next one may not be. */
	bool			pages_stay;	/* in the cache */
	struct folio		*held[2];	/* by readers: see readers.c */
	bool			patient;	/* with readers */

	/* transaction.c's own */
	u32			limit;		/* of extents, in both ranges */
	struct extent_count	count[2];
	struct extent_list	list[2];
	struct extent_writer	writer;
	struct btrfs_block_rsv	reserve;
	u64			transid;	/* the transaction of the exchange */
	bool			must_wait;	/* for its commit, and begin anew */
	bool			must_abort;	/* an error aborts from here on */
	bool			refs_run;
	u32			refs_kept;	/* extents since then */
	u64			moved[2];	/* bytes that went to the other file */
	u64			cut[2];		/* bytes that went for good */
	u64			quota[2];	/* bytes reserved of its subvolume's */
};

static inline struct inode *btrfs_exchange_inode(const struct btrfs_exchange *exchange,
						 int side)
{
	return &exchange->range[side].inode->vfs_inode;
}

/* page_cache.c */
int btrfs_exchange_flush(const struct btrfs_exchange *exchange);
bool btrfs_exchange_end_page(const struct btrfs_exchange *exchange, int side,
			     pgoff_t *index);
int btrfs_exchange_drop_pages(const struct btrfs_exchange *exchange);

/* readers.c */
void btrfs_exchange_lock_cache(const struct btrfs_exchange *exchange);
void btrfs_exchange_unlock_cache(const struct btrfs_exchange *exchange);
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
bool btrfs_exchange_tail(const struct btrfs_exchange *exchange, int side,
			 u64 *from, u64 *to);
bool btrfs_exchange_next_run(const struct btrfs_exchange *exchange, u32 *next,
			     u64 *from, u64 *to);

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

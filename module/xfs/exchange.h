/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One exchange, in one transaction or in XFS's own chain of them: exchange.c goes through
 * its steps.
 */
#ifndef EXCHRANGE_XFS_EXCHANGE_H
#define EXCHRANGE_XFS_EXCHANGE_H

#include "backend.h"
#include "pieces.h"
#include "reservation.h"

/* The data forks of whole files, where they change places: see forks.c. */
struct xfs_forks {
	bool			chosen;
	u64			records;	/* of both maps */
	struct xfs_fork_block	*blocks;	/* of both maps' trees */
	u64			block_count, block_room;
	u64			block_bytes;	/* of the log */
	struct xfs_fork_rmap	*rmaps;		/* of both files, with an rmapbt */
	u64			rmap_count, rmap_room;
};

struct xfs_exchange {
	struct exchange_vector	*vector;
	struct exchange_request	*request;
	struct xfs_mount	*mp;
	bool			in_chain;	/* XFS's own, see chain.c */
	bool			dry_run;	/* asked for, or a rehearsal */
	unsigned long		give_up;	/* waiting for pinned pages: jiffies */
	loff_t			old_size[2];	/* bytes, when both were locked */
	loff_t			new_size[2];	/* the same without TO_EOF */
	struct xfs_pieces	pieces;
	struct xfs_reservation	reservation;
	unsigned int		short_of_log;	/* plans that reserved too little of it */
	struct xfs_perag	*pag;		/* where block maps grow, or NULL */
	xfs_agnumber_t		ag_total;	/* of the file system, when it was looked at */
	unsigned long		*ag_sets;	/* bitmaps: ags.c */
	struct xfs_exchange_ag	*ags;		/* that are locked, in ascending order */
	unsigned int		ag_count;
	unsigned int		pieces_an_intent; /* whose reverse mappings it updates */
	struct xfs_rmap_change	*rmaps;		/* that may change in place */
	u64			rmap_count;
	struct xfs_btree_cur	*map_cursor[2];	/* in the maps' trees, or NULL */
	struct xfs_exchmaps_req	chain;		/* the plan, if it is in_chain */
	int			end_error;	/* of what follows the exchange, which is done */
	struct xfs_forks	forks;
};

static inline struct inode *xfs_exchange_inode(const struct xfs_exchange *exchange,
					       int side)
{
	return VFS_I(exchange->pieces.ip[side]);
}

static inline bool xfs_exchange_is_one_file(const struct xfs_exchange *exchange)
{
	return exchange->pieces.ip[0] == exchange->pieces.ip[1];
}

static inline u64 xfs_exchange_offset(const struct xfs_exchange *exchange, int side)
{
	return side ? exchange->request->file2_offset :
		      exchange->request->file1_offset;
}

/*
 * What of the log is to spare beside @bytes that were measured in trees which others use too,
 * until they are needed: twice as much for each plan that reserved too little.
 */
static inline u64 xfs_spare_log_bytes(const struct xfs_exchange *exchange, u64 bytes)
{
	return (bytes / 8) << min(exchange->short_of_log, 16u);
}

/* page_cache.c */
int xfs_exchange_flush(const struct xfs_exchange *exchange);
int xfs_exchange_flush_all(const struct xfs_exchange *exchange);
int xfs_exchange_drop_range(const struct xfs_exchange *exchange, int side,
			    u64 offset, u64 length);
int xfs_exchange_drop_pages(const struct xfs_exchange *exchange);

/* ends.c */
int xfs_exchange_prepare_ends(const struct xfs_exchange *exchange);
int xfs_exchange_settle_ends(const struct xfs_exchange *exchange);

/* transaction.c */
void xfs_exchange_lock_maps(const struct xfs_exchange *exchange);
void xfs_exchange_join_maps(const struct xfs_exchange *exchange, struct xfs_trans *tp);
void xfs_exchange_unlock_maps(const struct xfs_exchange *exchange);
void xfs_exchange_touch(const struct xfs_exchange *exchange, struct xfs_trans *tp);
void xfs_exchange_set_sizes(const struct xfs_exchange *exchange);
int xfs_exchange_plan(struct xfs_exchange *exchange);
int xfs_exchange_pieces(struct xfs_exchange *exchange);
void xfs_exchange_finish(struct xfs_exchange *exchange);

/* chain.c */
int xfs_chain_plan(struct xfs_exchange *exchange);
int xfs_chain_exchange(struct xfs_exchange *exchange);
int xfs_chain_check_freshness(struct inode *inode, const u64 freshness[6]);

/* freshness.c */
int xfs_sample_freshness(struct file *file, u64 freshness[6]);
int xfs_check_freshness(struct inode *inode, const u64 freshness[6]);

#endif /* EXCHRANGE_XFS_EXCHANGE_H */

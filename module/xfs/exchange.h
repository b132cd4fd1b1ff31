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
	struct xfs_mount	*mp;
	bool			in_chain;	/* XFS's own, see chain.c */
	bool			dry_run;	/* asked for, or a rehearsal */
	struct exchange_pin_wait *pin_wait;
	bool			has_transfers;	/* which are waited for without a lock */
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
	struct xfs_map_record	*records;	/* of the maps' trees, that are replaced */
	u64			record_count;
	struct xfs_exchmaps_req	chain;		/* the plan, if it is in_chain */
	int			end_error;	/* of what follows the exchange, which is done */
	struct xfs_forks	forks;

	struct xfs_range	ranges[];	/* pieces.ranges; then its maps and order */
};

/* The one range of an exchange that has but one: of whole files, or in XFS's chain. */
static inline const struct xfs_range *xfs_only_range(const struct xfs_exchange *exchange)
{
	return &exchange->ranges[0];
}

static inline struct xfs_inode *xfs_only_inode(const struct xfs_exchange *exchange, int side)
{
	return exchange->ranges[0].map[side]->ip;
}

/*
 * Up to two inodes stay locked until all that XFS defers is done.  XFS takes no more than a few
 * of them along from one transaction to the next: of many each is let go of with the first one.
 */
static inline bool xfs_keeps_maps_locked(const struct xfs_exchange *exchange)
{
	return exchange->pieces.map_count <= 2;
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
int xfs_exchange_drop_range(const struct xfs_exchange *exchange, struct xfs_inode *ip,
			    u64 offset, u64 length);
int xfs_exchange_drop_pages(const struct xfs_exchange *exchange);

/* ends.c */
int xfs_exchange_prepare_ends(const struct xfs_exchange *exchange);
int xfs_exchange_settle_ends(const struct xfs_exchange *exchange);

/* lock_maps.c */
void xfs_exchange_lock_maps(const struct xfs_exchange *exchange);
void xfs_exchange_join_maps(const struct xfs_exchange *exchange, struct xfs_trans *tp);
void xfs_exchange_unlock_maps(const struct xfs_exchange *exchange);

/* transaction.c */
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

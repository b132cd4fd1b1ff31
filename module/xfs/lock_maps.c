// SPDX-License-Identifier: GPL-2.0
/*
 * The ILOCKs of all files of an exchange: their block maps.
 *
 * As everywhere in XFS in ascending order of the inodes' numbers.  And never waiting for one
 * with one in hand that is in the AIL: who has the other may wait for room in the log, which
 * comes when that which is in the AIL has been written back, and for that its ILOCK is taken.
 * So then all are let go of, and it is tried again.  XFS does so for two, and for up to five
 * with a lockdep subclass for each; for more this is.
 */
#include <linux/delay.h>
#include <linux/rwsem.h>

#include "exchange.h"

/* Tries without a pause in between. */
#define FAST_TRIES	5

static bool is_in_ail(const struct xfs_inode *ip)
{
	return ip->i_itemp && test_bit(XFS_LI_IN_AIL, &ip->i_itemp->ili_item.li_flags);
}

/*
 * Lockdep counts locks of a kind as one only if each has a lock that stands for all (see
 * ../locks.c), and down_write_trylock() has none: it is told afterwards.
 */
static bool try_to_lock(struct xfs_inode *ip, struct percpu_rw_semaphore *nest)
{
	bool locked;

	lockdep_off();
	locked = down_write_trylock(xfs_ilock_of(ip));
	lockdep_on();
	if (locked)
		rwsem_acquire_nest(&xfs_ilock_of(ip)->dep_map, 0, 1, &nest->dep_map, _THIS_IP_);
	return locked;
}

static void unlock_first(const struct xfs_pieces *pieces, u32 count)
{
	while (count-- > 0)
		xfs_iunlock(pieces->maps[count].ip, XFS_ILOCK_EXCL);
}

/* False where one would have to be waited for: none is locked then. */
static bool try_to_lock_all(const struct xfs_exchange *exchange)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	bool in_ail = false;
	u32 i;

	for (i = 0; i < pieces->map_count; i++) {
		struct xfs_inode *ip = pieces->maps[i].ip;

		if (!in_ail) {
			down_write_nest_lock(xfs_ilock_of(ip),
					     exchange_nest_lock(exchange->vector));
		} else if (!try_to_lock(ip, exchange_nest_lock(exchange->vector))) {
			unlock_first(pieces, i);
			return false;
		}
		in_ail |= is_in_ail(ip);
	}
	return true;
}

void xfs_exchange_lock_maps(const struct xfs_exchange *exchange)
{
	const struct xfs_map *maps = exchange->pieces.maps;
	unsigned int tries = 0;

	switch (exchange->pieces.map_count) {
	case 1:
		xfs_ilock(maps[0].ip, XFS_ILOCK_EXCL);
		break;
	case 2:
		xfs_lock_two_inodes(maps[0].ip, XFS_ILOCK_EXCL, maps[1].ip, XFS_ILOCK_EXCL);
		break;
	default:
		while (!try_to_lock_all(exchange))
			if (++tries % FAST_TRIES == 0)
				usleep_range(1000, 2000);
	}
}

/*
 * The same for @tp, which logs all inodes; the locks of two stay the caller's, those of many
 * go with it: xfs_keeps_maps_locked().
 */
void xfs_exchange_join_maps(const struct xfs_exchange *exchange, struct xfs_trans *tp)
{
	const struct xfs_pieces *pieces = &exchange->pieces;
	u32 i;

	xfs_exchange_lock_maps(exchange);
	for (i = 0; i < pieces->map_count; i++)
		xfs_trans_ijoin(tp, pieces->maps[i].ip,
				xfs_keeps_maps_locked(exchange) ? 0 : XFS_ILOCK_EXCL);
}

void xfs_exchange_unlock_maps(const struct xfs_exchange *exchange)
{
	unlock_first(&exchange->pieces, exchange->pieces.map_count);
}

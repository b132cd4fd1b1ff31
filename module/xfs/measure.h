/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the log takes of the blocks of a tree in which records are replaced where they are.
 */
#ifndef EXCHRANGE_XFS_MEASURE_H
#define EXCHRANGE_XFS_MEASURE_H

#include "private.h"

/* xfs_buf_log_format with its map, a header, rounded up: a buffer's, beside its chunks. */
#define BUFFER_BYTES	128
#define MEASURED_LEVELS	10	/* more than any tree of XFS has */

/* A tree that is gone through in its order; zero at first. */
struct xfs_walk_measure {
	u64			bytes;
	const struct xfs_buf	*block[MEASURED_LEVELS];	/* the last of each level */
	unsigned int		chunks[MEASURED_LEVELS];	/* of it, so far */
};

/* Bytes of the log, at the most. */
struct xfs_measure {
	u64	map_bytes;	/* of both block maps */
	u64	rmap_bytes;	/* of all rmapbts */
};

void xfs_measure_record(struct xfs_walk_measure *measure, const struct xfs_btree_cur *cursor);
u64 xfs_measure_item(const struct xfs_buf_log_item *item, int regions);
u64 xfs_measure_block(const struct xfs_buf *buffer);

#endif /* EXCHRANGE_XFS_MEASURE_H */

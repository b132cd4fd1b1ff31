/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Room in the AGs for what intents will do after the commit.
 */
#ifndef EXCHRANGE_XFS_ROOM_H
#define EXCHRANGE_XFS_ROOM_H

#include "exchange.h"

int xfs_room_keep(struct xfs_exchange *exchange);
void xfs_room_give_back(struct xfs_exchange *exchange);

#endif /* EXCHRANGE_XFS_ROOM_H */

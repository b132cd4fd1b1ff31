/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TO_EOF through XFS's own ioctl, made safe against a crash: keep_tails.c says why.
 */
#ifndef EXCHRANGE_XFS_KEEP_TAILS_H
#define EXCHRANGE_XFS_KEEP_TAILS_H

#include "../exchange.h"

#ifdef XFS_PRIVATE
int xfs_keep_tails_start(void);
void xfs_keep_tails_stop(void);
u32 xfs_keep_tails_reason(const struct file *file);
int xfs_keep_tails(struct exchange_request *request,
		   int (*submit)(struct exchange_request *request));
#else
/* The build had no BTF to make it from. */
static inline int xfs_keep_tails_start(void)
{
	return 0;
}

static inline void xfs_keep_tails_stop(void)
{
}

static inline u32 xfs_keep_tails_reason(const struct file *file)
{
	return EXCHRANGE_REASON_BUILD;
}

static inline int xfs_keep_tails(struct exchange_request *request,
				 int (*submit)(struct exchange_request *request))
{
	return -EOPNOTSUPP;
}
#endif

#endif /* EXCHRANGE_XFS_KEEP_TAILS_H */

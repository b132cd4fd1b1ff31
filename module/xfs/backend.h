/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The two back ends of XFS, and what they share.
 */
#ifndef EXCHRANGE_XFS_BACKEND_H
#define EXCHRANGE_XFS_BACKEND_H

#include "../exchange.h"

/* own_ioctl.c */
int xfs_own_submit(struct exchange_vector *vector, bool bound);
int xfs_own_query(struct file *file, struct exchrange_query *query, u32 reason);
void xfs_own_describe(struct exchrange_query *query, u32 alignment, u32 reason);

/* bind.c: XFS's private functions, which both back ends call. */
int xfs_bind_start(void);
void xfs_bind_stop(void);
u32 xfs_bind_get(const struct super_block *sb);
void xfs_bind_put(const struct super_block *sb);

/* The rest is called between xfs_bind_get(), if that says NONE, and xfs_bind_put(). */

/* keep_tails.c */
int xfs_keep_tails(struct exchange_vector *vector,
		   int (*submit)(struct exchange_vector *vector));

/* exchange.c */
bool xfs_has_own_exchange(const struct file *file);
u32 xfs_own_alignment(const struct file *file);
int xfs_transaction_submit(struct exchange_vector *vector);
bool xfs_chain_takes(const struct exchange_request *request);
int xfs_chain_submit(struct exchange_vector *vector);
bool xfs_takes_vectors(const struct file *file);
void xfs_transaction_query(struct file *file, struct exchrange_query *query);

#endif /* EXCHRANGE_XFS_BACKEND_H */

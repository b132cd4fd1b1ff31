// SPDX-License-Identifier: GPL-2.0
/*
 * In the place of all that needs XFS's private functions, where the build had no BTF
 * to make it from, or none that was tested: xfs_bind_get() says so, and nothing else here
 * is called.
 */
#include "../not_built.h"
#include "backend.h"

int xfs_bind_start(void)
{
	tell_not_built("one transaction on XFS");
	return 0;
}

void xfs_bind_stop(void)
{
}

u32 xfs_bind_get(const struct super_block *sb)
{
	return NOT_BUILT_REASON;
}

void xfs_bind_put(const struct super_block *sb)
{
}

int xfs_keep_tails(struct exchange_vector *vector,
		   int (*submit)(struct exchange_vector *vector))
{
	return -EOPNOTSUPP;
}

bool xfs_has_own_exchange(const struct file *file)
{
	return true;
}

u32 xfs_own_alignment(const struct file *file)
{
	return 0;
}

int xfs_transaction_submit(struct exchange_vector *vector)
{
	return -EOPNOTSUPP;
}

bool xfs_takes_vectors(const struct file *file)
{
	return false;
}

bool xfs_chain_takes(const struct exchange_request *request)
{
	return false;
}

int xfs_chain_submit(struct exchange_vector *vector)
{
	return -EOPNOTSUPP;
}

void xfs_transaction_query(struct file *file, struct exchrange_query *query)
{
}

// SPDX-License-Identifier: GPL-2.0
/*
 * In the place of the btrfs back end where the build had no BTF to make it from.
 */
#include <linux/magic.h>

#include "../exchange.h"

static int not_built_query(struct file *file, struct exchrange_query *query)
{
	query->reason = EXCHRANGE_REASON_BUILD;
	return 0;
}

static int not_built_submit(struct exchange_request *request)
{
	return -EOPNOTSUPP;
}

const struct exchange_backend exchange_backend_btrfs = {
	.magic		= BTRFS_SUPER_MAGIC,
	.query		= not_built_query,
	.submit		= not_built_submit,
};

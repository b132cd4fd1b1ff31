// SPDX-License-Identifier: GPL-2.0
/*
 * In the place of the btrfs back end where the build had no BTF to make it from, or none that
 * was tested.
 */
#include <linux/magic.h>

#include "../exchange.h"
#include "../not_built.h"

static int not_built_start(void)
{
	tell_not_built("the btrfs back end");
	return 0;
}

static void not_built_stop(void)
{
}

static int not_built_query(struct file *file, struct exchrange_query *query)
{
	query->reason = NOT_BUILT_REASON;
	return 0;
}

static int not_built_submit(struct exchange_vector *vector)
{
	return -EOPNOTSUPP;
}

const struct exchange_backend exchange_backend_btrfs = {
	.magic		= BTRFS_SUPER_MAGIC,
	.start		= not_built_start,
	.stop		= not_built_stop,
	.query		= not_built_query,
	.submit		= not_built_submit,
};

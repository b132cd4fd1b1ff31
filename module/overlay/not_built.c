// SPDX-License-Identifier: GPL-2.0
/*
 * In place of the rest of this folder, where the types of overlayfs are not known at build time.
 */
#include "../exchange.h"
#include "../not_built.h"
#include "overlay.h"

int exchange_overlay_start(void)
{
	tell_not_built("what is on overlayfs");
	return 0;
}

void exchange_overlay_stop(void)
{
}

int exchange_overlay_query(struct file *file, struct exchrange_query *query)
{
	query->reason = NOT_BUILT_REASON;
	return 0;
}

int exchange_overlay_submit(struct exchange_vector *vector)
{
	return -EOPNOTSUPP;
}

struct inode *exchange_overlay_inode(const struct file *file)
{
	return file_inode(file);
}

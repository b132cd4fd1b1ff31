// SPDX-License-Identifier: GPL-2.0
/*
 * What comes after an exchange, for the back ends that exchange by themselves.
 */
#include <linux/fsnotify.h>

#include "exchange.h"

/* Whether the exchange has to be on stable storage when the call returns. */
bool exchange_must_be_durable(const struct exchange_vector *vector)
{
	bool durable = vector->flags & EXCHRANGE_DSYNC;
	u32 i;

	for (i = 0; i < vector->file_count && !durable; i++)
		durable = vector->files[i]->f_flags & O_SYNC ||
			  IS_SYNC(file_inode(vector->files[i]));
	return durable;
}

/* Tells who watches the files, after the exchange, without a lock. */
void exchange_notify(const struct exchange_vector *vector)
{
	u32 i;

	for (i = 0; i < vector->file_count; i++)
		fsnotify_modify(vector->files[i]);
}

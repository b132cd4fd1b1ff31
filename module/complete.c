// SPDX-License-Identifier: GPL-2.0
/*
 * What comes after an exchange, for the back ends that exchange by themselves.
 */
#include <linux/fsnotify.h>

#include "exchange.h"

/* Whether the exchange has to be on stable storage when the call returns. */
bool exchange_must_be_durable(const struct exchange_request *request)
{
	return request->flags & EXCHRANGE_DSYNC ||
	       (request->file1->f_flags | request->file2->f_flags) & O_SYNC ||
	       IS_SYNC(file_inode(request->file1)) ||
	       IS_SYNC(file_inode(request->file2));
}

/* Tells who watches the files, after the exchange, without a lock. */
void exchange_notify(const struct exchange_request *request)
{
	fsnotify_modify(request->file1);
	if (request->file1 != request->file2)
		fsnotify_modify(request->file2);
}

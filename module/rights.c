// SPDX-License-Identifier: GPL-2.0
/*
 * What others than the file system have to say about an exchange: security modules.
 */
#include <linux/fs.h>

#include "exchange.h"

/* Asks the security modules, as for a write.  No locks. */
static int verify_area(struct file *file, loff_t offset)
{
	return rw_verify_area(WRITE, file, &offset, 0);
}

int exchange_check_rights(const struct exchange_request *request)
{
	return verify_area(request->file1, request->file1_offset) ?:
	       verify_area(request->file2, request->file2_offset);
}

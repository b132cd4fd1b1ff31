// SPDX-License-Identifier: GPL-2.0
/*
 * exchrange: the parts come up and go down here, in order.
 */
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "exchange.h"

static struct miscdevice exchange_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "exchrange",
	.fops	= &exchange_fops,
	/* Anyone may open it: the rights come from the files' descriptors. */
	.mode	= 0666,
};

static int __init exchrange_init(void)
{
	int error;

	error = exchange_start();
	if (error)
		return error;

	error = misc_register(&exchange_device);
	if (error)
		exchange_stop();
	return error;
}

static void __exit exchrange_exit(void)
{
	misc_deregister(&exchange_device);
	exchange_stop();
}

module_init(exchrange_init);
module_exit(exchrange_exit);

MODULE_DESCRIPTION("Atomic exchange of byte ranges of two files");
MODULE_AUTHOR("The exchrange developers");
MODULE_LICENSE("GPL");
MODULE_VERSION(EXCHRANGE_VERSION);

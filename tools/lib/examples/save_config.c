// SPDX-License-Identifier: MIT
/*
 * A program that keeps its configuration in a file: after a crash at any moment the file
 * is the old one or the new one, whole; who has it open, linked or mounted keeps it.
 *
 *	save_config FILE PORT
 */
#include <err.h>
#include <stdio.h>

#include <exchrange.h>

int main(int argc, char **argv)
{
	const struct exchrange_update_options options = {
		.flags	= EXCHRANGE_UPDATE_CREATE,
		.mode	= 0644,
	};
	struct exchrange_update *update;
	int device;

	if (argc != 3)
		errx(2, "usage: save_config FILE PORT");

	/* -1 will do too, on an XFS that has an ioctl of its own for this. */
	device = exchrange_open();
	update = exchrange_update_begin(device, argv[1], &options);
	if (!update)
		err(1, "%s", argv[1]);

	/* Nobody sees any of it before the commit, nor after an error. */
	if (dprintf(exchrange_update_fd(update),
		    "# Written by save_config.\nport = %s\n", argv[2]) < 0)
		err(1, "%s", argv[1]);
	if (exchrange_update_commit(update, EXCHRANGE_DSYNC))
		err(1, "%s", argv[1]);
	exchrange_update_drop(update);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The VFS for SQLite, with the stock library.  On a mount without a back end all runs but what
 * needs exchanges: a folder of any machine will do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "database.h"

int main(int argc, char **argv)
{
	if (argc < 2 || argc > 3 || (argc == 3 && !choose_manner(argv[2]))) {
		fprintf(stderr, "usage: %s MOUNTPOINT [exchanges|journals]\n", argv[0]);
		return 2;
	}
	mount_point = argv[1];
	if (getenv("TEST_FILTER"))
		cmocka_set_test_filter(getenv("TEST_FILTER"));
	if (chdir(mount_point)) {
		perror(mount_point);
		return 1;
	}
	load_vfs(NULL);
	add_connections();
	add_copies();
	add_pages();
	add_faults();
	add_transactions();
	return run_program();
}

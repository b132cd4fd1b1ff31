// SPDX-License-Identifier: GPL-2.0
/*
 * The VFS for SQLite, with the stock library.  On a mount without a back end all runs but what
 * needs exchanges: a folder of any machine will do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"

static const struct {
	const char	*name;
	void		(*add)(void);
} groups[] = {
	{ "connections", add_connections },
	{ "copies", add_copies },
	{ "pages", add_pages },
	/* Before others have had the VFS say what it says once. */
	{ "refused", add_refused },
	{ "killed", add_killed },
	{ "faults", add_faults },
	{ "transactions", add_transactions },
};

/* Those that are named, or all. */
static void add_groups(char **names, int count)
{
	unsigned int i;
	int j;

	for (i = 0; i < COUNT(groups); i++) {
		for (j = 0; j < count && strcmp(names[j], groups[i].name); j++)
			continue;
		if (j < count || !count)
			groups[i].add();
	}
}

int main(int argc, char **argv)
{
	if (argc < 2 || (argc > 2 && !choose_manner(argv[2]))) {
		fprintf(stderr, "usage: %s MOUNTPOINT [exchanges|journals [GROUP...]]\n", argv[0]);
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
	add_groups(argv + 3, argc > 3 ? argc - 3 : 0);
	return run_program();
}

/* SPDX-License-Identifier: MIT */
/* Where a file lies: within the library only. */
#ifndef EXCHRANGE_PLACE_H
#define EXCHRANGE_PLACE_H

#include <limits.h>

/* A name in a directory, open O_PATH. */
struct exchrange_place {
	int	dir;			/* -1: nowhere */
	char	name[NAME_MAX + 1];
};

/* All return 0, or -1 and set errno, and leave place->dir -1 then. */

/*
 * The directory and the name of the open file @fd, on the mount that @fd is of.
 * EXDEV where the file is itself where something is mounted, ENOENT where it has
 * no name any more.
 */
int exchrange_find_place(int fd, struct exchrange_place *place);

/* Where a file @path would be made that is not there: symbolic links followed. */
int exchrange_find_new_place(const char *path, int follow,
			     struct exchrange_place *place);

/*
 * The file that is mounted by itself and open as @fd, opened through another mount
 * that has its directory: a descriptor; or -1 and EXDEV where there is none.
 */
int exchrange_open_elsewhere(int fd);

void exchrange_drop_place(struct exchrange_place *place);

#endif /* EXCHRANGE_PLACE_H */

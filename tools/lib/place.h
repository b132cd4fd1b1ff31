/* SPDX-License-Identifier: MIT */
/*
 * Where a file lies: within the library and the command only.
 *
 * A name is looked up once, by the kernel; what follows goes by descriptors.
 */
#ifndef EXCHRANGE_PLACE_H
#define EXCHRANGE_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* A name in a directory, open O_PATH. */
struct exchrange_place {
	int	dir;			/* -1: nowhere */
	bool	follow;			/* a link of procfs, which only the kernel can follow */
	char	name[NAME_MAX + 1];
};

/* All return 0 or a descriptor, or -1 and set errno, and leave place->dir -1 then. */

/*
 * Where @path leads, symbolic links followed unless @follow is false (ELOOP).  *@pin is
 * what is there, open O_PATH; -1, with success, where there is nothing yet.
 */
int exchrange_find(const char *path, bool follow, struct exchrange_place *place,
		   int *pin);

/* What the name is of now, O_PATH; it is a link where it has become one. */
int exchrange_pin(const struct exchrange_place *place);

/*
 * Opens @name in @dir; who has a lease of the file is given the time to end it, which is
 * EAGAIN if it takes longer than the kernel grants.  Does not wait for FIFOs.
 */
int exchrange_open_patiently(int dir, const char *name, int flags);

/* What the name is of now, opened; ELOOP where it has become a link. */
int exchrange_open_place(const struct exchrange_place *place, int flags);

/*
 * The directory and the name of the open file @fd, on the mount that @fd is of.
 * EXDEV where the file is itself where something is mounted, ENOENT where it has
 * no name any more, or /proc does not tell it.
 */
int exchrange_find_by_fd(int fd, struct exchrange_place *place);

/*
 * The place of the file @pin, which is mounted by itself, on another mount that has its
 * directory, and in *@there the file by that one, O_PATH.  EXDEV where there is none.
 */
int exchrange_find_elsewhere(int pin, struct exchrange_place *place, int *there);

void exchrange_drop_place(struct exchrange_place *place);

/* Closes, if it is a descriptor, and keeps errno. */
void exchrange_close(int fd);

/*
 * Whether a file in this place that was made by another user must be left alone by one
 * who would create it: 0, or -1 and EACCES.  fs.protected_regular has the rule.
 */
int exchrange_check_planted(const struct exchrange_place *place, int pin);

/*
 * What opening the file @fd for writing would answer, as far as that can be known without
 * it: a swap file and a program that runs cannot.
 */
int exchrange_check_writable(int fd);

/* Both descriptors are of one file. */
bool exchrange_is_same(int fd1, int fd2);

/* -1 where the kernel does not tell. */
int64_t exchrange_mount_of(int fd);

/* A line of /proc/self/mountinfo; the strings are in the line. */
struct exchrange_mount {
	int64_t	id;
	char	*device;	/* major:minor of the file system */
	char	*root;		/* what of the file system is mounted */
	char	*target;	/* where */
	char	*type;
	char	*source;
};

/*
 * Calls look() for each line until one returns something else than -1, and returns that;
 * -1 where none did.
 */
int exchrange_each_mount(int (*look)(const struct exchrange_mount *mount, void *argument),
			 void *argument);

/* In files of /proc blanks and the like are written as three octal digits. */
void exchrange_decode(char *text);

#endif /* EXCHRANGE_PLACE_H */

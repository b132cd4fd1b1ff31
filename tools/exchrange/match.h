/* SPDX-License-Identifier: GPL-2.0 */
/* The files that two directories have by the same relative name. */
#ifndef MATCH_H
#define MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum match_state {
	MATCH_EQUAL,		/* both have the same contents */
	MATCH_DIFFERS,
	MATCH_REFUSED,		/* is not a regular file on both sides, and the user knows */
};

struct match {
	char			*path;		/* relative to both directories */
	enum match_state	state;
	const char		*reason;	/* of MATCH_REFUSED: a word for programs */

	/* Of one that differs: */
	const char		*name;		/* the last of path */
	int			from;		/* open for reading; -1: not kept */
	int			dir;		/* the directory that is to change, O_PATH; -1 */
	struct stat		source;		/* of from, when it was opened */
	struct stat		target;		/* of what is to change */
	int64_t			mount;		/* of that */
	bool			doubled;	/* the same file as another match, and contents */
};

/* The two directories, as they were named, and what was found. */
struct matches {
	const char	*from, *to;
	int		keep;		/* so many that differ are kept open */
	struct match	*list;
	size_t		count, room;
	size_t		differing;	/* files to change, doubles left out */
	size_t		refused;
};

/*
 * Compares each file below matches->from with that of the same name below matches->to; no
 * symbolic link below them is followed.  -1, and the user knows why.
 */
int find_matches(struct matches *matches);
void drop_matches(struct matches *matches);

#endif /* MATCH_H */

/* SPDX-License-Identifier: GPL-2.0 */
/* The private copy that an editor works on. */
#ifndef PRIVATE_H
#define PRIVATE_H

#include <limits.h>
#include <sys/stat.h>

#include "place.h"

struct private {
	int		dir;			/* open for reading; -1: there is none */
	struct stat	st;			/* of dir */
	char		name[NAME_MAX + 1];	/* of the copy in it */
	char		original[32];		/* of what the copy was at first */
	char		directory[PATH_MAX];	/* where dir is, for the editor */
	char		path[PATH_MAX + NAME_MAX + 2];	/* and the copy */
};

/* Makes the directory for a copy of what lies in @place.  -1 and errno. */
int make_private(struct private *private, const struct exchrange_place *place);

/* Makes the copy what the file @from is, and once more, to compare with.  -1 and errno. */
int fill_private(const struct private *private, int from);

/* Both as the editor has left them, open for reading; -1 and errno. */
int open_copy(const struct private *private);
int open_original(const struct private *private);

/* With all that the editor has left there.  -1 where some of it could not be removed. */
int remove_private(struct private *private);

#endif /* PRIVATE_H */

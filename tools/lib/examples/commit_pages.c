// SPDX-License-Identifier: MIT
/*
 * A database that commits scattered pages in place: they go to their places in a sparse
 * staging file, and what was written of it changes hands at once, with no log beside.
 * After a crash all pages of a commit are there, or none.
 *
 *	commit_pages FILE TEXT PAGE...	puts TEXT into these pages, in one commit
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <exchrange.h>

/* A multiple of what exchrange_query() tells as alignment. */
#define PAGE	4096

static void write_page(int staging, const char *text, off_t number)
{
	char page[PAGE] = "";

	snprintf(page, sizeof(page), "%s", text);
	if (pwrite(staging, page, sizeof(page), number * PAGE) != sizeof(page))
		err(1, "page %lld", (long long)number);
}

int main(int argc, char **argv)
{
	struct exchrange_update *update;
	int fd, staging, i;
	struct stat st;

	if (argc < 4)
		errx(2, "usage: commit_pages FILE TEXT PAGE...");
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		err(1, "%s", argv[1]);

	/* A database keeps the update, and begins each commit here. */
	update = exchrange_update_begin_fd(exchrange_open(), fd, NULL);
	if (!update)
		err(1, "%s", argv[1]);
	staging = exchrange_update_fd(update);

	/* All holes, and as long as the file, which keeps its size. */
	if (ftruncate(staging, 0) || ftruncate(staging, st.st_size))
		err(1, "%s", argv[1]);
	for (i = 3; i < argc; i++) {
		off_t number = strtoll(argv[i], NULL, 10);

		if (number < 0 || (number + 1) * PAGE > st.st_size)
			errx(1, "%s has no page %s", argv[1], argv[i]);
		write_page(staging, argv[2], number);
	}
	if (exchrange_update_commit(update, EXCHRANGE_FILE1_WRITTEN |
				    EXCHRANGE_DSYNC))
		err(1, "%s", argv[1]);
	exchrange_update_drop(update);
	close(fd);
	return 0;
}

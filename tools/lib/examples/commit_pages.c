// SPDX-License-Identifier: MIT
/*
 * The page store of a database: pages that lie anywhere in a file are committed in place, all
 * or none, without a log beside it.
 *
 * A small staging file has slots of a page each.  A commit writes its pages to slots, and then
 * every slot changes places with the page in the file.  What comes back are the old pages; they
 * lie in the slots, and the next commit writes over them.  So the staging file never grows and
 * never gets a hole, and on XFS a commit allocates no block and frees none.
 *
 * After a crash at any moment the file has all pages of a commit or none, and those of each
 * commit that was said to be there.
 *
 *	commit_pages FILE	takes commands from standard input, a line each:
 *
 *	PAGE TEXT	the page of this number shall begin with this text, zeros behind it
 *	(empty line)	commits the pages since the last one, and prints their number
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <exchrange.h>

/* Bytes; a multiple of what exchrange_query() tells as alignment. */
#define PAGE	4096

/* So many pages can be in one commit.  A vector takes 65,536. */
#define SLOTS	256

struct store {
	int			device;
	int			file;
	int			slots;		/* the staging file */
	struct exchrange_pair	pairs[SLOTS];	/* pair i: slot i, and the place of its page */
	unsigned int		used;		/* slots that the next commit takes */
};

/* --- the store ------------------------------------------------------------------- */

/*
 * Writes every slot once, so that it has its blocks from now on: what a commit writes cannot
 * fail for want of space.
 */
static int fill_slots(int slots)
{
	static const char zeros[PAGE];
	int i;

	for (i = 0; i < SLOTS; i++)
		if (pwrite(slots, zeros, PAGE, (off_t)i * PAGE) != PAGE)
			return -1;
	return fsync(slots);
}

/* -1 and errno. */
static int open_store(struct store *store, const char *path)
{
	struct exchrange_query query;

	store->used = 0;
	store->device = exchrange_open();
	store->file = open(path, O_RDWR | O_CLOEXEC);
	if (store->device < 0 || store->file < 0)
		return -1;
	query.fd = store->file;
	if (exchrange_query(store->device, &query))
		return -1;
	if (!(query.features & EXCHRANGE_FEATURE_VECTOR) || PAGE % query.alignment)
		errx(1, "%s: its file system does not exchange pages of %d bytes", path, PAGE);

	/* It has no name: whatever ends the program, its space is free again. */
	store->slots = exchrange_stage(store->device, store->file, 0);
	return store->slots < 0 ? -1 : fill_slots(store->slots);
}

/* A page that is written twice has one slot: what is written last counts. */
static struct exchrange_pair *find_pair(struct store *store, uint64_t page)
{
	unsigned int i;

	for (i = 0; i < store->used; i++)
		if (store->pairs[i].file2_offset == page * PAGE)
			return &store->pairs[i];
	return NULL;
}

/*
 * A page that the next commit shall have.  Nobody sees it before.  -1 where the commit has no
 * slot left, or the slot cannot be written.
 */
static int write_page(struct store *store, uint64_t page, const void *bytes)
{
	struct exchrange_pair *pair = find_pair(store, page);

	if (!pair) {
		if (store->used == SLOTS)
			return -1;
		pair = &store->pairs[store->used];
		*pair = (struct exchrange_pair) {
			.file1_fd	= store->slots,
			.file1_offset	= (uint64_t)store->used * PAGE,
			.file2_fd	= store->file,
			.file2_offset	= page * PAGE,
			.length		= PAGE,
		};
		store->used++;
	}
	return pwrite(store->slots, bytes, PAGE, pair->file1_offset) == PAGE ? 0 : -1;
}

/*
 * All pages since the last commit change places with their slots, and are on stable storage
 * when this returns.  -1 and errno: none has, and the commit can be tried again.
 */
static int commit(struct store *store)
{
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)store->pairs,
		.count		= store->used,
		.pair_size	= sizeof(store->pairs[0]),
		.flags		= EXCHRANGE_DSYNC,
	};

	if (exchrange_exchange_vector(store->device, &vector))
		return -1;
	store->used = 0;
	return 0;
}

/* --- the database ---------------------------------------------------------------- */

/* The file keeps its size; a database makes it longer, and writes zeros there, before. */
static uint64_t parse_page(const struct store *store, const char *line, const char **text)
{
	unsigned long long page;
	struct stat st;
	char *end;

	page = strtoull(line, &end, 10);
	if (end == line || *end != ' ')
		errx(2, "'%s' is not a page's number and a text", line);
	if (fstat(store->file, &st) || page >= (unsigned long long)st.st_size / PAGE)
		errx(1, "there is no page %llu", page);
	*text = end + 1;
	return page;
}

static void run_line(struct store *store, const char *line)
{
	char bytes[PAGE] = "";
	unsigned int count;
	const char *text;
	uint64_t page;

	if (*line) {
		page = parse_page(store, line, &text);
		snprintf(bytes, sizeof(bytes), "%s", text);
		if (write_page(store, page, bytes))
			err(1, "page %llu", (unsigned long long)page);
		return;
	}
	count = store->used;
	if (commit(store))
		err(1, "commit");
	printf("committed %u\n", count);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct store store;
	size_t room = 0;
	char *line = NULL;

	if (argc != 2)
		errx(2, "usage: commit_pages FILE");
	if (open_store(&store, argv[1]))
		err(1, "%s", argv[1]);
	while (getline(&line, &room, stdin) > 0) {
		line[strcspn(line, "\n")] = '\0';
		run_line(&store, line);
	}
	free(line);
	return 0;
}

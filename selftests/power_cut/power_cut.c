// SPDX-License-Identifier: GPL-2.0
/*
 * power_cut: on XFS and on btrfs at once, exchanges without a pause until the guest loses
 * its power at a random moment; the next guest looks at what is there, and goes on.
 *
 *	power_cut run XFS BTRFS		KTAP of what is there, then never returns
 *	power_cut check XFS BTRFS	KTAP
 *
 * XFS and BTRFS are the last exchanges that were promised to last, which "run" prints
 * as lines "durable xfs 57".  selftests/power_cuts keeps them between the guests.
 *
 * Three things are done by turns: a new file is written and takes the place of the old
 * one, as an editor saves; half of the pages of a file are committed, as a database
 * does; and ranges of two files change places.  After each, scattered pages of a table and
 * the page of its index are committed together, from slots that are overwritten each time.
 * And SQLite, by its VFS, changes all rows of a database, durably, before them.
 * By chance a guest leaves the ranges out, all is durable, and staging files have no name.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "sqlite.h"

#define PAGES	64u
#define PAIR	(50 * BLOCK)
#define STEP	5u	/* every so many pages of the table are committed */
#define SLOTS	(PAGES / STEP + 2)	/* one for each of them, and the index's */
#define VERDICTS (6u + HAS_SQLITE)	/* on each file system that has been worked on */

/* What number @k of the saved files holds: its number, then bytes of its own. */
static uint64_t saved_size(unsigned int k)
{
	return sizeof(k) + 7 * BLOCK + k * 3001ull % (40 * BLOCK);
}

static void fill(uint8_t *bytes, uint64_t size, unsigned int k)
{
	uint64_t i;

	memcpy(bytes, &k, sizeof(k));
	for (i = sizeof(k); i < size; i++)
		bytes[i] = content_byte(k, i);
}

static void write_filled(int fd, uint64_t offset, uint64_t size, unsigned int k)
{
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	fill(bytes, size, k);
	assert_int_equal(pwrite(fd, bytes, size, offset), size);
	free(bytes);
}

/* The number of what is at @offset, or 0 where that is torn. */
static unsigned int read_number(const struct picture *picture, uint64_t offset,
				uint64_t size)
{
	uint8_t *bytes = malloc(size + sizeof(unsigned int));
	unsigned int k = 0;

	assert_non_null(bytes);
	if (offset + size <= picture->size && size >= sizeof(k)) {
		memcpy(&k, picture->bytes + offset, sizeof(k));
		fill(bytes, size, k);
		if (memcmp(bytes, picture->bytes + offset, size))
			k = 0;
	}
	free(bytes);
	return k;
}

/* --- what is there ----------------------------------------------------------- */

static unsigned int saved_number(void)
{
	int fd = open_path(path_of("saved"), O_RDONLY);
	struct picture picture = take_picture(fd);
	unsigned int k = read_number(&picture, 0, picture.size);

	if (k && picture.size != saved_size(k))
		k = 0;
	drop_picture(&picture);
	close(fd);
	return k;
}

/* All pages but those between @step and @step are of one commit, and these of the first. */
static unsigned int pages_number(const char *name, unsigned int pages, unsigned int step)
{
	int fd = open_path(path_of(name), O_RDONLY);
	struct picture picture = take_picture(fd);
	unsigned int k = read_number(&picture, 0, BLOCK), i;

	for (i = 1; i < pages && k; i++)
		if (read_number(&picture, i * BLOCK, BLOCK) != (i % step ? 1 : k))
			k = 0;
	drop_picture(&picture);
	close(fd);
	return k;
}

/* 0 where the table and its index are of two commits, too. */
static unsigned int table_number(void)
{
	unsigned int k = pages_number("table", PAGES, STEP);

	return k == pages_number("index", 1, 1) ? k : 0;
}

static bool is_pair_whole(void)
{
	unsigned int numbers[2];
	int i;

	for (i = 0; i < 2; i++) {
		int fd = open_path(path_of(i ? "pair2" : "pair1"), O_RDONLY);
		struct picture picture = take_picture(fd);

		numbers[i] = picture.size == PAIR ?
			     read_number(&picture, 0, PAIR) : 0;
		drop_picture(&picture);
		close(fd);
	}
	return numbers[0] + numbers[1] == 3 && numbers[0] && numbers[1];
}

/* A pipe with the number of verdicts so far, which whoever prints one takes out meanwhile. */
static int verdicts[2];

static bool verdict(bool good, const char *promise)
{
	unsigned int number;

	assert_int_equal(read(verdicts[0], &number, sizeof(number)), sizeof(number));
	number++;
	printf("%s %u - %s: %s\n", good ? "ok" : "not ok", number, kind->name, promise);
	fflush(stdout);
	assert_int_equal(write(verdicts[1], &number, sizeof(number)), sizeof(number));
	return good;
}

/* What a crash left, by its file system's own checker too. */
static bool check(unsigned int durable, unsigned int *last)
{
	unsigned int saved = saved_number(), database = pages_number("database", PAGES, 2);
	unsigned int table = table_number();
	bool good;

	printf("# %s: exchange %u had been promised; the saved file has %u, the database %u, the table %u\n",
	       kind->name, durable, saved, database, table);
	/* They are done by turns: the other may be the one before. */
	good = verdict(saved && saved + 1 >= durable, "the saved file is whole");
	good &= verdict(database && database + 1 >= durable,
			"the database has all of a commit");
	good &= verdict((saved > database ? saved : database) >= durable,
			"what was promised is there");
	good &= verdict(is_pair_whole(), "the pair is whole");
	good &= verdict(table && table + 1 >= durable,
			"the table and its index are of one commit");
	if (HAS_SQLITE) {
		unsigned int number = sqlite_number();

		/* It comes before the others. */
		good &= verdict(number && number >= durable,
				"SQLite's database is of one transaction, and has what was promised");
	}
	*last = saved > database ? saved : database;
	good &= verdict(!run("umount %s && %s %s && mount %s %s", mount_point,
			     kind->check, kind->device, kind->device,
			     mount_point), "the file system is clean");
	return good;
}

/* --- the work ---------------------------------------------------------------- */

static int open_new(const char *name)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT, 0644);

	assert_true(fd >= 0);
	return fd;
}

static void write_pages(int fd, unsigned int pages, unsigned int k)
{
	unsigned int i;

	for (i = 0; i < pages; i++)
		write_filled(fd, i * BLOCK, BLOCK, k);
}

static void prepare(void)
{
	int saved = open_new("saved"), database = open_new("database");
	int pair1 = open_new("pair1"), pair2 = open_new("pair2");
	int table = open_new("table"), index = open_new("index"), slots = open_new("slots");

	write_filled(saved, 0, saved_size(1), 1);
	write_pages(database, PAGES, 1);
	write_pages(table, PAGES, 1);
	write_pages(index, 1, 1);
	write_pages(slots, SLOTS, 1);
	write_filled(pair1, 0, PAIR, 1);
	write_filled(pair2, 0, PAIR, 2);
	sqlite_prepare();
	close(open_new("new"));
	assert_int_equal(syncfs(saved), 0);
	/* The last one: without it all of this is done again.  No log of another file has its name. */
	close(open_new("pages"));
	assert_int_equal(syncfs(saved), 0);
	close(saved);
	close(database);
	close(pair1);
	close(pair2);
	close(table);
	close(index);
	close(slots);
}

static void tell_durable(unsigned int k)
{
	printf("durable %s %u\n", kind->name, k);
	fflush(stdout);
}

static void exchange(struct exchrange_range range, bool durable, unsigned int k)
{
	if (durable)
		range.flags |= EXCHRANGE_DSYNC;
	assert_int_equal(device_exchange(&range), 0);
	if (durable)
		tell_durable(k);
}

/* Descriptors of the slots, of the table and of its index. */
struct database {
	int	slots, table, index;
};

static void commit_table(const struct database *of, bool durable, unsigned int k)
{
	struct exchrange_pair pairs[SLOTS];
	unsigned int slot = 0, page;

	write_pages(of->slots, SLOTS, k);
	for (page = 0; page < PAGES; page += STEP, slot++)
		pairs[slot] = block_pair(of->slots, slot, of->table, page);
	pairs[slot] = block_pair(of->slots, slot, of->index, 0);
	assert_int_equal(exchange_list(pairs, slot + 1,
				       durable ? EXCHRANGE_DSYNC : 0).error, 0);
	if (durable)
		tell_durable(k);
}

static int open_staging(const char *name, bool unnamed)
{
	int fd = unnamed ? open(mount_point, O_TMPFILE | O_EXCL | O_RDWR, 0600) :
			   open_path(path_of(name), O_RDWR);

	assert_true(fd >= 0);
	return fd;
}

/* Exchange @k is of the saved file or of the database, and now and then of the pair. */
static void work(unsigned int k, bool unnamed)
{
	const bool durable = unnamed || k % 3 == 0;
	struct exchrange_range save = {
		open_staging("new", unnamed), .flags = EXCHRANGE_TO_EOF,
		.file2_fd = open_path(path_of("saved"), O_RDWR),
	};
	struct exchrange_range commit = {
		open_staging("pages", unnamed),
		.length = PAGES * BLOCK, .flags = EXCHRANGE_FILE1_WRITTEN,
		.file2_fd = open_path(path_of("database"), O_RDWR),
	};
	struct exchrange_range swap = {
		open_path(path_of("pair1"), O_RDWR), .length = PAIR,
		.file2_fd = open_path(path_of("pair2"), O_RDWR),
	};
	const struct database table = {
		.slots	= open_staging("slots", unnamed),
		.table	= open_path(path_of("table"), O_RDWR),
		.index	= open_path(path_of("index"), O_RDWR),
	};

	struct sqlite3 *sqlite = sqlite_open();

	/* What the last guest may not have come to. */
	commit_table(&table, unnamed, k - 1);
	for (;; k++) {
		sqlite_commit(sqlite, k);
		/* It forbids btrfs's log. */
		if (!unnamed)
			exchange(swap, false, k);
		if (k % 2) {
			assert_int_equal(ftruncate(save.file1_fd, 0), 0);
			write_filled(save.file1_fd, 0, saved_size(k), k);
			exchange(save, durable || k % 5 == 0, k);
		} else {
			unsigned int i;

			assert_int_equal(ftruncate(commit.file1_fd, 0), 0);
			assert_int_equal(ftruncate(commit.file1_fd, PAGES * BLOCK), 0);
			for (i = 0; i < PAGES; i += 2)
				write_filled(commit.file1_fd, i * BLOCK, BLOCK, k);
			exchange(commit, unnamed || k % 3 == 0, k);
		}
		/* After the other: what this promises it promises of both. */
		commit_table(&table, unnamed || k % 4 == 1, k);
	}
}

static bool was_prepared(const char *mount)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/pages", mount);
	return access(path, F_OK) == 0;
}

/* One file system's part, in a process of its own. */
static int play(const char *mount, unsigned int durable, bool go_on)
{
	char *arguments[] = { "power_cut", (char *)mount, NULL };
	unsigned int last = 1;
	uint8_t random = 0;
	bool good = true;

	start(2, arguments);
	if (was_prepared(mount))
		good = check(durable, &last);
	else
		prepare();
	fflush(stdout);
	if (good && go_on && !getentropy(&random, sizeof(random)))
		work(last + 1, random % 2);
	return !good;
}

static pid_t fork_play(const char *mount, const char *durable, bool go_on)
{
	pid_t pid = fork();

	if (pid == 0)
		exit(play(mount, strtoul(durable, NULL, 10), go_on));
	return pid;
}

/* Up to four seconds from now; both are at work by then, or still looking. */
static void cut_power(void)
{
	unsigned int microseconds;

	if (getentropy(&microseconds, sizeof(microseconds)))
		return;
	usleep(1000000 + microseconds % 4000000);
	run("echo b >/proc/sysrq-trigger");
	sleep(60);
}

int main(int argc, char **argv)
{
	const char *xfs = getenv("XFS_DIR"), *btrfs = getenv("BTRFS_DIR");
	bool go_on = argc == 4 && !strcmp(argv[1], "run");
	int status, failed = 0, left = 2;
	const unsigned int none = 0;

	if (argc != 4 || !xfs || !btrfs || pipe(verdicts) ||
	    write(verdicts[1], &none, sizeof(none)) != sizeof(none))
		return 2;
	printf("KTAP version 1\n1..%u\n",
	       (was_prepared(xfs) + was_prepared(btrfs)) * VERDICTS);
	fflush(stdout);
	if (fork_play(xfs, argv[2], go_on) < 0 || fork_play(btrfs, argv[3], go_on) < 0)
		return 1;
	if (go_on && fork() == 0)
		cut_power();
	while (left-- && wait(&status) > 0)
		failed |= status;
	return !!failed;
}

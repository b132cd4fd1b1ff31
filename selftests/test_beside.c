// SPDX-License-Identifier: GPL-2.0
/*
 * Exchanges beside everything else that the file system can do: reflinks, dedupe,
 * defragmentation, freezing, growing, discarding, other writers; on btrfs snapshots, balance,
 * scrub, send and quotas too.  A pair is always whole: one file of it is all 'a', the
 * other all 'b'.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common.h"

#define BLOCKS	64u
#define SIZE	(BLOCKS * BLOCK)

/* What the shell does beside the storm, and where the second file lies. */
struct row {
	const char	*name;
	enum { BOTH, BTRFS, XFS } on;
	const char	*options;
	const char	*before;
	const char	*path2;
	const char	*beside;	/* in the file system's root; few: seq, by the share */
	bool		small;		/* as it is made */
};

static const struct row rows[] = {
	{ "freezing", BOTH, "defaults", "true", "two/b",
	  "for i in $(few 10); do fsfreeze -f . && sleep 0.1 && fsfreeze -u . || exit; done" },
	{ "fsyncs and syncs", BOTH, "defaults", "true", "two/b",
	  "for i in $(few 40); do echo $i >one/other && sync one/other && sync -f . &&"
	  " sync one/a two/b || exit; done" },
	{ "memory that gets short", BOTH, "defaults", "true", "two/b",
	  "for i in $(few 20); do echo 3 >/proc/sys/vm/drop_caches; sleep 0.05; done" },
	{ "space that comes and goes", BOTH, "defaults", "true", "two/b",
	  "for i in $(few 10); do touch one/space && fallocate -l 1m -n one/space &&"
	  " for j in $(seq 20); do head -c 64k /dev/zero >two/$j; done && sync -f . &&"
	  " rm two/[0-9]* one/space || exit; done" },

	{ "balance", BTRFS, "defaults", "true", "two/b",
	  "for i in 1 2 3; do btrfs -q balance start --full-balance . || exit; done" },
	{ "balance, of pairs in one subvolume", BTRFS, "defaults",
	  "true", "one/b", "btrfs -q balance start --full-balance ." },
	{ "scrub", BTRFS, "defaults", "true", "two/b",
	  "for i in 1 2 3 4 5; do btrfs scrub start -B . || exit; done" },
	{ "defragmentation", BTRFS, "autodefrag", "true", "two/b",
	  "for i in $(few 40); do btrfs filesystem defragment -f one/a two/b || exit; done" },
	{ "compressing defragmentation", BTRFS, "defaults", "true", "two/b",
	  "for i in $(few 20); do btrfs filesystem defragment -f -czstd one/a || exit; done" },
	{ "send", BTRFS, "defaults", "true", "one/b",
	  "for i in $(few 5); do btrfs -q subvolume snapshot -r one sent$i &&"
	  " btrfs -q send sent$i >/tmp/stream || exit; done" },
	{ "resize and discard", BTRFS, "discard=sync", "true", "two/b",
	  "for i in 1 2 3; do btrfs -q filesystem resize 1500m . && fstrim . &&"
	  " btrfs -q filesystem resize max . || exit; done" },
	/* Two metadata chunks on 2 GiB: balance may have to be told again (ENOSPC). */
	{ "a device more and less", BTRFS, "defaults", "true", "two/b",
	  "again() { for i in 1 2 3 4 5 6 7 8; do \"$@\" && return; done; false; };"
	  " btrfs -q device add -f $SCRATCH_DEV2 . &&"
	  " again btrfs -q balance start -dconvert=raid1 -mconvert=raid1 . &&"
	  " again btrfs -q balance start -dconvert=single -mconvert=dup -f . &&"
	  " again btrfs -q device remove $SCRATCH_DEV2 ." },

	{ "growing", XFS, "defaults", "true", "two/b",
	  "for i in 400 500 600 700; do xfs_growfs -D $((i * 1024 * 1024 /"
	  " $(stat -f -c %S .))) . >/dev/null || exit; done", .small = true },
	{ "discarding", XFS, "discard", "true", "two/b",
	  "for i in $(few 10); do head -c 1m /dev/zero >one/space && sync one/space &&"
	  " rm one/space && fstrim . || exit; done" },
	/* It leaves alone what changes meanwhile: that it says so is no failure. */
	{ "defragmentation", XFS, "defaults", "true", "two/b",
	  "for i in $(few 20); do xfs_fsr one/a two/b; done; true" },
	{ "reverse mappings that are read", XFS, "defaults", "true", "two/b",
	  "for i in $(few 40); do xfs_io -c fsmap . >/dev/null || exit; done" },
	{ "owners that change", XFS, "uquota,gquota,pquota", "true", "two/b",
	  "for i in $(few 40); do chown $i:$((i + 1)) one/a && chown $((41 - i)) two/b &&"
	  " xfs_io -c \"chproj $i\" one/a || exit; done" },
};

/* A pair in two places, and in one. */
static const struct row apart = {
	.options = "defaults", .before = "true", .path2 = "two/b",
};

static const struct row together = {
	.options = "defaults", .before = "true", .path2 = "one/b",
};

/* A pair that a thread exchanges without a pause. */
struct storm {
	int		fd[2];
	pthread_t	thread;
	atomic_bool	stop;
	atomic_uint	exchanges;
	atomic_int	error;		/* the first one */
};

/* A file of one letter in many extents. */
static int make_letters(const char *path, char letter)
{
	int fd = open(path_of(path), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	char block[BLOCK];
	unsigned int i;

	assert_true(fd >= 0);
	memset(block, letter, sizeof(block));
	for (i = 0; i < BLOCKS; i += 2)
		assert_int_equal(pwrite(fd, block, BLOCK, i * BLOCK), BLOCK);
	assert_int_equal(fsync(fd), 0);
	for (i = 1; i < BLOCKS; i += 2)
		assert_int_equal(pwrite(fd, block, BLOCK, i * BLOCK), BLOCK);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

/* Its letter, or 0 for a mixture or another size. */
static char letter_of(int fd)
{
	char *bytes = malloc(SIZE);
	struct stat st;
	char letter = 0;

	assert_non_null(bytes);
	assert_int_equal(fstat(fd, &st), 0);
	if (st.st_size == SIZE && pread(fd, bytes, SIZE, 0) == SIZE &&
	    !memcmp(bytes, bytes + 1, SIZE - 1))
		letter = bytes[0];
	free(bytes);
	return letter;
}

static char letter_at(const char *path)
{
	int fd = open_path(path_of(path), O_RDONLY);
	char letter = letter_of(fd);

	close(fd);
	return letter;
}

static void assert_pair(char letter1, char letter2)
{
	assert_true((letter1 == 'a' && letter2 == 'b') ||
		    (letter1 == 'b' && letter2 == 'a'));
}

static void *exchange_on(void *argument)
{
	struct storm *storm = argument;
	struct exchrange_range range = {
		.file1_fd	= storm->fd[0],
		.file2_fd	= storm->fd[1],
		.flags		= EXCHRANGE_TO_EOF,
	};
	int error;

	while (!atomic_load(&storm->stop)) {
		/* A new way each time: whole, durable, a part and back. */
		if (atomic_load(&storm->exchanges) % 16 == 7)
			range.flags |= EXCHRANGE_DSYNC;
		else
			range.flags &= ~EXCHRANGE_DSYNC;
		error = device_exchange(&range);
		if (error) {
			atomic_store(&storm->error, error);
			return NULL;
		}
		atomic_fetch_add(&storm->exchanges, 1);
	}
	return NULL;
}

/* Of a test that failed it goes on, and keeps the disk mounted: the next one ends it. */
static struct storm *going;

static void begin_exchanges(struct storm *storm)
{
	atomic_store(&storm->stop, false);
	assert_int_equal(pthread_create(&storm->thread, NULL, exchange_on,
					storm), 0);
	going = storm;
}

static void join_storm(struct storm *storm)
{
	atomic_store(&storm->stop, true);
	pthread_join(storm->thread, NULL);
	going = NULL;
}

static void end_what_goes_on(void)
{
	struct storm *storm = going;

	if (!storm)
		return;
	join_storm(storm);
	close(storm->fd[0]);
	close(storm->fd[1]);
}

/*
 * Two subvolumes, or on XFS directories, whose files are in AGs of their own, on a new
 * file system; and a pair in both or in the first.
 */
static void start_storm(struct storm *storm, const struct row *row)
{
	const char *make = is_btrfs() ? "btrfs -q subvolume create" : "mkdir";

	end_what_goes_on();
	memset(storm, 0, sizeof(*storm));
	enter_scratch(row->small ? kind->mkfs_small : kind->mkfs, row->options);
	assert_int_equal(run("cd " SCRATCH " && %s one && %s two && %s", make, make,
			     row->before), 0);
	storm->fd[0] = make_letters("one/a", 'a');
	storm->fd[1] = make_letters(row->path2, 'b');
	begin_exchanges(storm);
}

static void stop_storm(struct storm *storm)
{
	const struct exchrange_range range = {
		.file1_fd	= storm->fd[0],
		.file2_fd	= storm->fd[1],
		.flags		= EXCHRANGE_TO_EOF,
	};

	join_storm(storm);
	print_message("# %u exchanges\n", storm->exchanges);
	assert_int_equal(storm->error, 0);
	assert_true(storm->exchanges > 0);
	assert_pair(letter_of(storm->fd[0]), letter_of(storm->fd[1]));
	/* A stale page hides behind an even number of them: one more, of what was read. */
	assert_int_equal(device_exchange(&range), 0);
	assert_pair(letter_of(storm->fd[0]), letter_of(storm->fd[1]));
	close(storm->fd[0]);
	close(storm->fd[1]);
}

static void end_storm(struct storm *storm)
{
	stop_storm(storm);
	if (is_btrfs())
		assert_int_equal(run("btrfs scrub start -B " SCRATCH), 0);
	leave_scratch();
}

static void assert_exchanges_go_on(struct storm *storm)
{
	unsigned int seen = storm->exchanges;
	int i;

	for (i = 0; i < 1000 && storm->exchanges < seen + 3; i++)
		usleep(10000);
	assert_int_equal(storm->error, 0);
	assert_true(storm->exchanges >= seen + 3);
}

static void test_row(void **state)
{
	const struct row *row = *state;
	static struct storm storm;

	start_storm(&storm, row);
	assert_exchanges_go_on(&storm);
	assert_int_equal(run("few() { seq $((($1 + %u) / %u)); } && cd " SCRATCH " && { %s; }",
			     test_share() - 1, test_share(), row->beside), 0);
	assert_exchanges_go_on(&storm);
	end_storm(&storm);
}

/* Of so many times that a pair is looked at: the share, and it was seen both ways. */
static bool seen_enough(const unsigned int seen[2], unsigned int times)
{
	return seen[0] && seen[1] && seen[0] + seen[1] >= times / test_share();
}

/* A snapshot that was there before does not change, a new one has a whole pair. */
static void test_snapshots(void **state)
{
	unsigned int seen[2] = { };
	static struct storm storm;
	char path[2][64];
	int i;

	(void)state;
	start_storm(&storm, &together);
	join_storm(&storm);
	assert_int_equal(run("btrfs -q subvolume snapshot " SCRATCH "/one " SCRATCH "/before"),
			 0);
	path[0][0] = letter_at("before/a");
	begin_exchanges(&storm);
	for (i = 0; i < 30 && !seen_enough(seen, 30); i++) {
		char letter;

		assert_int_equal(run("btrfs -q subvolume snapshot %s " SCRATCH "/one " SCRATCH "/snapshot%d",
				     i % 2 ? "-r" : "", i), 0);
		snprintf(path[0], sizeof(path[0]), "snapshot%d/a", i);
		snprintf(path[1], sizeof(path[1]), "snapshot%d/b", i);
		letter = letter_at(path[0]);
		assert_pair(letter, letter_at(path[1]));
		seen[letter == 'b']++;
	}
	print_message("# snapshots: %u as it began, %u exchanged\n", seen[0],
		      seen[1]);
	assert_true(seen[0] > 0 && seen[1] > 0);
	assert_pair(letter_at("before/a"), letter_at("before/b"));
	end_storm(&storm);
}

static void test_snapshot_taken_before_does_not_change(void **state)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	struct picture before;
	int fd;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	assert_int_equal(run("btrfs -q subvolume create " SCRATCH "/one"), 0);
	range.file1_fd = make_letters("one/a", 'a');
	range.file2_fd = make_letters("one/b", 'b');
	assert_int_equal(run("btrfs -q subvolume snapshot " SCRATCH "/one " SCRATCH "/before"),
			 0);
	fd = open_path(path_of("before/a"), O_RDONLY);
	before = take_picture(fd);
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(letter_of(range.file1_fd), 'b');
	assert_int_equal(run("sync -f " SCRATCH " && echo 3 >/proc/sys/vm/drop_caches"),
			 0);
	assert_unchanged(&before, fd);
	assert_int_equal(letter_at("before/b"), 'b');
	drop_picture(&before);
	close(fd);
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* A clone takes the file's lock: it is all of one of the two. */
static void test_reflinks(void **state)
{
	unsigned int seen[2] = { };
	static struct storm storm;
	int i, fd;

	(void)state;
	start_storm(&storm, &apart);
	for (i = 0; i < 100 && !seen_enough(seen, 100); i++) {
		char letter;

		fd = open(path_of("one/clone"), O_RDWR | O_CREAT | O_TRUNC, 0644);
		assert_true(fd >= 0);
		assert_int_equal(ioctl(fd, FICLONE, storm.fd[0]), 0);
		letter = letter_of(fd);
		assert_true(letter == 'a' || letter == 'b');
		seen[letter == 'b']++;
		close(fd);
	}
	print_message("# clones: %u of 'a', %u of 'b'\n", seen[0], seen[1]);
	assert_true(seen[0] > 0 && seen[1] > 0);
	end_storm(&storm);
}

/* Shared with a third file, now and then, whichever has its contents. */
static void test_dedupe(void **state)
{
	struct file_dedupe_range *dedupe =
		calloc(1, sizeof(*dedupe) + 2 * sizeof(dedupe->info[0]));
	unsigned int shared = 0;
	static struct storm storm;
	int i, fd;

	(void)state;
	assert_non_null(dedupe);
	start_storm(&storm, &apart);
	fd = make_letters("one/third", 'a');
	for (i = 0; i < 100 && (!shared || i < 100 / (int)test_share()); i++) {
		dedupe->src_length = SIZE;
		dedupe->dest_count = 2;
		dedupe->info[0].dest_fd = storm.fd[0];
		dedupe->info[1].dest_fd = storm.fd[1];
		assert_int_equal(ioctl(fd, FIDEDUPERANGE, dedupe), 0);
		shared += dedupe->info[0].status == FILE_DEDUPE_RANGE_SAME;
		shared += dedupe->info[1].status == FILE_DEDUPE_RANGE_SAME;
	}
	print_message("# deduplicated %u times\n", shared);
	assert_true(shared > 0);
	assert_int_equal(letter_of(fd), 'a');
	close(fd);
	free(dedupe);
	end_storm(&storm);
}

static void test_quota(const char *enable, bool rescan)
{
	const struct row row = {
		.options = "defaults", .before = enable, .path2 = "two/b",
	};
	struct outcome before, after;
	static struct storm storm;

	start_storm(&storm, &row);
	/* Unequal sizes, so that usage moves: a third file goes in and out. */
	assert_int_equal(run("cd " SCRATCH " && head -c 300000 /dev/urandom >two/large"
			     " && for i in $(seq 21); do exchrange swap one/small two/large 2>/dev/null ||"
			     " { head -c 100 /dev/urandom >one/small; }; done"), 0);
	assert_exchanges_go_on(&storm);
	stop_storm(&storm);
	before = run_and_keep("sync -f " SCRATCH "; sleep 1; sync -f " SCRATCH
			      "; btrfs qgroup show --raw " SCRATCH);
	assert_int_equal(before.status, 0);
	if (rescan) {
		after = run_and_keep("btrfs -q quota rescan -w " SCRATCH
				     " && btrfs qgroup show --raw " SCRATCH);
		assert_int_equal(after.status, 0);
		assert_string_equal(before.out, after.out);
		drop_outcome(&after);
	}
	drop_outcome(&before);
	/* btrfs check counts both kinds anew. */
	leave_scratch();
}

static void test_quota_groups(void **state)
{
	(void)state;
	test_quota("btrfs -q quota enable . && btrfs -q quota rescan -w .", true);
}

static void test_simple_quotas(void **state)
{
	(void)state;
	/* Since btrfs-progs 6.6.1. */
	if (run("btrfs quota enable --help | grep -q -- --simple"))
		skip();
	test_quota("btrfs -q quota enable --simple .", false);
}

/*
 * Writers of three kinds, each with blocks of its own in both files, one after the other in the
 * first half, and one of direct writes with the second half.  The last value that was written to
 * a block is in one of the two: no write is lost, none is torn.
 */
enum { BUFFERED, DIRECT, MAPPED, APART, WRITERS };

struct writer {
	struct storm	*storm;
	int		kind;
	int		fd[2];
	char		*mapping[2];
	uint64_t	last[BLOCKS];	/* 0 where it is another's block */
	unsigned int	writes;
	bool		failed;
};

static bool write_block(struct writer *writer, int file, unsigned int block,
			uint64_t value)
{
	static _Thread_local uint64_t words[BLOCK / 8]
		__attribute__((aligned(BLOCK)));
	unsigned int i;

	if (writer->kind == MAPPED) {
		/* One aligned store: what a mapping can promise. */
		__atomic_store_n((uint64_t *)(writer->mapping[file] + block * BLOCK),
				 value, __ATOMIC_RELAXED);
		return true;
	}
	for (i = 0; i < COUNT(words); i++)
		words[i] = value;
	return pwrite(writer->fd[file], words, BLOCK, block * BLOCK) == BLOCK;
}

static unsigned int first_block(const struct writer *writer)
{
	return writer->kind == APART ? BLOCKS / 2 : (unsigned int)writer->kind;
}

static unsigned int next_block(const struct writer *writer, unsigned int block)
{
	block += writer->kind == APART ? 1 : 3;
	return block < (writer->kind == APART ? BLOCKS : BLOCKS / 2) ?
	       block : first_block(writer);
}

static void *write_on(void *argument)
{
	struct writer *writer = argument;
	unsigned int block = first_block(writer);
	uint64_t value = writer->kind + 1;

	while (!atomic_load(&writer->storm->stop) && !writer->failed) {
		value += 16;
		if (!write_block(writer, value / 16 % 2, block, value))
			writer->failed = true;
		writer->last[block] = value;
		writer->writes++;
		block = next_block(writer, block);
	}
	return NULL;
}

/*
 * XFS itself loses a direct write while a store makes a large folio dirty that its block is in
 * too (see uapi.md).
 */
static bool may_lose(const struct writer *writer)
{
	return writer->kind == DIRECT && !is_btrfs();
}

static void assert_last_values(const struct writer *writer)
{
	uint64_t words[2][BLOCK / 8];
	unsigned int block, i;

	for (block = 0; block < BLOCKS; block++) {
		if (!writer->last[block])
			continue;
		for (i = 0; i < 2; i++) {
			assert_int_equal(pread(writer->storm->fd[i], words[i],
					       BLOCK, block * BLOCK), BLOCK);
			if (writer->kind != MAPPED)
				assert_memory_equal(words[i], words[i] + 1,
						    BLOCK - 8);
		}
		if (words[0][0] == writer->last[block] ||
		    words[1][0] == writer->last[block] || may_lose(writer))
			continue;
		print_message("# writer %d, block %u: %llu was written, %llu and %llu are there\n",
			      writer->kind, block,
			      (unsigned long long)writer->last[block],
			      (unsigned long long)words[0][0],
			      (unsigned long long)words[1][0]);
		fail();
	}
}

/* Where XFS has lost a direct write so, the next fsync says EIO, once. */
static int sync_mixed(int fd)
{
	if (fsync(fd) == 0)
		return 0;
	return errno == EIO && !is_btrfs() ? fsync(fd) : -1;
}

static void test_other_writers(void **state)
{
	struct writer writers[WRITERS] = { };
	pthread_t threads[WRITERS];
	static struct storm storm;
	int i, j;

	(void)state;
	start_storm(&storm, &apart);
	for (i = 0; i < WRITERS; i++) {
		writers[i].storm = &storm;
		writers[i].kind = i;
		for (j = 0; j < 2; j++) {
			writers[i].fd[j] = open_path(path_of(j ? "two/b" : "one/a"),
						     O_RDWR | (i == DIRECT || i == APART ? O_DIRECT : 0));
			writers[i].mapping[j] = mmap(NULL, SIZE,
						     PROT_READ | PROT_WRITE,
						     MAP_SHARED, storm.fd[j], 0);
			assert_ptr_not_equal(writers[i].mapping[j], MAP_FAILED);
		}
		assert_int_equal(pthread_create(&threads[i], NULL, write_on,
						&writers[i]), 0);
	}
	sleep(10);
	join_storm(&storm);
	for (i = 0; i < WRITERS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(writers[i].failed);
	}
	print_message("# %u exchanges beside %u buffered writes, %u direct ones, %u stores\n",
		      storm.exchanges, writers[BUFFERED].writes,
		      writers[DIRECT].writes + writers[APART].writes, writers[MAPPED].writes);
	assert_int_equal(storm.error, 0);
	assert_true(storm.exchanges > 0);
	for (i = 0; i < WRITERS; i++)
		assert_last_values(&writers[i]);
	/* And on the disk. */
	for (i = 0; i < 2; i++)
		assert_int_equal(sync_mixed(storm.fd[i]), 0);
	assert_int_equal(run("echo 3 >/proc/sys/vm/drop_caches"), 0);
	for (i = 0; i < WRITERS; i++) {
		assert_last_values(&writers[i]);
		for (j = 0; j < 2; j++) {
			munmap(writers[i].mapping[j], SIZE);
			close(writers[i].fd[j]);
		}
	}
	close(storm.fd[0]);
	close(storm.fd[1]);
	leave_scratch();
}

/* The descriptors are from before it was made read-only. */
static void test_readonly_subvolume_is_erofs(void **state)
{
	struct exchrange_range range = { .flags = EXCHRANGE_TO_EOF };
	struct exchrange_range back;

	(void)state;
	enter_scratch(kind->mkfs, "defaults");
	assert_int_equal(run("cd " SCRATCH " && btrfs -q subvolume create one"
			     " && btrfs -q subvolume create two"), 0);
	range.file1_fd = make_letters("one/a", 'a');
	range.file2_fd = make_letters("two/b", 'b');
	back = range;
	back.file1_fd = range.file2_fd;
	back.file2_fd = range.file1_fd;
	assert_int_equal(run("btrfs property set " SCRATCH "/one ro true"), 0);
	assert_int_equal(device_exchange(&range), EROFS);
	assert_int_equal(device_exchange(&back), EROFS);
	assert_int_equal(letter_of(range.file1_fd), 'a');
	assert_int_equal(letter_of(range.file2_fd), 'b');
	assert_int_equal(run("btrfs property set " SCRATCH "/one ro false"), 0);
	assert_int_equal(device_exchange(&range), 0);
	assert_int_equal(letter_of(range.file1_fd), 'b');
	close(range.file1_fd);
	close(range.file2_fd);
	leave_scratch();
}

/* Open for writing, a file keeps the file system from becoming read-only. */
static void test_remount_readonly(void **state)
{
	static struct storm storm;

	(void)state;
	start_storm(&storm, &apart);
	assert_int_equal(mount(NULL, SCRATCH, NULL, MS_REMOUNT | MS_RDONLY, NULL),
			 -1);
	assert_int_equal(errno, EBUSY);
	assert_exchanges_go_on(&storm);
	stop_storm(&storm);
	assert_int_equal(mount(NULL, SCRATCH, NULL, MS_REMOUNT | MS_RDONLY, NULL),
			 0);
	assert_pair(letter_at("one/a"), letter_at("two/b"));
	leave_scratch();
}

/* The rows of this kind of file system. */
static size_t choose_rows(struct row chosen[COUNT(rows)])
{
	size_t count = 0, i;

	for (i = 0; i < COUNT(rows); i++)
		if (rows[i].on == BOTH || (rows[i].on == BTRFS) == is_btrfs())
			chosen[count++] = rows[i];
	return count;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(test_reflinks),
		cmocka_unit_test(test_dedupe),
		cmocka_unit_test(test_other_writers),
		cmocka_unit_test(test_remount_readonly),
#define ON_BOTH	4
		cmocka_unit_test(test_snapshots),
		cmocka_unit_test(test_snapshot_taken_before_does_not_change),
		cmocka_unit_test(test_quota_groups),
		cmocka_unit_test(test_simple_quotas),
		cmocka_unit_test(test_readonly_subvolume_is_erofs),
	};
	static struct row chosen[COUNT(rows)];
	struct table table = {
		.group		= "beside",
		.rows		= chosen,
		.row_size	= sizeof(chosen[0]),
		.test		= test_row,
		.others		= others,
	};

	start(argc, argv);
	table.row_count = choose_rows(chosen);
	table.other_count = is_btrfs() ? COUNT(others) : ON_BOTH;
	return run_table(&table);
}

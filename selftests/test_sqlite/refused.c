// SPDX-License-Identifier: GPL-2.0
/*
 * Commits that a file system refuses, for real: a quota that is reached, a disk that fails, a
 * page to which a device writes.  SQLite's own code comes back, the databases are as before, and
 * the transaction succeeds when it is tried again; where only the exchange is refused, it succeeds
 * at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices.h"
#include "pair.h"

/* --- what the VFS says -------------------------------------------------------------------- */

static char log_text[2000];

static void keep_log(void *context, int code, const char *text)
{
	size_t length = strlen(log_text);

	(void)context;
	(void)code;
	snprintf(log_text + length, sizeof(log_text) - length, "%s\n", text);
}

/* In a child, whose VFS has said nothing yet: each message comes once for a process. */
static void begin_log(void)
{
	sqlite3_shutdown();
	sqlite3_config(SQLITE_CONFIG_LOG, keep_log, NULL);
	load_vfs(NULL);
}

static void assert_said(const char *what)
{
	if (!strstr(log_text, what))
		fail_msg("the log does not have \"%s\":\n%s", what, log_text);
}

/* What a test that failed has left. */
static void clear_away(void)
{
	(void)run("mkdir -p " SCRATCH "; umount -q " SCRATCH "; dmsetup remove -f " FAILING_NAME " 2>/dev/null; :");
}

/* --- a quota -------------------------------------------------------------------------------- */

#define LIMIT	"40m"

/* A folder that is nobody's, with little space for nobody. */
static void mount_with_quota(void)
{
	if (on_btrfs())
		assert_int_equal(run("mkfs.btrfs -q -f $SCRATCH_DEV1 && mount $SCRATCH_DEV1 " SCRATCH
				     " && cd " SCRATCH " && btrfs -q quota enable ."
				     " && btrfs -q subvolume create poor"
				     " && btrfs -q quota rescan -w . && btrfs -q qgroup limit " LIMIT " poor"), 0);
	else
		assert_int_equal(run("mkfs.xfs -q -f $XFS_MKFS $SCRATCH_DEV1 && mount -o uquota $SCRATCH_DEV1 " SCRATCH
				     " && mkdir " SCRATCH "/poor"
				     " && xfs_quota -x -c 'limit -u bhard=" LIMIT " %d' " SCRATCH, NOBODY), 0);
	assert_int_equal(run("chown %d " SCRATCH "/poor", NOBODY), 0);
	assert_int_equal(chdir(SCRATCH "/poor"), 0);
}

static int open_filler(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void fill_by_pieces(int fd, size_t piece)
{
	char *bytes = calloc(1, piece);

	assert_non_null(bytes);
	while (write(fd, bytes, piece) > 0)
		continue;
	assert_int_equal(errno, EDQUOT);
	(void)fsync(fd);
	free(bytes);
	close(fd);
}

static void use_quota_up(void)
{
	/* Both are there before there is no room for a name. */
	const int fill = open_filler("fill"), rest = open_filler("rest");

	fill_by_pieces(fill, 1 << 20);
	fill_by_pieces(rest, BLOCK);
}

static void give_quota_back(void)
{
	assert_int_equal(unlink("fill") || unlink("rest"), 0);
	sync();
}

static void become_nobody(void)
{
	assert_int_equal(setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY), 0);
	begin_log();
}

/* The sum of x.db, as the connection has it; of a new one, where it cannot roll back. */
static sqlite3_int64 sum_of(sqlite3 **db, const struct manner *manner, const char *pragmas)
{
	if (!sqlite3_get_autocommit(*db))
		(void)try(*db, "ROLLBACK");
	if (keeps_locks(*db) && try(*db, "SELECT count(*) FROM t, u")) {
		close_database(*db);
		*db = attach(manner, pragmas);
	}
	return number_of(*db, "SELECT sum(c) FROM t");
}

/* The pages find no space in slots. */
static void pages_beyond_quota(const struct manner *manner, const char *pragmas)
{
	static const char *const larger =
		"BEGIN; UPDATE t SET b = zeroblob(20000 + a), c = c - 1; UPDATE u SET c = c + 1; COMMIT";
	sqlite3 *db;

	become_nobody();
	make_both();
	db = attach(manner, pragmas);
	execute(db, "%s", transfer);
	use_quota_up();
	assert_int_equal(try(db, "%s", larger) & 0xff, SQLITE_FULL);
	assert_int_equal(sum_of(&db, manner, pragmas), 1800);
	if (!keeps_locks(db))
		assert_int_equal(assert_pair(), 1800);
	give_quota_back();
	execute(db, "%s", larger);
	close_database(db);
	assert_int_equal(assert_pair(), 1600);
}

/* There are slots with space of their own: it is the exchange that may need some more. */
static void exchange_beyond_quota(const struct manner *manner, const char *pragmas)
{
	static const char *const scattered =
		"BEGIN; UPDATE t SET c = c - 1; UPDATE u SET c = c + 1; COMMIT";
	sqlite3_int64 sum;
	sqlite3 *db;
	int code;

	become_nobody();
	make_both();
	db = attach(manner, pragmas);
	execute(db, "PRAGMA main.cache_size=2000; PRAGMA y.cache_size=2000");
	execute(db, "UPDATE t SET b = zeroblob(20000)");
	execute(db, "%s; %s", scattered, scattered);
	use_quota_up();
	code = try(db, "%s", scattered);
	sum = sum_of(&db, manner, pragmas);
	assert_int_equal(sum, code ? 1600 : 1400);
	if (code)
		assert_int_equal(code & 0xff, SQLITE_FULL);
	if (!keeps_locks(db))
		assert_int_equal(assert_pair(), sum);
	give_quota_back();
	execute(db, "%s", scattered);
	close_database(db);
	assert_int_equal(assert_pair(), sum - 200);
}

static void quota_is_reached(void **state)
{
	unsigned int i;

	(void)state;
	begin_by(&by_exchange);
	if (!getenv("SCRATCH_DEV1"))
		skip();
	for (i = 0; i < MODES; i += mode_step()) {
		clear_away();
		mount_with_quota();
		run_in_child(pages_beyond_quota, &by_exchange, modes[i]);
		assert_int_equal(run("rm -f *"), 0);
		run_in_child(exchange_beyond_quota, &by_exchange, modes[i]);
		assert_int_equal(chdir(mount_point), 0);
		assert_int_equal(run("umount " SCRATCH), 0);
	}
}

/* --- a disk that fails ----------------------------------------------------------------------- */

/* XFS with its log elsewhere, btrfs without its own commits: only the data meet a bad disk. */
static void mount_failing_disk(bool make)
{
	const char *mkfs = on_btrfs() ? "mkfs.btrfs -q -f " FAILING_DISK :
		"mkfs.xfs -q -f $XFS_MKFS -l logdev=$SCRATCH_DEV2,size=64m " FAILING_DISK;

	assert_int_equal(run("%s && mount -o %s " FAILING_DISK " " SCRATCH, make ? mkfs : ":",
			     on_btrfs() ? "commit=300" : "logdev=$SCRATCH_DEV2"), 0);
	assert_int_equal(chdir(SCRATCH), 0);
}

static void begin_failing_disk(void)
{
	begin_by(&by_exchange);
	if (!getenv("SCRATCH_DEV1"))
		skip();
	clear_away();
	make_failing_disk(getenv("SCRATCH_DEV1"));
	mount_failing_disk(true);
}

static void end_failing_disk(void)
{
	assert_int_equal(chdir(mount_point), 0);
	assert_int_equal(run("umount " SCRATCH " && %s " FAILING_DISK " 2>&1", on_btrfs() ?
			     "btrfs check" : "xfs_repair -n -l $SCRATCH_DEV2"), 0);
	/* Nobody else knows of the other log. */
	assert_int_equal(run("wipefs -aq " FAILING_DISK), 0);
	assert_int_equal(drop_failing_disk(), 0);
}

/* Data cannot be written: the exchange is not made, and the file system goes on. */
static void data_do_not_arrive(const struct manner *manner, const char *pragmas)
{
	sqlite3 *db;
	int code;

	begin_log();
	make_both();
	db = attach(manner, pragmas);
	execute(db, "%s", transfer);
	sync();
	set_table(WRITES_FAIL_TABLE);
	code = try(db, "%s", transfer);
	set_table(GOOD_TABLE);
	assert_int_equal(code & 0xff, SQLITE_IOERR);
	assert_said("commit: Input/output error");
	assert_int_equal(sum_of(&db, manner, pragmas), 1800);
	if (!keeps_locks(db))
		assert_int_equal(assert_pair(), 1800);
	execute(db, "%s", transfer);
	close_database(db);
	assert_int_equal(assert_pair(), 1600);
}

static void disk_takes_no_data(void **state)
{
	unsigned int i;

	(void)state;
	begin_failing_disk();
	for (i = 0; i < MODES; i += mode_step()) {
		/* What does not wait for the disk does not hear of it. */
		if (strstr(modes[i], "synchronous=OFF"))
			continue;
		run_in_child(data_do_not_arrive, &by_exchange, modes[i]);
		assert_int_equal(run("rm -f *"), 0);
	}
	end_failing_disk();
}

static void nothing_works(const struct manner *manner, const char *pragmas)
{
	sqlite3 *db;

	begin_log();
	make_both();
	db = attach(manner, pragmas);
	execute(db, "%s", transfer);
	/* What cannot be read is SQLITE_CORRUPT: this is about the commit. */
	assert_int_equal(run("sync; cat x.db y.db >/dev/null"), 0);
	set_table(ALL_FAILS_TABLE);
	assert_int_equal(try(db, "%s", transfer) & 0xff, SQLITE_IOERR);
	if (!sqlite3_get_autocommit(db))
		(void)try(db, "ROLLBACK");
	(void)try(db, "SELECT sum(c) FROM t");
	close_database(db);
}

/* The file system ends.  Mounted again, it has all of the transaction or nothing. */
static void disk_is_gone(void **state)
{
	sqlite3_int64 sum;
	unsigned int i;
	sqlite3 *db;

	(void)state;
	begin_failing_disk();
	for (i = 0; i < MODES; i += mode_step()) {
		if (strstr(modes[i], "synchronous=OFF"))
			continue;
		run_in_child(nothing_works, &by_exchange, modes[i]);
		assert_int_equal(chdir(mount_point), 0);
		assert_int_equal(run("umount " SCRATCH), 0);
		set_table(GOOD_TABLE);
		mount_failing_disk(false);
		assert_int_equal(count_files("x.db-") + count_files("y.db-"), 0);
		sum = assert_pair();
		assert_true(sum == 1800 || sum == 1600);
		db = attach(&by_exchange, modes[i]);
		execute(db, "%s", transfer);
		close_database(db);
		assert_int_equal(assert_pair(), sum - 200);
		assert_int_equal(run("rm -f *"), 0);
	}
	end_failing_disk();
}

/* --- a page to which a device writes ----------------------------------------------------------- */

#define PAGE_AT	(4 * BLOCK)

static const char *const change_all = "UPDATE t SET c = c - 1";

/* What the page becomes by the transaction, to block 7 of the device; and the rows. */
static uint64_t foresee(void)
{
	static char page[BLOCK] __attribute__((aligned(4096)));
	sqlite3 *copy;
	uint64_t rows;
	int fd;

	assert_int_equal(run("cat x.db >copy.db"), 0);
	copy = open_plainly("copy.db");
	execute(copy, "%s", change_all);
	rows = digest(copy);
	close_database(copy);
	fd = open_path("copy.db", O_RDONLY);
	assert_int_equal(pread(fd, page, BLOCK, PAGE_AT), BLOCK);
	close(fd);
	assert_int_equal(pwrite(slow_device, page, BLOCK, 7 * BLOCK), BLOCK);
	return rows;
}

static unsigned int journals_made(int watch)
{
	char events[4096];
	ssize_t length = read(watch, events, sizeof(events)), at;
	unsigned int made = 0;

	for (at = 0; at < length; ) {
		const struct inotify_event *event = (const void *)(events + at);

		made += strcmp(event->name, "x.db-journal") == 0;
		at += sizeof(*event) + event->len;
	}
	return made;
}

static void assert_rows(const char *name, uint64_t rows)
{
	sqlite3 *db = open_plainly(name);

	assert_string_equal(text_of(db, "PRAGMA integrity_check"), "ok");
	assert_true(digest(db) == rows);
	close_database(db);
}

/* EBUSY: SQLite's own way is taken.  The device writes what the transaction has written. */
static void device_writes(void **state)
{
	struct transfer reading = { .block = 7 };
	sqlite3 *db;
	uint64_t rows;
	int fd, watch;

	(void)state;
	begin_by(&by_exchange);
	if (!getenv("SCRATCH_DEV2"))
		skip();
	make_slow_device(NULL);
	make_both();
	rows = foresee();
	db = open_by(&by_exchange, "x.db");
	assert_int_equal(number_of(db, "SELECT sum(c) FROM t"), 2000);
	/* It is closed when the connection has no locks to lose. */
	fd = open_path("x.db", O_RDWR);
	reading.memory = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE_AT);
	assert_true(reading.memory != MAP_FAILED);
	watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	assert_true(inotify_add_watch(watch, ".", IN_CREATE) >= 0);

	stop_slow_device();
	begin_transfer(&reading);
	execute(db, "%s", change_all);
	assert_int_equal(journals_made(watch), 1);
	assert_int_equal(count_files("x.db"), 1);
	assert_true(digest(db) == rows);
	assert_rows("x.db", rows);
	end_transfer(&reading);
	assert_int_equal(run("dd if=x.db of=after.db bs=4k status=none"), 0);
	assert_rows("after.db", rows);

	/* btrfs would give up the page that the device has made dirty: see test_pinned_pages.c. */
	if (on_btrfs()) {
		assert_int_equal(ftruncate(fd, 0), 0);
	} else {
		(void)journals_made(watch);
		execute(db, "%s", change_all);
		assert_int_equal(journals_made(watch), 0);
	}
	munmap(reading.memory, BLOCK);
	close_database(db);
	close(fd);
	close(watch);
	assert_int_equal(drop_slow_device(NULL), 0);
}

void add_refused(void)
{
	add_by(&by_exchange, "refused", "a quota is reached", quota_is_reached, NULL);
	add_by(&by_exchange, "refused", "a disk takes no data", disk_takes_no_data, NULL);
	add_by(&by_exchange, "refused", "a disk is gone", disk_is_gone, NULL);
	add_by(&by_exchange, "refused", "a device writes to a page", device_writes, NULL);
}

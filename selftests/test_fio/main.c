// SPDX-License-Identifier: GPL-2.0
/*
 * tools/fio: batches are vectors, all of a batch is in the file or nothing, what fio reads back is
 * what it wrote, and what the engine does not do it says.
 *
 *	test_fio MOUNTPOINT
 *	test_fio run|check XFS BTRFS	power cuts: see cut.c
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pages.h"

#define SIZE		(8u << 20)	/* bytes of a file */
#define WRITES		330u		/* of a job: no multiple of a batch */

static const char *place;

/* fio below a path of the mount point; its exit status, and what it printed if that is not 0. */
static int run_fio(const char *folder, const char *options)
{
	return run("cd %s && DIRECTORY=%s ENGINE=%s/exchrange.so timeout 300 ./fio --directory=%s %s",
		   place, folder, place, folder, options);
}

#define BY_ENGINE	" --ioengine=external:./exchrange.so "

static void make_full_size(const char *path)
{
	assert_int_equal(run("rm -f %s && truncate -s %u %s", path, SIZE, path), 0);
}

/* Exchanges of the file since @watcher was opened. */
static uint64_t count_exchanges(struct exchrange_watcher *watcher)
{
	uint64_t count = watcher->page->count;

	exchrange_watch_close(watcher);
	return count;
}

static struct exchrange_watcher watch(const char *path)
{
	int fd = open_path(path, O_RDONLY);
	struct exchrange_watcher watcher;

	assert_int_equal(exchrange_watch_open(device, fd, &watcher), 0);
	/* A page is of the file, and counts from its first watch on. */
	assert_int_equal(watcher.page->count, 0);
	close(fd);
	return watcher;
}

static void assert_verified(const char *path, unsigned int page)
{
	char options[300];

	snprintf(options, sizeof(options),
		 "--name=v --filename=%s --ioengine=psync --rw=read --bs=%u --verify=crc32c --verify_fatal=1 --allow_file_create=0",
		 strrchr(path, '/') + 1, page);
	assert_int_equal(run_fio(mount_point, options), 0);
}

/* --- batches ----------------------------------------------------------------------------- */

struct batch {
	const char	*name;
	unsigned int	page, writes;
	const char	*options;
};

static const struct batch batches[] = {
	{ "pages of 4 KiB, a commit each",	4096,  1, "--fdatasync=1" },
	{ "pages of 4 KiB, 16 in a commit",	4096,  16, "--fdatasync=16" },
	{ "pages of 4 KiB, 64 in a commit",	4096,  64, "--fdatasync=64" },
	{ "pages of 16 KiB, a commit each",	16384, 1, "--fdatasync=1" },
	{ "pages of 16 KiB, 16 in a commit",	16384, 16, "--fsync=16" },
	{ "pages of 16 KiB, 64 in a commit",	16384, 64, "--fdatasync=64" },
	{ "pages of 4 KiB, 16 are queued",	4096,  16, "--iodepth=16 --iodepth_batch=16" },
	{ "pages of 4 KiB, 64 are queued",	4096,  64, "--iodepth=64 --iodepth_batch=64" },
	{ "pages of 16 KiB, 64 are queued",	16384, 64, "--iodepth=64 --iodepth_batch=64" },
	{ "16 of 64 that may be queued",	4096,  16, "--iodepth=64 --iodepth_batch=16" },
};

/* Two jobs on @path: one lays it out in place, the engine's writes WRITES pages. */
static int write_batches(const char *path, const struct batch *batch, const char *more)
{
	char options[600];

	snprintf(options, sizeof(options),
		 "--filename=%s --filesize=%u --bs=%u --verify=crc32c "
		 "--name=lay-out --ioengine=psync --rw=write --end_fsync=1 --do_verify=0 "
		 "--name=batches --stonewall" BY_ENGINE "--rw=randwrite --io_size=%u %s %s",
		 strrchr(path, '/') + 1, SIZE, batch->page, batch->page * WRITES, batch->options,
		 more);
	return run_fio(mount_point, options);
}

static void test_batch(void **state)
{
	const struct batch *batch = *state;
	const char *path = path_of("pages");
	struct exchrange_watcher watcher;
	struct found found;

	make_full_size(path);
	watcher = watch(path);
	assert_int_equal(write_batches(path, batch, "--end_fsync=1"), 0);
	assert_int_equal(count_exchanges(&watcher),
			 (WRITES + batch->writes - 1) / batch->writes);
	assert_true(read_headers(path, batch->page, &found));
	assert_int_equal(found.thread, 2);
	assert_int_equal(found.count, WRITES);
	assert_verified(path, batch->page);
}

static void test_unfinished_batch_is_not_there(void **state)
{
	const struct batch batch = { "", 4096, 64, "--fdatasync=64" };
	const char *path = path_of("pages");
	struct found found;

	(void)state;
	make_full_size(path);
	assert_int_equal(write_batches(path, &batch, "--do_verify=0 2>&1 | tee /tmp/fio.out"), 0);
	assert_int_equal(run("grep -q '%u blocks were written after the last commit' /tmp/fio.out",
			     WRITES % 64), 0);
	assert_true(read_headers(path, 4096, &found));
	assert_int_equal(found.count, WRITES - WRITES % 64);
	assert_verified(path, 4096);
}

/* All its files are in each vector. */
static void test_files_of_a_job(void **state)
{
	struct exchrange_watcher watchers[4];
	char name[20];
	int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		make_full_size(path_of(name));
		watchers[i] = watch(path_of(name));
	}
	assert_int_equal(run_fio(mount_point,
				 "--name=files --filename=f0:f1:f2:f3 --file_service_type=roundrobin:1"
				 BY_ENGINE "--rw=randwrite --bs=4k --io_size=640k --fdatasync=16 --end_fsync=1"), 0);
	for (i = 0; i < 4; i++)
		assert_int_equal(count_exchanges(&watchers[i]), 640 / 4 / 16);
}

/* --- what is in the files ------------------------------------------------------------------ */

struct alike {
	const char	*name, *options;
};

/* The files of the two engines are the same afterwards. */
static const struct alike alike[] = {
	{ "pages that are written again in their batch",
	  "--rw=randwrite --norandommap --filesize=128k --bs=4k --io_size=1m --fdatasync=64" },
	{ "the same, queued",
	  "--rw=randwrite --norandommap --filesize=128k --bs=4k --io_size=1m --iodepth=64 --iodepth_batch=64" },
	{ "writes of several sizes that overlap",
	  "--rw=randwrite --norandommap --filesize=256k --bsrange=4k-64k --io_size=4m --fdatasync=7" },
	{ "one after the other", "--rw=write --bs=16k --filesize=2m --fdatasync=10" },
	{ "files that are open in turn",
	  "--rw=randwrite --bs=4k --openfiles=1 --file_service_type=sequential --filesize=256k --fdatasync=50" },
	{ "files by chance",
	  "--rw=randwrite --bs=4k --file_service_type=random --filesize=256k --fdatasync=50" },
	{ "a part of each file", "--rw=randwrite --bs=4k --offset=64k --size=192k --filesize=256k --fdatasync=16" },
	{ "reads beside them", "--rw=randrw --bs=4k --filesize=1m --io_size=2m --fdatasync=16" },
};

static void test_alike(void **state)
{
	static const char common[] =
		"--name=alike --filename=f0:f1:f2 --refill_buffers --scramble_buffers=0 --end_fsync=1";
	const struct alike *row = *state;
	char options[600];

	assert_int_equal(run("cd %s && rm -rf a b && mkdir a && for f in 0 1 2; do "
			     "head -c 2M /dev/urandom >a/f$f; done && cp -r a b && cp -r a before",
			     mount_point), 0);
	snprintf(options, sizeof(options), "%s --ioengine=psync %s", common, row->options);
	assert_int_equal(run_fio(path_of("a"), options), 0);
	snprintf(options, sizeof(options), "%s " BY_ENGINE " %s", common, row->options);
	assert_int_equal(run_fio(path_of("b"), options), 0);
	assert_int_equal(run("cd %s && diff -r a b && ! diff -r a before >/tmp/diff; status=$?; "
			     "rm -rf a b before; exit $status", mount_point), 0);
}

/* Pages are read, and their checksums looked at, while their batch is not committed. */
static void test_read_before_the_commit(void **state)
{
	(void)state;
	make_full_size(path_of("pages"));
	assert_int_equal(run_fio(mount_point,
				 "--name=backlog --filename=pages" BY_ENGINE
				 "--rw=randwrite --bs=4k --io_size=2m --fdatasync=64 --end_fsync=1 "
				 "--verify=crc32c --verify_backlog=8 --verify_fatal=1"), 0);
}

static void test_jobs_on_one_file(void **state)
{
	(void)state;
	make_full_size(path_of("pages"));
	assert_int_equal(run_fio(mount_point,
				 "--name=jobs --filename=pages --numjobs=4 --offset_increment=2m --size=2m"
				 BY_ENGINE "--rw=randwrite --bs=4k --io_size=1m --fdatasync=16 --end_fsync=1 "
				 "--verify=crc32c --verify_fatal=1"), 0);
	make_full_size(path_of("pages"));
	assert_int_equal(run_fio(mount_point,
				 "--name=threads --thread --filename=pages --numjobs=4 --offset_increment=2m --size=2m"
				 BY_ENGINE "--rw=randwrite --bs=4k --io_size=1m --iodepth=16 --iodepth_batch=16 "
				 "--verify=crc32c --verify_fatal=1"), 0);
}

/* The examples that are with the engine. */
static void test_job_file(void **state)
{
	char file[100];

	snprintf(file, sizeof(file), "%s.fio", (const char *)*state);
	assert_int_equal(run("cd %s && DIRECTORY=%s ENGINE=./exchrange.so timeout 300 ./fio %s && "
			     "DIRECTORY=%s timeout 300 ./fio verify.fio --section=%s && rm %s/%s",
			     place, mount_point, file, mount_point, (const char *)*state,
			     mount_point, (const char *)*state), 0);
}

/* --- what it does not do --------------------------------------------------------------------- */

struct refused {
	const char	*name, *options, *text;
	const char	*folder;	/* or the mount point */
};

static const struct refused refused[] = {
	{ "direct=1", "--rw=randwrite --bs=4k --direct=1", "not with direct=1" },
	{ "sync=1", "--rw=randwrite --bs=4k --sync=1", "fdatasync=1 in the place of sync=" },
	{ "trims", "--rw=randtrim --bs=4k", "it does not trim" },
	{ "trims beside writes", "--rw=trimwrite --bs=4k", "it does not trim" },
	{ "offloaded submits", "--rw=randwrite --bs=4k --io_submit_mode=offload", "offloaded submit" },
	{ "pages of 512 bytes", "--rw=randwrite --bs=512 --fdatasync=16", "Invalid argument" },
	{ "a file system without a back end",
	  "--rw=randwrite --bs=4k --filesize=1m --fdatasync=16", "its file system has no back end", "/tmp" },
};

/* fio ends with an error that says so; the file is what it was. */
static void assert_refused(const char *path, const struct refused *row)
{
	struct picture picture;
	int fd = open_path(path, O_RDONLY);
	struct outcome outcome;

	picture = take_picture(fd);
	outcome = run_and_keep("cd %s && { ./fio --directory=%s --name=x --filename=%s" BY_ENGINE "%s; } 2>&1",
			       place, row->folder ? row->folder : mount_point, strrchr(path, '/') + 1,
			       row->options);
	if (!outcome.status || !strstr(outcome.out, row->text))
		fail_msg("exit status %d: %s", outcome.status, outcome.out);
	drop_outcome(&outcome);
	assert_unchanged(&picture, fd);
	drop_picture(&picture);
	close(fd);
}

static void test_refused(void **state)
{
	const struct refused *row = *state;

	close(make_file("refused", (struct file_spec) { SHAPE_PLAIN, 1 << 20 }, 1));
	assert_refused(path_of("refused"), row);
}

/* As without the module. */
static void test_no_device(void **state)
{
	static const struct refused row = {
		.options	= "--rw=randwrite --bs=4k --fdatasync=1; status=$?; mv /dev/exchrange-away /dev/exchrange; (exit $status)",
		.text		= "is the module loaded?",
	};

	(void)state;
	close(make_file("refused", (struct file_spec) { SHAPE_PLAIN, 1 << 20 }, 1));
	assert_int_equal(run("mv /dev/exchrange /dev/exchrange-away"), 0);
	assert_refused(path_of("refused"), &row);
}

/* Another release's fio, that of the guest's Debian. */
static void test_other_release(void **state)
{
	struct outcome outcome = run_and_keep("fio --version && test \"$(fio --version)\" != \"$(%s/fio --version)\"",
					      place);
	const bool other = outcome.status == 0;

	(void)state;
	drop_outcome(&outcome);
	if (!other) {
		print_message("there is no fio here beside the one that the engine was built for\n");
		skip();
	}
	outcome = run_and_keep("cd %s && fio --directory=%s --name=x --filename=refused --size=1m"
			       BY_ENGINE "--rw=randwrite --fdatasync=1 2>&1", place, mount_point);
	if (!outcome.status || !strstr(outcome.out, "exchrange: this engine was built with the source of"))
		fail_msg("exit status %d: %s", outcome.status, outcome.out);
	drop_outcome(&outcome);
}

/* Half a batch has room. */
static void fill_scratch(void)
{
	int fd = open(SCRATCH "/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint64_t end = 0, step;

	assert_true(fd >= 0);
	for (step = 64 << 20; step >= BLOCK; step /= 2)
		while (fallocate(fd, 0, end, step) == 0)
			end += step;
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(ftruncate(fd, end - (512 << 10)), 0);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	sync();
}

static const struct refused full[] = {
	{ "no room for a batch: nothing of it is there",
	  "--rw=randwrite --bs=16k --fdatasync=64", "No space left on device" },
	{ "no room for what is queued: nothing of it is there",
	  "--rw=randwrite --bs=16k --iodepth=64 --iodepth_batch=64", "No space left on device" },
	{ "no room, and fio goes on: nothing of any batch is there",
	  "--rw=randwrite --bs=16k --fdatasync=64 --continue_on_error=all", "No space left on device" },
};

static void test_full(void **state)
{
	const struct refused *row = *state;

	enter_scratch(kind->mkfs_small, "defaults");
	close(make_file("pages", (struct file_spec) { SHAPE_PLAIN, 4 << 20 }, 1));
	fill_scratch();
	assert_refused(path_of("pages"), row);
	leave_scratch();
}

/* --- all of them ------------------------------------------------------------------------------ */

static const struct any_row job_files[] = {
	{ "pages-4k.fio", test_job_file, "pages-4k" },
	{ "pages-16k.fio", test_job_file, "pages-16k" },
};

static const struct CMUnitTest others[] = {
	cmocka_unit_test(test_unfinished_batch_is_not_there),
	cmocka_unit_test(test_files_of_a_job),
	cmocka_unit_test(test_read_before_the_commit),
	cmocka_unit_test(test_jobs_on_one_file),
	cmocka_unit_test(test_no_device),
	cmocka_unit_test(test_other_release),
};

int main(int argc, char **argv)
{
	static struct any_row rows[COUNT(batches) + COUNT(alike) + COUNT(refused) + COUNT(full) +
				   COUNT(job_files)];
	struct table table = {
		.group = "fio", .rows = rows, .row_size = sizeof(rows[0]), .test = test_any_row,
		.others = others, .other_count = COUNT(others),
	};
	struct any_row *end = rows;
	const char *why;

	place = find_fio(&why);
	if (!place)
		return skip_all(why);
	if (argc == 4)
		return cut_main(argv);
	start(argc, argv);
	end = ADD_ROWS(end, batches, test_batch);
	end = ADD_ROWS(end, alike, test_alike);
	end = ADD_ROWS(end, refused, test_refused);
	end = ADD_ROWS(end, full, test_full);
	memcpy(end, job_files, sizeof(job_files));
	table.row_count = COUNT(rows);
	return run_table(&table);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Changes within the clock tick of the sample, which no timestamp tells of, and a
 * store to a page that was dirty.  btrfs notices them; XFS's own check does not, as
 * Documentation/uapi.md says.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

static const struct file_spec plain = { SHAPE_PLAIN, 64 * 1024 };

struct scene {
	int	fd2;
	int	other;		/* a file to exchange with */
	char	*mapping;	/* of file2 */
};

static void do_write(const struct way *way, struct scene *scene)
{
	(void)way;
	assert_int_equal(pwrite(scene->fd2, "new", 3, 5000), 3);
}

static void do_truncate(const struct way *way, struct scene *scene)
{
	(void)way;
	assert_int_equal(ftruncate(scene->fd2, 60 * 1024), 0);
}

static void do_chmod(const struct way *way, struct scene *scene)
{
	(void)way;
	assert_int_equal(fchmod(scene->fd2, 0600), 0);
}

static void do_store(const struct way *way, struct scene *scene)
{
	(void)way;
	scene->mapping[100] = 'x';
}

static void do_exchange(const struct way *way, struct scene *scene)
{
	struct exchrange_range range = {
		.file1_fd	= scene->other,
		.file2_fd	= scene->fd2,
		.length		= BLOCK,
	};

	assert_int_equal(way->exchange(&range), 0);
}

static void do_commit(const struct way *way, struct scene *scene)
{
	struct exchrange_commit commit = {
		.file1_fd	= scene->other,
		.file2_fd	= scene->fd2,
		.length		= BLOCK,
	};

	assert_int_equal(way->start_commit(&commit), 0);
	assert_int_equal(way->commit(&commit), 0);
}

static const struct row {
	const char *name;
	void (*meanwhile)(const struct way *way, struct scene *scene);
	bool dirty;	/* the page was stored to before the sample; any tick */
} rows[] = {
	{ "same tick: file2 was written",	do_write },
	{ "same tick: file2 was truncated",	do_truncate },
	{ "same tick: file2 changed its mode",	do_chmod },
	{ "same tick: file2 was stored to",	do_store },
	{ "same tick: file2 was exchanged",	do_exchange },
	{ "same tick: file2 was committed to",	do_commit },
	{ "a page that was dirty was stored to", do_store, .dirty = true },
};

static bool same_stat_times(const struct stat *a, const struct stat *b)
{
	return !memcmp(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim)) &&
	       !memcmp(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim));
}

/*
 * Samples and changes file2.  True if its times are the same before and after.  To be
 * clean at the sample costs time, so the times of a clean file are set anew.
 */
static bool change_in_a_tick(const struct way *way, const struct row *row,
			     struct scene *scene,
			     struct exchrange_commit *commit)
{
	struct stat before, after;

	if (row->dirty)
		scene->mapping[100] = 'w';
	else
		assert_int_equal(fsync(scene->fd2), 0);
	if (!row->dirty)
		assert_int_equal(futimens(scene->fd2, NULL), 0);
	assert_int_equal(fstat(scene->fd2, &before), 0);
	assert_int_equal(way->start_commit(commit), 0);
	row->meanwhile(way, scene);
	assert_int_equal(fstat(scene->fd2, &after), 0);
	return row->dirty || same_stat_times(&before, &after);
}

/* One transaction of ours on XFS: START_COMMIT lets a tick pass, so there is no such change. */
static bool waits_for_clock(void)
{
	return kind->backend == EXCHRANGE_BACKEND_XFS_TRANSACTION;
}

static int commit_in_a_tick(const struct way *way, const struct row *row,
			    bool *same_tick)
{
	struct exchrange_commit commit = { .flags = EXCHRANGE_TO_EOF };
	struct scene scene;
	int tries, error;

	*same_tick = false;
	for (tries = 0; tries < 200 && !*same_tick; tries++) {
		commit.file1_fd = make_file("file1", plain, 1);
		commit.file2_fd = make_file("file2", plain, 2);
		scene.fd2 = commit.file2_fd;
		scene.other = make_file("other", plain, 3);
		scene.mapping = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE,
				     MAP_SHARED, scene.fd2, 0);
		assert_ptr_not_equal(scene.mapping, MAP_FAILED);
		*same_tick = change_in_a_tick(way, row, &scene, &commit) ||
			     waits_for_clock();
		error = *same_tick ? way->commit(&commit) : 0;
		munmap(scene.mapping, BLOCK);
		close(scene.other);
		close(commit.file1_fd);
		close(commit.file2_fd);
	}
	return error;
}

static void test_row(void **state)
{
	const struct row *row = *state;
	int error, expected = kind->alone ? 0 : EBUSY;
	bool same_tick;

	error = commit_in_a_tick(&through_device, row, &same_tick);
	if (!same_tick)
		skip();	/* this kernel's timestamps are finer than a tick */
	assert_int_equal(error, expected);
	if (has_reference()) {
		error = commit_in_a_tick(&through_xfs, row, &same_tick);
		assert_true(same_tick);
		assert_int_equal(error, expected);
	}
}

int main(int argc, char **argv)
{
	static const struct table table = {
		.group		= "freshness",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_row,
	};

	start(argc, argv);
	return run_table(&table);
}

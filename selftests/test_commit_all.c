// SPDX-License-Identifier: GPL-2.0
/*
 * exchrange_update_commit_all(): several updates are committed all or none, and an error says
 * which one it is about.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

#define NONE	EXCHRANGE_REFUSED_NONE
#define FILES	3

static const struct file_spec specs[FILES] = {
	{ SHAPE_PLAIN, 5000 }, { SHAPE_HOLES, 40 * BLOCK }, { SHAPE_PLAIN, 100 },
};

/* Files with updates, of which each has contents of its own. */
struct set {
	int			fd[FILES];
	struct picture		before[FILES];
	struct exchrange_update	*update[FILES];
};

static const char *name_of(int i)
{
	static const char * const names[FILES] = { "one", "two", "three" };

	return path_of(names[i]);
}

static void fill(struct exchrange_update *update, int i)
{
	int fd = exchrange_update_fd(update);

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, "new", 3, i * 10000), 3);
}

static void assert_new(int fd, int i)
{
	char bytes[4];
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, i * 10000 + 3);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), i * 10000), 3);
	assert_memory_equal(bytes, "new", 3);
}

static struct exchrange_update *begin(int i, unsigned int flags)
{
	struct exchrange_update_options options = { .flags = flags, .mode = 0600 };
	struct exchrange_update *update;

	update = exchrange_update_begin(device, name_of(i), &options);
	if (update)
		fill(update, i);
	else
		fail_msg("begin %d: %s", i, strerror(errno));
	return update;
}

static void begin_set(struct set *set, const unsigned int flags[FILES])
{
	int i;

	for (i = 0; i < FILES; i++) {
		set->fd[i] = make_file(strrchr(name_of(i), '/') + 1, specs[i], i + 1);
		set->before[i] = take_picture(set->fd[i]);
		set->update[i] = begin(i, flags ? flags[i] : 0);
	}
}

static void end_set(struct set *set)
{
	int i;

	for (i = 0; i < FILES; i++) {
		exchrange_update_drop(set->update[i]);
		drop_picture(&set->before[i]);
		close(set->fd[i]);
	}
}

static void assert_set_unchanged(const struct set *set)
{
	int i;

	for (i = 0; i < FILES; i++) {
		assert_unchanged(&set->before[i], set->fd[i]);
		/* And can be tried again. */
		assert_new(exchrange_update_fd(set->update[i]), i);
	}
}

static void assert_commit(struct exchrange_update *const *updates, unsigned int count,
			  uint64_t flags, int error, uint32_t refused)
{
	uint32_t got = 12345;
	int answer = exchrange_update_commit_all(updates, count, flags, &got) ? errno : 0;

	if (answer != error || got != refused)
		fail_msg("%s, update %d; expected %s, update %d", strerror(answer),
			 (int)got, strerror(error), (int)refused);
}

static void assert_all_new(const struct set *set)
{
	int i;

	for (i = 0; i < FILES; i++)
		assert_new(set->fd[i], i);
}

static void test_all_change_and_the_inodes_stay(void **state)
{
	static const unsigned int flags[FILES] = {
		0, EXCHRANGE_UPDATE_UNCHANGED, EXCHRANGE_UPDATE_CREATE,
	};
	struct picture old;
	struct set set;
	struct stat st;
	int i;

	(void)state;
	begin_set(&set, flags);
	assert_commit(set.update, FILES, EXCHRANGE_DSYNC, 0, NONE);
	assert_all_new(&set);
	for (i = 0; i < FILES; i++) {
		old = take_picture(exchrange_update_fd(set.update[i]));
		assert_true(same_bytes(&set.before[i], &old));
		drop_picture(&old);
		assert_int_equal(stat(name_of(i), &st), 0);
		assert_int_equal(st.st_ino, set.before[i].st.st_ino);
		assert_int_equal(st.st_uid, NOBODY);
		assert_int_equal(st.st_mode, set.before[i].st.st_mode);
	}
	end_set(&set);
}

/* By paths and by descriptors, again and again. */
static void test_of_open_files_too(void **state)
{
	struct set set;
	int round;

	(void)state;
	begin_set(&set, NULL);
	exchrange_update_drop(set.update[1]);
	set.update[1] = exchrange_update_begin_fd(device, set.fd[1], NULL);
	assert_non_null(set.update[1]);
	for (round = 0; round < 3; round++) {
		fill(set.update[0], 0);
		fill(set.update[1], 1);
		fill(set.update[2], 2);
		assert_commit(set.update, FILES, 0, 0, NONE);
		assert_all_new(&set);
	}
	end_set(&set);
}

static void test_what_was_written_alone(void **state)
{
	struct picture model[2], after;
	struct set set;
	uint8_t page[BLOCK];
	int i;

	(void)state;
	begin_set(&set, NULL);
	memset(page, '!', sizeof(page));
	for (i = 0; i < 2; i++) {
		int staging = exchrange_update_fd(set.update[i]);

		model[i] = copy_picture(&set.before[i]);
		memcpy(model[i].bytes, page, BLOCK);
		assert_int_equal(ftruncate(staging, 0), 0);
		assert_int_equal(ftruncate(staging, model[i].size), 0);
		assert_int_equal(pwrite(staging, page, BLOCK, 0), BLOCK);
	}
	assert_commit(set.update, 2, EXCHRANGE_FILE1_WRITTEN, 0, NONE);
	for (i = 0; i < 2; i++) {
		after = take_picture(set.fd[i]);
		assert_true(same_bytes(&model[i], &after));
		drop_picture(&after);
		drop_picture(&model[i]);
	}
	end_set(&set);
}

static void test_a_dry_run_changes_nothing(void **state)
{
	struct set set;

	(void)state;
	begin_set(&set, NULL);
	assert_commit(set.update, FILES, EXCHRANGE_DRY_RUN, 0, NONE);
	assert_set_unchanged(&set);
	assert_commit(set.update, FILES, 0, 0, NONE);
	assert_all_new(&set);
	end_set(&set);
}

/* One of them changes, or is another one, after its update began. */
static void test_a_change_meanwhile_keeps_all(void **state)
{
	static const unsigned int flags[FILES] = {
		0, EXCHRANGE_UPDATE_UNCHANGED, EXCHRANGE_UPDATE_UNCHANGED,
	};
	struct set set;

	(void)state;
	begin_set(&set, flags);
	assert_int_equal(pwrite(set.fd[2], "!", 1, 50), 1);
	drop_picture(&set.before[2]);
	set.before[2] = take_picture(set.fd[2]);
	assert_commit(set.update, FILES, 0, EBUSY, 2);
	assert_set_unchanged(&set);
	assert_commit(set.update, FILES, EXCHRANGE_DRY_RUN, EBUSY, 2);

	exchrange_update_drop(set.update[2]);
	set.update[2] = begin(2, EXCHRANGE_UPDATE_UNCHANGED);
	assert_int_equal(rename(name_of(1), path_of("kept")), 0);
	assert_int_equal(run("cp %s %s", path_of("kept"), name_of(1)), 0);
	assert_commit(set.update, FILES, 0, EBUSY, 1);
	assert_int_equal(rename(path_of("kept"), name_of(1)), 0);
	drop_picture(&set.before[1]);
	set.before[1] = take_picture(set.fd[1]);
	assert_set_unchanged(&set);

	exchrange_update_drop(set.update[1]);
	set.update[1] = begin(1, EXCHRANGE_UPDATE_UNCHANGED);
	assert_commit(set.update, FILES, 0, 0, NONE);
	assert_all_new(&set);
	/* They are over. */
	assert_commit(set.update, FILES, 0, EBUSY, 1);
	end_set(&set);
}

/* The commit is of the files that have the names then. */
static void test_a_file_that_is_replaced(void **state)
{
	struct picture old;
	struct set set;

	(void)state;
	begin_set(&set, NULL);
	assert_int_equal(run("cp %s %s && mv %s %s", name_of(0), path_of("other"),
			     path_of("other"), name_of(0)), 0);
	old = take_picture(set.fd[0]);
	assert_commit(set.update, FILES, 0, 0, NONE);
	assert_unchanged(&old, set.fd[0]);
	close(set.fd[0]);
	set.fd[0] = open_path(name_of(0), O_RDWR);
	assert_all_new(&set);
	drop_picture(&old);
	end_set(&set);
}

static void test_none_is_created_beside_others(void **state)
{
	static const unsigned int flags[FILES] = { 0, EXCHRANGE_UPDATE_CREATE, 0 };
	struct set set;

	(void)state;
	begin_set(&set, flags);
	assert_int_equal(rename(name_of(1), path_of("kept")), 0);
	assert_commit(set.update, FILES, 0, ENOENT, 1);
	assert_commit(set.update, FILES, EXCHRANGE_DRY_RUN, ENOENT, 1);
	assert_int_equal(access(name_of(1), F_OK), -1);
	drop_picture(&set.before[1]);
	set.before[1] = take_picture(set.fd[1]);
	assert_set_unchanged(&set);

	/* Alone it is; then there is nothing to exchange it with. */
	assert_commit(&set.update[1], 1, 0, 0, NONE);
	assert_commit(&set.update[1], 1, 0, EINVAL, 0);
	assert_commit(set.update, FILES, 0, EINVAL, 1);
	unlink(path_of("kept"));
	end_set(&set);
}

static void test_two_of_one_file(void **state)
{
	struct exchrange_update *twice[2];
	struct set set;

	(void)state;
	begin_set(&set, NULL);
	exchrange_update_drop(set.update[2]);
	assert_int_equal(run("mv %s %s && ln %s %s", name_of(2), path_of("kept"),
			     name_of(0), name_of(2)), 0);
	set.update[2] = begin(2, 0);
	drop_picture(&set.before[0]);
	set.before[0] = take_picture(set.fd[0]);
	drop_picture(&set.before[2]);
	set.before[2] = take_picture(set.fd[2]);
	assert_commit(set.update, FILES, 0, EINVAL, 2);
	assert_set_unchanged(&set);
	twice[0] = set.update[1];
	twice[1] = set.update[1];
	assert_commit(twice, 2, 0, EINVAL, 1);
	assert_set_unchanged(&set);
	assert_int_equal(run("mv %s %s", path_of("kept"), name_of(2)), 0);
	end_set(&set);
}

static void test_files_on_two_mounts(void **state)
{
	struct exchrange_update *other;
	char path[200];
	struct set set;

	(void)state;
	begin_set(&set, NULL);
	assert_int_equal(run("cd %s && mkdir -p bound && mount --bind . bound", mount_point), 0);
	snprintf(path, sizeof(path), "%s/bound/two", mount_point);
	other = set.update[1];
	set.update[1] = exchrange_update_begin(device, path, NULL);
	assert_non_null(set.update[1]);
	fill(set.update[1], 1);
	assert_commit(set.update, FILES, 0, EXDEV, 1);
	assert_set_unchanged(&set);
	exchrange_update_drop(set.update[1]);
	set.update[1] = other;
	assert_int_equal(run("umount %s/bound", mount_point), 0);
	end_set(&set);
}

/* Which was not there when its update began. */
static void test_a_file_without_a_back_end(void **state)
{
	struct exchrange_update_options options = { EXCHRANGE_UPDATE_CREATE, 0600 };
	struct exchrange_update *other;
	struct set set;

	(void)state;
	unlink("/dev/shm/file");
	begin_set(&set, NULL);
	other = set.update[2];
	set.update[2] = exchrange_update_begin(device, "/dev/shm/file", &options);
	assert_non_null(set.update[2]);
	fill(set.update[2], 2);
	assert_int_equal(run("echo old >/dev/shm/file"), 0);
	assert_commit(set.update, FILES, 0, EOPNOTSUPP, 2);
	assert_set_unchanged(&set);
	assert_int_equal(run("grep -qx old /dev/shm/file && rm /dev/shm/file"), 0);
	exchrange_update_drop(set.update[2]);
	set.update[2] = other;
	end_set(&set);
}

static void test_a_program_that_runs(void **state)
{
	struct set set;

	(void)state;
	begin_set(&set, NULL);
	exchrange_update_drop(set.update[1]);
	close(set.fd[1]);
	assert_int_equal(run("cp --remove-destination /bin/sleep %s && { %s 1000 >/dev/null 2>&1 & };"
			     " until pgrep -f ^%s; do sleep 0.1; done", name_of(1), name_of(1), name_of(1)), 0);
	set.fd[1] = open_path(name_of(1), O_RDONLY);
	drop_picture(&set.before[1]);
	set.before[1] = take_picture(set.fd[1]);
	set.update[1] = begin(1, 0);
	assert_commit(set.update, FILES, 0, ETXTBSY, 1);
	assert_set_unchanged(&set);
	assert_int_equal(run("pkill -f ^%s && while pgrep -f ^%s; do sleep 0.1; done",
			     name_of(1), name_of(1)), 0);
	assert_commit(set.update, FILES, 0, 0, NONE);
	assert_all_new(&set);
	end_set(&set);
}

/* Nothing that is not atomic takes its place, not even where each could be done alone. */
static void test_without_a_device(void **state)
{
	struct exchrange_update *update;
	struct set set;

	(void)state;
	if (!kind->alone)
		skip();
	begin_set(&set, NULL);
	update = set.update[1];
	set.update[1] = exchrange_update_begin(-1, name_of(1), NULL);
	assert_non_null(set.update[1]);
	fill(set.update[1], 1);
	assert_commit(set.update, FILES, 0, EOPNOTSUPP, 1);
	assert_set_unchanged(&set);
	assert_commit(&set.update[1], 1, 0, 0, NONE);
	assert_new(set.fd[1], 1);
	exchrange_update_drop(update);
	end_set(&set);
}

static void test_unknown_flags_and_none_at_all(void **state)
{
	struct set set;

	(void)state;
	begin_set(&set, NULL);
	assert_commit(set.update, FILES, EXCHRANGE_TO_EOF, EINVAL, NONE);
	assert_commit(set.update, FILES, 1ull << 40, EINVAL, NONE);
	assert_commit(set.update, 0, 0, 0, NONE);
	assert_commit(NULL, 0, 0, 0, NONE);
	assert_set_unchanged(&set);
	/* Who does not ask is not told. */
	assert_int_equal(exchrange_update_commit_all(set.update, FILES, 1ull << 40, NULL), -1);
	assert_int_equal(exchrange_update_commit_all(set.update, FILES, 0, NULL), 0);
	assert_all_new(&set);
	end_set(&set);
}

static int count_descriptors(void)
{
	DIR *stream = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(stream);
	while (readdir(stream))
		count++;
	closedir(stream);
	return count;
}

/* As many as there may be, of which none keeps a descriptor more, and one too many. */
static void test_as_many_as_there_may_be(void **state)
{
	struct exchrange_update *updates[EXCHRANGE_UPDATES_MAX + 1];
	int fd, descriptors;
	char name[16];
	uint32_t i;

	(void)state;
	for (i = 0; i <= EXCHRANGE_UPDATES_MAX; i++) {
		snprintf(name, sizeof(name), "many%u", i);
		close(make_file(name, specs[0], i + 1));
		updates[i] = exchrange_update_begin(device, path_of(name), NULL);
		assert_non_null(updates[i]);
		fill(updates[i], 1);
	}
	descriptors = count_descriptors();
	assert_commit(updates, EXCHRANGE_UPDATES_MAX + 1, 0, E2BIG, NONE);
	assert_commit(updates, EXCHRANGE_UPDATES_MAX, EXCHRANGE_DRY_RUN, 0, NONE);
	assert_int_equal(unlink(path_of("many31")), 0);
	assert_commit(updates, EXCHRANGE_UPDATES_MAX, 0, ENOENT, 31);
	assert_int_equal(count_descriptors(), descriptors);
	close(make_file("many31", specs[0], 32));
	assert_commit(updates, EXCHRANGE_UPDATES_MAX, 0, 0, NONE);
	assert_int_equal(count_descriptors(), descriptors);
	for (i = 0; i <= EXCHRANGE_UPDATES_MAX; i++) {
		snprintf(name, sizeof(name), "many%u", i);
		fd = open_path(path_of(name), O_RDONLY);
		if (i < EXCHRANGE_UPDATES_MAX)
			assert_new(fd, 1);
		close(fd);
		exchrange_update_drop(updates[i]);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_change_and_the_inodes_stay),
		cmocka_unit_test(test_of_open_files_too),
		cmocka_unit_test(test_what_was_written_alone),
		cmocka_unit_test(test_a_dry_run_changes_nothing),
		cmocka_unit_test(test_a_change_meanwhile_keeps_all),
		cmocka_unit_test(test_a_file_that_is_replaced),
		cmocka_unit_test(test_none_is_created_beside_others),
		cmocka_unit_test(test_two_of_one_file),
		cmocka_unit_test(test_files_on_two_mounts),
		cmocka_unit_test(test_a_file_without_a_back_end),
		cmocka_unit_test(test_a_program_that_runs),
		cmocka_unit_test(test_without_a_device),
		cmocka_unit_test(test_unknown_flags_and_none_at_all),
		cmocka_unit_test(test_as_many_as_there_may_be),
	};

	start(argc, argv);
	return run_as_ktap("updates at once", tests, NULL, NULL);
}

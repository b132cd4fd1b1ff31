// SPDX-License-Identifier: GPL-2.0
/*
 * What an exchange leaves alone: names, links, inode numbers, owners, modes, ACLs,
 * extended attributes, open descriptors.  And what it does as a write would.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common.h"

static const struct file_spec small = { SHAPE_PLAIN, 5000 };
static const struct file_spec large = { SHAPE_PLAIN, 100000 };

struct pair {
	struct exchrange_range	range;
	struct picture		before[2];
	struct picture		after[2];
};

static void exchange(struct pair *pair)
{
	pair->before[0] = take_picture(pair->range.file1_fd);
	pair->before[1] = take_picture(pair->range.file2_fd);
	wait_for_another_timestamp();
	assert_int_equal(device_exchange(&pair->range), 0);
	pair->after[0] = take_picture(pair->range.file1_fd);
	pair->after[1] = take_picture(pair->range.file2_fd);
}

static void make_pair(struct pair *pair)
{
	memset(pair, 0, sizeof(*pair));
	pair->range.file1_fd = make_file("file1", small, 1);
	pair->range.file2_fd = make_file("file2", large, 2);
	pair->range.flags = EXCHRANGE_TO_EOF;
}

static void drop_pair(struct pair *pair)
{
	int i;

	for (i = 0; i < 2; i++) {
		drop_picture(&pair->before[i]);
		drop_picture(&pair->after[i]);
	}
	close(pair->range.file1_fd);
	close(pair->range.file2_fd);
}

static void test_inode_number_mode_owner_links(void **state)
{
	struct pair pair;
	int i;

	(void)state;
	make_pair(&pair);
	assert_int_equal(fchmod(pair.range.file1_fd, 0640), 0);
	assert_int_equal(fchmod(pair.range.file2_fd, 01604), 0);
	assert_int_equal(fchown(pair.range.file1_fd, 1, 2), 0);
	unlink(path_of("link"));
	assert_int_equal(link(path_of("file2"), path_of("link")), 0);

	exchange(&pair);
	for (i = 0; i < 2; i++) {
		struct stat *before = &pair.before[i].st;
		struct stat *after = &pair.after[i].st;

		assert_int_equal(before->st_ino, after->st_ino);
		assert_int_equal(before->st_mode, after->st_mode);
		assert_int_equal(before->st_uid, after->st_uid);
		assert_int_equal(before->st_gid, after->st_gid);
		assert_int_equal(before->st_nlink, after->st_nlink);
	}
	drop_pair(&pair);
}

/* Every name of the inode has the new contents. */
static void test_hard_link_has_the_new_contents(void **state)
{
	struct picture other_name;
	struct pair pair;
	int fd;

	(void)state;
	make_pair(&pair);
	unlink(path_of("link"));
	assert_int_equal(link(path_of("file2"), path_of("link")), 0);
	exchange(&pair);
	fd = open_path(path_of("link"), O_RDONLY);
	other_name = take_picture(fd);
	assert_true(same_bytes(&pair.before[0], &other_name));
	drop_picture(&other_name);
	close(fd);
	drop_pair(&pair);
}

static int64_t nanoseconds(const struct timespec *time)
{
	return time->tv_sec * 1000000000ll + time->tv_nsec;
}

static void assert_times_of_a_write(const struct stat *before,
				    const struct stat *after)
{
	assert_true(nanoseconds(&after->st_mtim) >
		    nanoseconds(&before->st_mtim));
	assert_true(nanoseconds(&after->st_ctim) >
		    nanoseconds(&before->st_ctim));
	assert_int_equal(nanoseconds(&after->st_atim),
			 nanoseconds(&before->st_atim));
}

static void test_times_change_as_after_a_write(void **state)
{
	struct stat before[2], after[2];
	struct pair pair;

	(void)state;
	make_pair(&pair);
	assert_int_equal(fstat(pair.range.file1_fd, &before[0]), 0);
	assert_int_equal(fstat(pair.range.file2_fd, &before[1]), 0);
	wait_for_another_timestamp();
	assert_int_equal(device_exchange(&pair.range), 0);
	assert_int_equal(fstat(pair.range.file1_fd, &after[0]), 0);
	assert_int_equal(fstat(pair.range.file2_fd, &after[1]), 0);
	assert_times_of_a_write(&before[0], &after[0]);
	assert_times_of_a_write(&before[1], &after[1]);
	drop_pair(&pair);
}

/* All extended attributes with their values, ACLs among them, as one text. */
static char *attributes_of(const char *name)
{
	struct outcome outcome =
		run_and_keep("getfattr --absolute-names -h -d -m - -e hex '%s'; getfacl -cEn --absolute-names '%s'",
			     path_of(name), path_of(name));

	assert_int_equal(outcome.status, 0);
	free(outcome.err);
	return outcome.out;
}

static void test_acl_and_xattrs(void **state)
{
	char *before1, *before2, *after1, *after2;
	struct pair pair;

	(void)state;
	make_pair(&pair);
	assert_int_equal(run("setfacl -m u:1000:rw,g:1001:r '%s'",
			     path_of("file1")), 0);
	assert_int_equal(setxattr(path_of("file1"), "user.first", "one", 3, 0), 0);
	assert_int_equal(setxattr(path_of("file2"), "user.second", "two", 3, 0), 0);
	assert_int_equal(setxattr(path_of("file2"), "trusted.third", "3", 1, 0), 0);
	before1 = attributes_of("file1");
	before2 = attributes_of("file2");
	exchange(&pair);
	after1 = attributes_of("file1");
	after2 = attributes_of("file2");
	assert_string_equal(before1, after1);
	assert_string_equal(before2, after2);
	assert_non_null(strstr(after1, "user:1000:rw-"));
	assert_non_null(strstr(after2, "trusted.third"));
	free(before1);
	free(before2);
	free(after1);
	free(after2);
	drop_pair(&pair);
}

static int try_exchange(void *argument)
{
	return device_exchange(argument);
}

/* A user who may write a set-id program does not get to choose what it is. */
static void test_set_id_bits_go_as_after_a_write(void **state)
{
	struct pair pair;
	struct stat st;

	(void)state;
	make_pair(&pair);
	assert_int_equal(fchmod(pair.range.file1_fd, 06777), 0);
	assert_int_equal(fchmod(pair.range.file2_fd, 04777), 0);
	assert_int_equal(as_nobody(try_exchange, &pair.range), 0);
	assert_int_equal(fstat(pair.range.file1_fd, &st), 0);
	assert_int_equal(st.st_mode & 06000, 0);
	assert_int_equal(fstat(pair.range.file2_fd, &st), 0);
	assert_int_equal(st.st_mode & 06000, 0);
	drop_pair(&pair);
}

static void test_capabilities_go_as_after_a_write(void **state)
{
	/* VFS_CAP_REVISION_2, CAP_NET_RAW permitted and effective */
	static const uint32_t capability[] = { 0x02000001, 1 << 13, 0, 0, 0 };
	struct pair pair;
	char value[64];

	(void)state;
	make_pair(&pair);
	assert_int_equal(fsetxattr(pair.range.file2_fd, "security.capability",
				   capability, sizeof(capability), 0), 0);
	exchange(&pair);
	assert_int_equal(fgetxattr(pair.range.file2_fd, "security.capability",
				   value, sizeof(value)), -1);
	assert_int_equal(errno, ENODATA);
	drop_pair(&pair);
}

static void test_descriptor_keeps_its_offset(void **state)
{
	struct pair pair;
	uint8_t byte;

	(void)state;
	make_pair(&pair);
	assert_int_equal(lseek(pair.range.file2_fd, 1000, SEEK_SET), 1000);
	exchange(&pair);
	assert_int_equal(read(pair.range.file2_fd, &byte, 1), 1);
	assert_int_equal(byte, content_byte(1, 1000));
	drop_pair(&pair);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inode_number_mode_owner_links),
		cmocka_unit_test(test_hard_link_has_the_new_contents),
		cmocka_unit_test(test_times_change_as_after_a_write),
		cmocka_unit_test(test_acl_and_xattrs),
		cmocka_unit_test(test_set_id_bits_go_as_after_a_write),
		cmocka_unit_test(test_capabilities_go_as_after_a_write),
		cmocka_unit_test(test_descriptor_keeps_its_offset),
	};

	start(argc, argv);
	return run_as_ktap("metadata", tests, NULL, NULL);
}

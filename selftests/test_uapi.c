// SPDX-License-Identifier: GPL-2.0
/*
 * The device's interface itself: numbers, sizes, padding, pointers.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#if __has_include(<xfs/xfs_fs.h>)
#include <xfs/xfs.h>
#endif

#include "common.h"

static const struct file_spec plain = { SHAPE_PLAIN, 64 * 1024 };

/* The same ioctl number with another size in it. */
static unsigned long with_size(unsigned long request, size_t size)
{
	return _IOC(_IOC_DIR(request), _IOC_TYPE(request), _IOC_NR(request),
		    size);
}

static int call(unsigned long request, void *argument)
{
	return ioctl(device, request, argument) ? errno : 0;
}

/* A request that works, as a dry run. */
static struct exchrange_range good_range(void)
{
	return (struct exchrange_range) {
		.file1_fd	= make_file("file1", plain, 1),
		.file2_fd	= make_file("file2", plain, 2),
		.length		= BLOCK,
		.flags		= EXCHRANGE_DRY_RUN,
	};
}

static void close_range_files(const struct exchrange_range *range)
{
	close(range->file1_fd);
	close(range->file2_fd);
}

/* Two pages, the second of which nobody may touch. */
static char *map_edge(void)
{
	char *pages = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(mprotect(pages + BLOCK, BLOCK, PROT_NONE), 0);
	return pages;
}

static void test_layouts_are_xfs_layouts(void **state)
{
	(void)state;
#ifdef XFS_IOC_EXCHANGE_RANGE
#define ASSERT_SAME_FIELD(ours, its, field) do {			\
	assert_int_equal(offsetof(struct ours, field),			\
			 offsetof(struct its, field));			\
	assert_int_equal(sizeof(((struct ours *)0)->field),		\
			 sizeof(((struct its *)0)->field));		\
} while (0)
	ASSERT_SAME_FIELD(exchrange_range, xfs_exchange_range, file1_fd);
	ASSERT_SAME_FIELD(exchrange_range, xfs_exchange_range, pad);
	ASSERT_SAME_FIELD(exchrange_range, xfs_exchange_range, file1_offset);
	ASSERT_SAME_FIELD(exchrange_range, xfs_exchange_range, file2_offset);
	ASSERT_SAME_FIELD(exchrange_range, xfs_exchange_range, length);
	ASSERT_SAME_FIELD(exchrange_range, xfs_exchange_range, flags);
	assert_int_equal(offsetof(struct exchrange_range, file2_fd),
			 sizeof(struct xfs_exchange_range));
	ASSERT_SAME_FIELD(exchrange_commit, xfs_commit_range, file1_fd);
	ASSERT_SAME_FIELD(exchrange_commit, xfs_commit_range, file1_offset);
	ASSERT_SAME_FIELD(exchrange_commit, xfs_commit_range, file2_offset);
	ASSERT_SAME_FIELD(exchrange_commit, xfs_commit_range, length);
	ASSERT_SAME_FIELD(exchrange_commit, xfs_commit_range, flags);
	ASSERT_SAME_FIELD(exchrange_commit, xfs_commit_range, file2_freshness);
	assert_int_equal(offsetof(struct exchrange_commit, file2_fd),
			 sizeof(struct xfs_commit_range));
	assert_int_equal(EXCHRANGE_TO_EOF, XFS_EXCHANGE_RANGE_TO_EOF);
	assert_int_equal(EXCHRANGE_DSYNC, XFS_EXCHANGE_RANGE_DSYNC);
	assert_int_equal(EXCHRANGE_DRY_RUN, XFS_EXCHANGE_RANGE_DRY_RUN);
	assert_int_equal(EXCHRANGE_FILE1_WRITTEN,
			 XFS_EXCHANGE_RANGE_FILE1_WRITTEN);
#else
	skip();
#endif
}

static void test_unknown_numbers_are_enotty(void **state)
{
	struct exchrange_range range = good_range();
	unsigned int nr;

	(void)state;
	for (nr = _IOC_NR(EXCHRANGE_IOC_HOLD) + 1; nr < 256; nr++)
		assert_int_equal(call(_IOW(EXCHRANGE_IOC_MAGIC, nr,
					   struct exchrange_range), &range),
				 ENOTTY);
	assert_int_equal(call(_IOW('X', 0, struct exchrange_range), &range),
			 ENOTTY);
	assert_int_equal(call(0x5401 /* TCGETS */, &range), ENOTTY);
	close_range_files(&range);
}

static void test_unknown_flags_are_einval(void **state)
{
	struct exchrange_range range = good_range();
	struct exchrange_commit commit = { .file2_fd = range.file2_fd };
	int bit;

	(void)state;
	for (bit = 4; bit < 64; bit++) {
		range.flags = EXCHRANGE_DRY_RUN | 1ull << bit;
		assert_int_equal(call(EXCHRANGE_IOC_EXCHANGE, &range), EINVAL);
		commit.flags = 1ull << bit;
		assert_int_equal(call(EXCHRANGE_IOC_START_COMMIT, &commit),
				 EINVAL);
		assert_int_equal(call(EXCHRANGE_IOC_COMMIT, &commit), EINVAL);
	}
	close_range_files(&range);
}

static void test_padding_must_be_zero(void **state)
{
	struct exchrange_range good = good_range();
	struct exchrange_range pad = good, pad2 = good;
	struct exchrange_commit commit_pad = {
		.file2_fd = good.file2_fd, .pad = 1,
	};
	struct exchrange_commit commit_pad2 = {
		.file2_fd = good.file2_fd, .pad2 = 1,
	};

	(void)state;
	pad.pad = 1;
	pad2.pad2 = 1u << 31;
	assert_int_equal(call(EXCHRANGE_IOC_EXCHANGE, &good), 0);
	assert_int_equal(call(EXCHRANGE_IOC_EXCHANGE, &pad), EINVAL);
	assert_int_equal(call(EXCHRANGE_IOC_EXCHANGE, &pad2), EINVAL);
	assert_int_equal(call(EXCHRANGE_IOC_START_COMMIT, &commit_pad), EINVAL);
	assert_int_equal(call(EXCHRANGE_IOC_START_COMMIT, &commit_pad2), EINVAL);
	assert_int_equal(call(EXCHRANGE_IOC_COMMIT, &commit_pad), EINVAL);
	assert_int_equal(call(EXCHRANGE_IOC_COMMIT, &commit_pad2), EINVAL);
	close_range_files(&good);
}

static const unsigned long requests[] = {
	EXCHRANGE_IOC_EXCHANGE, EXCHRANGE_IOC_START_COMMIT,
	EXCHRANGE_IOC_COMMIT, EXCHRANGE_IOC_QUERY,
};

static void test_bad_pointers_are_efault(void **state)
{
	char *edge = map_edge();
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(requests); i++) {
		assert_int_equal(call(requests[i], NULL), EFAULT);
		assert_int_equal(call(requests[i], edge + BLOCK), EFAULT);
		assert_int_equal(call(requests[i], edge + BLOCK - 8), EFAULT);
		assert_int_equal(call(requests[i], (void *)-4096l), EFAULT);
	}
	munmap(edge, 2 * BLOCK);
}

/* Only the struct's own bytes are read: it may end at the end of a page. */
static void test_struct_at_the_edge_of_a_page(void **state)
{
	struct exchrange_range range = good_range();
	char *edge = map_edge();

	(void)state;
	memcpy(edge + BLOCK - sizeof(range), &range, sizeof(range));
	assert_int_equal(call(EXCHRANGE_IOC_EXCHANGE,
			      edge + BLOCK - sizeof(range)), 0);
	munmap(edge, 2 * BLOCK);
	close_range_files(&range);
}

/* Answers that cannot be written back are errors. */
static void test_readonly_answers_are_efault(void **state)
{
	int fd = make_file("file2", plain, 2);
	char *page = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct exchrange_query query = { .fd = fd };
	struct exchrange_commit commit = { .file2_fd = fd };

	(void)state;
	assert_ptr_not_equal(page, MAP_FAILED);
	memcpy(page, &query, sizeof(query));
	memcpy(page + 2048, &commit, sizeof(commit));
	assert_int_equal(mprotect(page, BLOCK, PROT_READ), 0);
	assert_int_equal(call(EXCHRANGE_IOC_QUERY, page), EFAULT);
	assert_int_equal(call(EXCHRANGE_IOC_START_COMMIT, page + 2048), EFAULT);
	munmap(page, BLOCK);
	close(fd);
}

static void test_shorter_structs_are_einval(void **state)
{
	struct exchrange_range range = good_range();
	size_t i, size;

	(void)state;
	for (i = 0; i < COUNT(requests); i++)
		for (size = 0; size < _IOC_SIZE(requests[i]); size += 4)
			assert_int_equal(call(with_size(requests[i], size),
					      &range), EINVAL);
	close_range_files(&range);
}

static void test_longer_structs_work_while_zero(void **state)
{
	struct {
		struct exchrange_range range;
		char more[80];
	} longer = { .range = good_range() };
	unsigned long request = with_size(EXCHRANGE_IOC_EXCHANGE,
					  sizeof(longer));

	(void)state;
	assert_int_equal(call(request, &longer), 0);
	longer.more[79] = 1;
	assert_int_equal(call(request, &longer), E2BIG);
	longer.more[79] = 0;
	longer.more[0] = 1;
	assert_int_equal(call(request, &longer), E2BIG);
	close_range_files(&longer.range);
}

static void test_longer_query_is_answered(void **state)
{
	struct {
		struct exchrange_query query;
		char more[64];
	} longer = { .query.fd = make_file("file2", plain, 2) };
	struct exchrange_query query = { .fd = longer.query.fd };

	(void)state;
	assert_int_equal(call(EXCHRANGE_IOC_QUERY, &query), 0);
	assert_int_equal(call(with_size(EXCHRANGE_IOC_QUERY, sizeof(longer)),
			      &longer), 0);
	assert_memory_equal(&query, &longer.query, sizeof(query));
	close(query.fd);
}

static void test_query_overwrites_everything_but_fd(void **state)
{
	int fd = make_file("file2", plain, 2);
	struct exchrange_query query;
	size_t i;

	(void)state;
	memset(&query, 0xff, sizeof(query));
	query.fd = fd;
	assert_int_equal(call(EXCHRANGE_IOC_QUERY, &query), 0);
	assert_int_equal(query.fd, fd);
	assert_int_equal(query.reason, EXCHRANGE_REASON_NONE);
	assert_int_equal(query.flags, ALL_FLAGS);
	for (i = 0; i < COUNT(query.reserved); i++)
		assert_int_equal(query.reserved[i], 0);
	close(fd);
}

/* QUERY borrows a page of the address space and gives it back. */
static void test_query_leaves_no_mapping(void **state)
{
	struct exchrange_query query = { .fd = make_file("file2", plain, 2) };
	struct outcome before, after;
	int i;

	(void)state;
	before = run_and_keep("wc -l </proc/%d/maps", getpid());
	for (i = 0; i < 1000; i++)
		assert_int_equal(call(EXCHRANGE_IOC_QUERY, &query), 0);
	after = run_and_keep("wc -l </proc/%d/maps", getpid());
	assert_string_equal(before.out, after.out);
	drop_outcome(&before);
	drop_outcome(&after);
	close(query.fd);
}

static void test_device_is_for_everyone(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat("/dev/exchrange", &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0666);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts_are_xfs_layouts),
		cmocka_unit_test(test_unknown_numbers_are_enotty),
		cmocka_unit_test(test_unknown_flags_are_einval),
		cmocka_unit_test(test_padding_must_be_zero),
		cmocka_unit_test(test_bad_pointers_are_efault),
		cmocka_unit_test(test_struct_at_the_edge_of_a_page),
		cmocka_unit_test(test_readonly_answers_are_efault),
		cmocka_unit_test(test_shorter_structs_are_einval),
		cmocka_unit_test(test_longer_structs_work_while_zero),
		cmocka_unit_test(test_longer_query_is_answered),
		cmocka_unit_test(test_query_overwrites_everything_but_fd),
		cmocka_unit_test(test_query_leaves_no_mapping),
		cmocka_unit_test(test_device_is_for_everyone),
	};

	start(argc, argv);
	return run_as_ktap("uapi", tests, NULL, NULL);
}

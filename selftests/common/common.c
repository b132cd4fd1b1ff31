// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

const char *mount_point;
const struct kind *kind;
int device = -1;
uint64_t block_size = BLOCK;

static const struct kind kinds[] = {
	{
		.name		= "xfs",
		.magic		= XFS_SUPER_MAGIC,
		.backend	= EXCHRANGE_BACKEND_XFS,
		.backend_name	= "xfs",
		.alone		= true,
		.device		= "$XFS_DEV",
		.mkfs		= "mkfs.xfs -q -f $XFS_MKFS",
		.mkfs_small	= "mkfs.xfs -q -f $XFS_MKFS -d size=300m",
		/* One thread less to wait for. */
		.check		= "xfs_repair -n -P",
	}, {
		.name		= "xfs",
		.magic		= XFS_SUPER_MAGIC,
		.backend	= EXCHRANGE_BACKEND_XFS_TRANSACTION,
		.backend_name	= "xfs-transaction",
		.device		= "$XFS_DEV",
		.mkfs		= "mkfs.xfs -q -f $XFS_MKFS",
		.mkfs_small	= "mkfs.xfs -q -f $XFS_MKFS -d size=300m",
		.check		= "xfs_repair -n -P",
	}, {
		.name		= "btrfs",
		.magic		= BTRFS_SUPER_MAGIC,
		.backend	= EXCHRANGE_BACKEND_BTRFS,
		.backend_name	= "btrfs",
		.device		= "$BTRFS_DEV",
		.mkfs		= "mkfs.btrfs -q -f",
		.mkfs_small	= "mkfs.btrfs -q -f -b 300m",
		.check		= "btrfs check --check-data-csum",
	},
};

/* $XFS_MKFS is what the guest makes its XFS with. */
static bool made_for_own_ioctl(void)
{
	const char *options = getenv("XFS_MKFS");

	return options && strstr(options, "exchange=1");
}

static bool is_of_kind(const struct statfs *fs, const struct kind *candidate)
{
	if ((unsigned long)fs->f_type != candidate->magic)
		return false;
	return candidate->magic != XFS_SUPER_MAGIC ||
	       candidate->alone == made_for_own_ioctl();
}

static void find_kind(const char *path)
{
	struct statfs fs;
	size_t i;

	if (statfs(path, &fs)) {
		perror(path);
		exit(1);
	}
	for (i = 0; i < COUNT(kinds); i++)
		if (is_of_kind(&fs, &kinds[i]))
			kind = &kinds[i];
	if (!kind) {
		fprintf(stderr, "%s: there are no tests for this file system\n",
			mount_point);
		exit(1);
	}
}

#define OVERLAY	"overlay:"

static pid_t overlay_owner;
static char overlay_folder[128], overlay_merged[256];

bool is_overlay(void)
{
	return overlay_owner;
}

bool is_btrfs(void)
{
	return kind->magic == BTRFS_SUPER_MAGIC;
}

/* The guest has an option for an XFS without it, then. */
bool mkfs_knows_exchange(void)
{
	const char *plain = getenv("XFS_PLAIN");

	return plain && *plain;
}

unsigned int test_share(void)
{
	const char *share = getenv("TEST_SHARE");
	unsigned long number = share ? strtoul(share, NULL, 10) : 1;

	return number ? number : 1;
}

bool overlay_is_left_out(const char *path)
{
	struct exchrange_query query = { .fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600) };
	bool left_out = query.fd >= 0 && !exchrange_query(device, &query) &&
			query.reason == EXCHRANGE_REASON_UNTESTED;

	close(query.fd);
	return left_out;
}

/* Not by children that call exit(). */
static void leave_overlay(void)
{
	if (getpid() == overlay_owner)
		run("umount -l %s; rm -rf %s", overlay_merged, overlay_folder);
}

/* An overlay whose layers are on @below is what is tested, for as long as this process. */
static void enter_overlay(const char *below)
{
	snprintf(overlay_folder, sizeof(overlay_folder), "%s/on_overlay", below);
	snprintf(overlay_merged, sizeof(overlay_merged), "%s/merged", overlay_folder);
	if (run("modprobe overlay"))
		exit(skip_all("the kernel has no overlayfs"));
	if (run("umount -lq %s; rm -rf %s && mkdir %s && cd %s && mkdir lower upper work merged"
		" && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged",
		overlay_merged, overlay_folder, overlay_folder, overlay_folder))
		exit(1);
	mount_point = overlay_merged;
	overlay_owner = getpid();
	atexit(leave_overlay);
}

void start(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s [overlay:]MOUNTPOINT\n", argv[0]);
		exit(2);
	}
	mount_point = argv[1];
	if (!strncmp(argv[1], OVERLAY, strlen(OVERLAY))) {
		find_kind(argv[1] + strlen(OVERLAY));
		enter_overlay(argv[1] + strlen(OVERLAY));
	} else {
		find_kind(mount_point);
	}
	device = exchrange_open();
	if (device < 0) {
		perror("/dev/exchrange");
		exit(1);
	}
	if (is_overlay() && overlay_is_left_out(path_of("probe")))
		exit(skip_all("not tested with this kernel's overlayfs"));
	/* To see one of the tests again: a pattern, as *DSYNC*. */
	if (getenv("TEST_FILTER"))
		cmocka_set_test_filter(getenv("TEST_FILTER"));
}

void test_any_row(void **state)
{
	struct any_row *row = *state;

	row->test((void **)&row->state);
}

struct any_row *add_any_rows(struct any_row *to, const void *from, size_t size, size_t count,
			     CMUnitTestFunction test)
{
	const char *at = from;

	for (; count; count--, at += size)
		*to++ = (struct any_row) { *(const char * const *)at, test, at };
	return to;
}

int run_table(const struct table *table)
{
	size_t count = table->row_count + table->other_count, i;
	struct CMUnitTest *tests = calloc(count, sizeof(*tests));
	int status;

	if (!tests)
		return 1;
	for (i = 0; i < table->row_count; i++) {
		const char *row = (const char *)table->rows + i * table->row_size;
		char *name;

		if (asprintf(&name, "%s: %s", table->group,
			     *(const char * const *)row) < 0)
			return 1;
		tests[i].name = name;
		tests[i].test_func = table->test;
		tests[i].initial_state = (void *)row;
	}
	if (table->other_count)
		memcpy(tests + i, table->others,
		       table->other_count * sizeof(*tests));

	status = run_group(table->group, tests, count, table->setup, table->teardown);
	while (i--)
		free((void *)tests[i].name);
	free(tests);
	return status;
}

const char *path_of(const char *name)
{
	static char paths[16][256];
	static unsigned int next;
	char *path = paths[next++ % COUNT(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", mount_point, name);
	return path;
}

uint8_t content_byte(unsigned int seed, uint64_t i)
{
	uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull + seed * 0x632be59bd9b4e019ull;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ull;
	return (x >> 56) % 255 + 1;
}

/* Blocks that hold @size bytes. */
static uint64_t count_blocks(uint64_t size)
{
	return (size + block_size - 1) / block_size;
}

/* Writes [from, to) of the contents, and waits until it is on the disk. */
static void write_contents(int fd, unsigned int seed, uint64_t from, uint64_t to)
{
	uint8_t *bytes = malloc(to - from + 1);
	uint64_t i;

	assert_non_null(bytes);
	for (i = from; i < to; i++)
		bytes[i - from] = content_byte(seed, i);
	assert_int_equal(pwrite(fd, bytes, to - from, from), to - from);
	free(bytes);
}

static void write_block_out(int fd, uint64_t offset)
{
	const unsigned int all = SYNC_FILE_RANGE_WAIT_BEFORE |
				 SYNC_FILE_RANGE_WRITE |
				 SYNC_FILE_RANGE_WAIT_AFTER;

	/* overlayfs does not hand that on. */
	if (is_overlay())
		assert_int_equal(fdatasync(fd), 0);
	else
		assert_int_equal(sync_file_range(fd, offset, BLOCK, all), 0);
}

unsigned int count_extents(int fd)
{
	struct fiemap map = {
		.fm_length	= FIEMAP_MAX_OFFSET,
		.fm_flags	= FIEMAP_FLAG_SYNC,
	};

	assert_int_equal(ioctl(fd, FS_IOC_FIEMAP, &map), 0);
	return map.fm_mapped_extents;
}

/*
 * Every eighth block, then every eighth after these, and so on, each written out
 * before the next one: when a block is allocated, the place behind its neighbour has
 * gone to another.  Within the size: beyond it XFS would allocate ahead.
 */
static void write_by_strides(int fd, unsigned int seed, uint64_t size)
{
	const uint64_t stride = 8 * BLOCK;
	uint64_t first, i;

	assert_int_equal(ftruncate(fd, size), 0);
	for (first = 0; first < stride; first += BLOCK) {
		for (i = first; i < size; i += stride) {
			write_contents(fd, seed, i,
				       i + BLOCK < size ? i + BLOCK : size);
			write_block_out(fd, i);
		}
	}
}

/*
 * Space that earlier files left comes free in the background and may bring
 * neighbours together after all: then once more.  A few of them are no harm.
 */
static void write_scattered(int fd, unsigned int seed, uint64_t size)
{
	int tries;

	for (tries = 0; tries < 10; tries++) {
		assert_int_equal(syncfs(fd), 0);
		write_by_strides(fd, seed, size);
		if (count_extents(fd) >= size / BLOCK * 9 / 10)
			return;
		assert_int_equal(ftruncate(fd, 0), 0);
		usleep(100000);
	}
	fail_msg("no scattered file in %d tries", tries);
}

static void write_with_gaps(int fd, const struct file_spec *spec,
			    unsigned int seed)
{
	uint64_t i;

	assert_int_equal(ftruncate(fd, spec->size), 0);
	if (spec->shape == SHAPE_PREALLOCATED)
		assert_int_equal(fallocate(fd, 0, 0, spec->size), 0);
	for (i = 0; i < spec->size; i += BLOCK) {
		uint64_t end = i + BLOCK < spec->size ? i + BLOCK : spec->size;

		if (i / BLOCK % 3 != 1)
			write_contents(fd, seed, i, end);
	}
}

int make_file(const char *name, struct file_spec spec, unsigned int seed)
{
	const char *path = path_of(name);
	int fd;

	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fchown(fd, NOBODY, NOBODY), 0);

	switch (spec.shape) {
	case SHAPE_PLAIN:
		write_contents(fd, seed, 0, spec.size);
		break;
	case SHAPE_SCATTERED:
		write_scattered(fd, seed, spec.size);
		break;
	case SHAPE_HOLES:
	case SHAPE_PREALLOCATED:
		write_with_gaps(fd, &spec, seed);
		break;
	}
	assert_int_equal(fsync(fd), 0);
	return fd;
}

int make_comb(const char *name, unsigned int teeth, unsigned int seed)
{
	static const struct file_spec empty = { SHAPE_PLAIN, 0 };
	uint8_t bytes[BLOCK];
	int fd = make_file(name, empty, seed);
	unsigned int i;

	memset(bytes, seed, sizeof(bytes));
	assert_int_equal(ftruncate(fd, 2ull * teeth * BLOCK), 0);
	for (i = 0; i < teeth; i++)
		assert_int_equal(pwrite(fd, bytes, BLOCK, 2ull * i * BLOCK), BLOCK);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

uint64_t disk_place_of(int fd)
{
	struct {
		struct fiemap		map;
		struct fiemap_extent	extent;
	} query = { .map = { .fm_length = FIEMAP_MAX_OFFSET, .fm_extent_count = 1 } };

	assert_int_equal(ioctl(fd, FS_IOC_FIEMAP, &query), 0);
	assert_int_equal(query.map.fm_mapped_extents, 1);
	return query.extent.fe_physical;
}

void take_rest_of_scratch(void)
{
	int fd = open_path(path_of("rest"), O_RDWR | O_CREAT);
	uint64_t end = 0, step;

	assert_int_equal(run("xfs_io -x -c 'resblks 1' " SCRATCH " >/dev/null"), 0);
	for (step = 8 << 20; step >= BLOCK; step /= 2)
		while (fallocate(fd, 0, end, step) == 0)
			end += step;
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

uint64_t bytes_of_ag(void)
{
	struct outcome outcome = run_and_keep("xfs_info %s | sed -n 's/.* agsize=\\([0-9]*\\) .*/\\1/p'",
					      mount_point);
	uint64_t blocks = 0;

	assert_int_equal(sscanf(outcome.out, "%" SCNu64, &blocks), 1);
	drop_outcome(&outcome);
	return blocks * BLOCK;
}

int open_path(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return fd;
}

/* A copy of @size bytes, with room for none. */
static uint8_t *copy_bytes(const uint8_t *bytes, uint64_t size)
{
	uint8_t *copy = malloc(size + 1);

	assert_non_null(copy);
	return memcpy(copy, bytes, size);
}

static void mark_extent(struct picture *picture,
			const struct fiemap_extent *extent)
{
	uint64_t first = extent->fe_logical / block_size;
	uint64_t end = count_blocks(extent->fe_logical + extent->fe_length);
	uint64_t count = count_blocks(picture->size);
	bool unwritten = extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN;

	/* Blocks of XFS may be smaller than the model's: not what lies behind the end. */
	if (extent->fe_logical >= picture->size)
		return;
	if (end > count)
		end = count;
	if (first < end)
		memset(picture->blocks + first, unwritten ? 'u' : 'd',
		       end - first);
}

void read_blocks(int fd, struct picture *picture)
{
	const unsigned int batch = 256;
	struct fiemap *map = calloc(1, sizeof(*map) +
				    batch * sizeof(map->fm_extents[0]));
	uint64_t from = 0;
	unsigned int i;

	assert_non_null(map);
	memset(picture->blocks, '.', count_blocks(picture->size));
	do {
		map->fm_start = from;
		map->fm_length = FIEMAP_MAX_OFFSET - from;
		map->fm_flags = FIEMAP_FLAG_SYNC;
		map->fm_extent_count = batch;
		assert_int_equal(ioctl(fd, FS_IOC_FIEMAP, map), 0);
		for (i = 0; i < map->fm_mapped_extents; i++) {
			mark_extent(picture, &map->fm_extents[i]);
			from = map->fm_extents[i].fe_logical +
			       map->fm_extents[i].fe_length;
		}
	} while (map->fm_mapped_extents == batch);
	free(map);
}

struct picture take_picture(int fd)
{
	struct picture picture;

	assert_int_equal(fstat(fd, &picture.st), 0);
	picture.size = picture.st.st_size;
	picture.bytes = malloc(picture.size + 1);
	assert_non_null(picture.bytes);
	assert_int_equal(pread(fd, picture.bytes, picture.size, 0), picture.size);
	picture.blocks = malloc(count_blocks(picture.size) + 1);
	assert_non_null(picture.blocks);
	read_blocks(fd, &picture);
	return picture;
}

struct picture copy_picture(const struct picture *picture)
{
	struct picture copy = *picture;

	copy.bytes = copy_bytes(picture->bytes, picture->size);
	copy.blocks = copy_bytes(picture->blocks, count_blocks(picture->size));
	return copy;
}

void drop_picture(struct picture *picture)
{
	free(picture->bytes);
	free(picture->blocks);
	picture->bytes = NULL;
	picture->blocks = NULL;
}

bool same_bytes(const struct picture *a, const struct picture *b)
{
	return a->size == b->size && !memcmp(a->bytes, b->bytes, a->size);
}

bool same_blocks(const struct picture *a, const struct picture *b)
{
	return a->size == b->size &&
	       !memcmp(a->blocks, b->blocks, count_blocks(a->size));
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool same_times(const struct picture *a, const struct picture *b)
{
	return same_time(&a->st.st_mtim, &b->st.st_mtim) &&
	       same_time(&a->st.st_ctim, &b->st.st_ctim);
}

void assert_unchanged(const struct picture *before, int fd)
{
	struct picture now = take_picture(fd);

	assert_true(same_bytes(before, &now));
	assert_true(same_blocks(before, &now));
	assert_true(same_times(before, &now));
	drop_picture(&now);
}

/* What follows the offsets in two arrays changes places, lengths and all. */
static void model_tails(uint8_t **array1, uint64_t offset1, uint64_t length1,
			uint8_t **array2, uint64_t offset2, uint64_t length2)
{
	uint8_t *tail1 = copy_bytes(*array1 + offset1, length1);
	uint8_t *tail2 = copy_bytes(*array2 + offset2, length2);

	*array1 = realloc(*array1, offset1 + length2 + 1);
	*array2 = realloc(*array2, offset2 + length1 + 1);
	assert_non_null(*array1);
	assert_non_null(*array2);
	memcpy(*array1 + offset1, tail2, length2);
	memcpy(*array2 + offset2, tail1, length1);
	free(tail1);
	free(tail2);
}

static void model_range(uint8_t *array1, uint64_t offset1,
			uint8_t *array2, uint64_t offset2, uint64_t length)
{
	uint8_t chunk[BLOCK];

	while (length) {
		uint64_t step = length < BLOCK ? length : BLOCK;

		memcpy(chunk, array1 + offset1, step);
		memcpy(array1 + offset1, array2 + offset2, step);
		memcpy(array2 + offset2, chunk, step);
		offset1 += step;
		offset2 += step;
		length -= step;
	}
}

void model_exchange(struct picture *picture1, struct picture *picture2,
		    uint64_t offset1, uint64_t offset2, uint64_t length,
		    uint64_t flags)
{
	uint64_t length1 = picture1->size - offset1;
	uint64_t length2 = picture2->size - offset2;

	if (flags & EXCHRANGE_DRY_RUN)
		return;
	if (!(flags & EXCHRANGE_TO_EOF)) {
		model_range(picture1->bytes, offset1,
			    picture2->bytes, offset2, length);
		model_range(picture1->blocks, offset1 / block_size,
			    picture2->blocks, offset2 / block_size,
			    count_blocks(length));
		return;
	}
	model_tails(&picture1->bytes, offset1, length1,
		    &picture2->bytes, offset2, length2);
	model_tails(&picture1->blocks, offset1 / block_size, count_blocks(length1),
		    &picture2->blocks, offset2 / block_size, count_blocks(length2));
	picture1->size = offset1 + length2;
	picture2->size = offset2 + length1;
}

static uint8_t *resize(uint8_t *bytes, uint64_t old, uint64_t new, int fill)
{
	bytes = realloc(bytes, new + 1);
	assert_non_null(bytes);
	if (new > old)
		memset(bytes + old, fill, new - old);
	return bytes;
}

void model_truncate(struct picture *picture, uint64_t size)
{
	picture->bytes = resize(picture->bytes, picture->size, size, 0);
	picture->blocks = resize(picture->blocks, count_blocks(picture->size),
				 count_blocks(size), '.');
	picture->size = size;
}

void model_exchange_written(struct picture *picture1, struct picture *picture2,
			    uint64_t offset1, uint64_t offset2, uint64_t length,
			    uint64_t flags)
{
	bool to_eof = flags & EXCHRANGE_TO_EOF;
	uint64_t tail1 = picture1->size - offset1;
	uint64_t tail2 = picture2->size - offset2;
	uint64_t longer = tail1 > tail2 ? tail1 : tail2;
	uint64_t i;

	if (to_eof) {
		length = tail1;
		longer = count_blocks(longer) * block_size;
		model_truncate(picture1, offset1 + longer);
		model_truncate(picture2, offset2 + longer);
	}
	for (i = 0; i < length; i += block_size)
		if (picture1->blocks[(offset1 + i) / block_size] == 'd')
			model_exchange(picture1, picture2, offset1 + i,
				       offset2 + i,
				       to_eof || length - i >= block_size ?
				       block_size : length - i, 0);
	if (to_eof) {
		model_truncate(picture1, offset1 + tail2);
		model_truncate(picture2, offset2 + tail1);
	}
}

int device_exchange(const struct exchrange_range *range)
{
	return ioctl(device, EXCHRANGE_IOC_EXCHANGE, range) ? errno : 0;
}

int device_start_commit(struct exchrange_commit *commit)
{
	return ioctl(device, EXCHRANGE_IOC_START_COMMIT, commit) ? errno : 0;
}

int device_commit(const struct exchrange_commit *commit)
{
	return ioctl(device, EXCHRANGE_IOC_COMMIT, commit) ? errno : 0;
}

static struct exchrange_commit to_commit(const struct exchrange_range *range)
{
	return (struct exchrange_commit) {
		.file1_fd	= range->file1_fd,
		.file1_offset	= range->file1_offset,
		.file2_offset	= range->file2_offset,
		.length		= range->length,
		.flags		= range->flags,
		.file2_fd	= range->file2_fd,
	};
}

int device_exchange_by_commit(const struct exchrange_range *range)
{
	struct exchrange_commit commit = to_commit(range);
	int error = device_start_commit(&commit);

	return error ? error : device_commit(&commit);
}

struct vector_answer exchange_list(const struct exchrange_pair *pairs, uint32_t count, uint64_t flags)
{
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= count,
		.pair_size	= sizeof(*pairs),
		.flags		= flags,
		.refused	= 12345,
	};
	int error = ioctl(device, EXCHRANGE_IOC_EXCHANGE_VECTOR, &vector) ? errno : 0;

	return (struct vector_answer) { error, vector.refused };
}

struct exchrange_pair block_pair(int fd1, unsigned int block1, int fd2, unsigned int block2)
{
	return (struct exchrange_pair) {
		.file1_fd	= fd1,
		.file2_fd	= fd2,
		.file1_offset	= (uint64_t)block1 * BLOCK,
		.file2_offset	= (uint64_t)block2 * BLOCK,
		.length		= BLOCK,
	};
}

int query_in_a_full_address_space(void *fd)
{
	const struct rlimit limit = { .rlim_cur = 1 << 20, .rlim_max = 1 << 20 };
	struct exchrange_query query = { .fd = *(int *)fd };

	if (setrlimit(RLIMIT_AS, &limit))
		return 253;
	return ioctl(device, EXCHRANGE_IOC_QUERY, &query) ? errno : 0;
}

int xfs_exchange_by_commit(const struct exchrange_range *range)
{
	struct exchrange_commit commit = to_commit(range);
	int error = xfs_start_commit(&commit);

	return error ? error : xfs_commit(&commit);
}

bool is_preloaded(void)
{
	const char *libraries = getenv("LD_PRELOAD");

	return libraries && strstr(libraries, PRELOAD);
}

bool has_reference(void)
{
	return kind->alone || is_preloaded();
}

static const char *tested_mount_point;
static const char *scratch_options;

void enter_scratch(const char *mkfs, const char *mount_options)
{
	/* A test that failed did not leave it, here or in a program before this one. */
	if (!strcmp(mount_point, SCRATCH))
		mount_point = tested_mount_point;
	while (!umount(SCRATCH))
		continue;
	scratch_options = mount_options;
	assert_int_equal(run("mkdir -p " SCRATCH " && %s $SCRATCH_DEV1"
			     " && mount -o '%s' $SCRATCH_DEV1 " SCRATCH
			     " && chmod 777 " SCRATCH, mkfs, mount_options), 0);
	tested_mount_point = mount_point;
	mount_point = SCRATCH;
}

void leave_scratch(void)
{
	assert_int_equal(run("umount " SCRATCH " && %s $SCRATCH_DEV1",
			     kind->check), 0);
	mount_point = tested_mount_point;
}

void unmount_scratch(void)
{
	assert_int_equal(run("umount " SCRATCH), 0);
}

void check_scratch(void)
{
	if (!is_btrfs())
		assert_int_equal(run("mount -o '%s' $SCRATCH_DEV1 " SCRATCH
				     " && umount " SCRATCH, scratch_options), 0);
	assert_int_equal(run("%s $SCRATCH_DEV1", kind->check), 0);
	assert_int_equal(run("mount -o '%s' $SCRATCH_DEV1 " SCRATCH,
			     scratch_options), 0);
}

const struct way through_device = {
	device_exchange, device_start_commit, device_commit,
};

const struct way through_xfs = {
	xfs_exchange, xfs_start_commit, xfs_commit,
};

void wait_for_another_timestamp(void)
{
	/* A tick is at most 10 ms, with HZ=100. */
	const struct timespec ticks = { .tv_nsec = 30 * 1000 * 1000 };

	nanosleep(&ticks, NULL);
}

static int in_child(uid_t id, int (*call)(void *argument), void *argument)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgroups(0, NULL) || setgid(id) || setuid(id))
			_exit(255);
		_exit(call(argument));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_uint_in_range(WEXITSTATUS(status), 0, 253);
	return WEXITSTATUS(status);
}

int as_root(int (*call)(void *argument), void *argument)
{
	return in_child(0, call, argument);
}

int as_nobody(int (*call)(void *argument), void *argument)
{
	return in_child(NOBODY, call, argument);
}

static char *format_command(const char *format, va_list arguments)
{
	char *command;

	assert_true(vasprintf(&command, format, arguments) >= 0);
	return command;
}

static int exit_status(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *read_all(FILE *stream)
{
	char *text = NULL;
	size_t size = 0;

	rewind(stream);
	if (getdelim(&text, &size, '\0', stream) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(stream);
	return text;
}

static struct outcome run_command(const char *command)
{
	FILE *out = tmpfile(), *err = tmpfile();
	struct outcome outcome;
	int status;
	pid_t pid;

	assert_non_null(out);
	assert_non_null(err);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(err), STDERR_FILENO);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	outcome.status = exit_status(status);
	outcome.out = read_all(out);
	outcome.err = read_all(err);
	return outcome;
}

struct outcome run_and_keep(const char *format, ...)
{
	struct outcome outcome;
	va_list arguments;
	char *command;

	va_start(arguments, format);
	command = format_command(format, arguments);
	va_end(arguments);
	outcome = run_command(command);
	free(command);
	return outcome;
}

int run(const char *format, ...)
{
	struct outcome outcome;
	va_list arguments;
	char *command;
	int status;

	va_start(arguments, format);
	command = format_command(format, arguments);
	va_end(arguments);
	outcome = run_command(command);
	status = outcome.status;
	if (status)
		print_message("# %s: exit status %d\n%s%s", command, status,
			      outcome.out, outcome.err);
	drop_outcome(&outcome);
	free(command);
	return status;
}

void drop_outcome(struct outcome *outcome)
{
	free(outcome->out);
	free(outcome->err);
}

void assert_complaint(struct outcome *outcome, const struct wrong *wrong)
{
	if (!strstr(outcome->err, wrong->text1) || !strstr(outcome->err, wrong->text2))
		fail_msg("%s: says %s", wrong->arguments, outcome->err);
	assert_non_null(strstr(outcome->err, "exchrange: "));
	assert_string_equal(outcome->out, "");
	assert_int_equal(outcome->status, wrong->status);
	drop_outcome(outcome);
}

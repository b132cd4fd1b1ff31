// SPDX-License-Identifier: GPL-2.0
/*
 * Every layout that a file can have, with every other, on file systems of several
 * features: after each of several exchanges the files are what a model says, after a
 * remount too, and no check of the file system finds anything.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common.h"

#define KIB	1024u

/* Text that differs with the seed and can be compressed. */
static void write_text(int fd, unsigned int seed, uint64_t from, uint64_t size)
{
	char *text = malloc(size + 64);
	uint64_t at = 0;

	assert_non_null(text);
	while (at < size)
		at += snprintf(text + at, 64, "seed %u, byte %8lu\n", seed,
			       from + at);
	assert_int_equal(pwrite(fd, text, size, from), size);
	free(text);
}

/* EINVAL where the file system has no checksums: there is no compression then. */
static void set_compression(int fd, const char *algorithm)
{
	if (fsetxattr(fd, "btrfs.compression", algorithm, strlen(algorithm), 0))
		assert_int_equal(errno, EINVAL);
}

static void set_nodatacow(int fd)
{
	int flags = FS_NOCOW_FL;

	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
}

static void make_empty(int fd, unsigned int seed)
{
	(void)fd;
	(void)seed;
}

static void make_inline(int fd, unsigned int seed)
{
	write_text(fd, seed, 0, 700 + seed);
}

static void make_inline_compressed(int fd, unsigned int seed)
{
	set_compression(fd, "zlib");
	write_text(fd, seed, 0, 3500 + seed);
}

/* Compressed, all of a sector goes into an inline extent. */
static void make_inline_sector(int fd, unsigned int seed)
{
	set_compression(fd, "zstd");
	write_text(fd, seed, 0, BLOCK);
}

/* An inline file that grew past its sector. */
static void make_inline_grown(int fd, unsigned int seed)
{
	write_text(fd, seed, 0, 900);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(ftruncate(fd, 5000), 0);
	assert_int_equal(fsync(fd), 0);
	write_text(fd, seed, 9000, 100);
}

static void make_block(int fd, unsigned int seed)
{
	write_text(fd, seed, 0, BLOCK);
}

static void make_odd_end(int fd, unsigned int seed)
{
	write_text(fd, seed, 0, 50000 + seed);
}

static void make_zlib(int fd, unsigned int seed)
{
	set_compression(fd, "zlib");
	write_text(fd, seed, 0, 300 * KIB + seed);
}

static void make_lzo(int fd, unsigned int seed)
{
	set_compression(fd, "lzo");
	write_text(fd, seed, 0, 200 * KIB);
}

static void make_zstd(int fd, unsigned int seed)
{
	set_compression(fd, "zstd");
	write_text(fd, seed, 0, 150 * KIB);
	/* A part of a compressed extent, and data that cannot be compressed. */
	write_text(fd, seed + 7, 30 * KIB, 8 * KIB);
}

/* Preallocated within the size, between data, and beyond the end. */
static void make_preallocated(int fd, unsigned int seed)
{
	assert_int_equal(fallocate(fd, 0, 0, 80 * KIB), 0);
	write_text(fd, seed, 8 * KIB, 20 * KIB);
	write_text(fd, seed, 60 * KIB, 10000);
	assert_int_equal(fallocate(fd, FALLOC_FL_KEEP_SIZE, 100 * KIB,
				   64 * KIB), 0);
}

static void make_holes(int fd, unsigned int seed)
{
	assert_int_equal(ftruncate(fd, 120 * KIB + seed), 0);
	write_text(fd, seed, 16 * KIB, 24 * KIB);
	write_text(fd, seed, 64 * KIB, 12 * KIB);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   20 * KIB, 9 * KIB), 0);
}

static void make_one_hole(int fd, unsigned int seed)
{
	assert_int_equal(ftruncate(fd, 40 * KIB + seed), 0);
}

static void clone_range(int fd, uint64_t from, uint64_t length, uint64_t to)
{
	struct file_clone_range clone = {
		.src_fd		= fd,
		.src_offset	= from,
		.src_length	= length,
		.dest_offset	= to,
	};

	assert_int_equal(ioctl(fd, FICLONERANGE, &clone), 0);
}

/* One extent of a block, which the file has 100 times. */
static void make_many_references(int fd, unsigned int seed)
{
	unsigned int i;

	write_text(fd, seed, 0, BLOCK);
	assert_int_equal(fsync(fd), 0);
	for (i = 1; i < 100; i++)
		clone_range(fd, 0, BLOCK, i * BLOCK);
}

/* Parts of one large extent, in another order. */
static void make_parts(int fd, unsigned int seed)
{
	unsigned int i;

	write_text(fd, seed, 0, 128 * KIB);
	assert_int_equal(fsync(fd), 0);
	for (i = 0; i < 8; i++)
		clone_range(fd, (i * 5 % 8 + 1) * 8 * KIB, 8 * KIB,
			    128 * KIB + i * 8 * KIB);
}

/* Blocks with a hole behind each.  An inode of XFS has room for 21 extents. */
static void make_extents(int fd, unsigned int seed, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		write_text(fd, seed, 2 * i * BLOCK, BLOCK);
}

static void make_21_extents(int fd, unsigned int seed)
{
	make_extents(fd, seed, 21);
}

static void make_22_extents(int fd, unsigned int seed)
{
	make_extents(fd, seed, 22);
}

static void make_600_extents(int fd, unsigned int seed)
{
	make_extents(fd, seed, 600);
}

static void make_nodatacow(int fd, unsigned int seed)
{
	set_nodatacow(fd);
	write_text(fd, seed, 0, 60000 + seed);
}

static void make_nodatacow_preallocated(int fd, unsigned int seed)
{
	set_nodatacow(fd);
	assert_int_equal(fallocate(fd, 0, 0, 64 * KIB), 0);
	write_text(fd, seed, 16 * KIB, 16 * KIB);
}

static void make_nodatacow_holes(int fd, unsigned int seed)
{
	set_nodatacow(fd);
	assert_int_equal(ftruncate(fd, 100000), 0);
	write_text(fd, seed, 40000, 3000);
}

static void make_nodatacow_inline(int fd, unsigned int seed)
{
	set_nodatacow(fd);
	write_text(fd, seed, 0, 300);
}

/* Where a layout can be made, if not everywhere. */
#define ON_BTRFS	1
#define ON_XFS		2
#define WITH_REFLINK	4

static const struct layout {
	const char	*name;
	void		(*make)(int fd, unsigned int seed);
	unsigned int	on;
	bool		nodatacow;
} layouts[] = {
	{ "empty",				make_empty },
	{ "inline",				make_inline },
	{ "inline, compressed",			make_inline_compressed, ON_BTRFS },
	{ "inline, a whole sector",		make_inline_sector, ON_BTRFS },
	{ "inline that grew",			make_inline_grown },
	{ "one block",				make_block },
	{ "an odd end",				make_odd_end },
	{ "zlib",				make_zlib, ON_BTRFS },
	{ "lzo",				make_lzo, ON_BTRFS },
	{ "zstd",				make_zstd, ON_BTRFS },
	{ "preallocated",			make_preallocated },
	{ "holes at both ends",			make_holes },
	{ "one hole",				make_one_hole },
	{ "one extent many times",		make_many_references, WITH_REFLINK },
	{ "parts of one extent",		make_parts, WITH_REFLINK },
	{ "21 extents",				make_21_extents, ON_XFS },
	{ "22 extents",				make_22_extents, ON_XFS },
	{ "600 extents",			make_600_extents, ON_XFS },
	{ "nodatacow",				make_nodatacow, ON_BTRFS, true },
	{ "nodatacow, preallocated",		make_nodatacow_preallocated, ON_BTRFS, true },
	{ "nodatacow, holes",			make_nodatacow_holes, ON_BTRFS, true },
	{ "nodatacow, inline",			make_nodatacow_inline, ON_BTRFS, true },
};

static const struct config {
	uint32_t	backend;
	const char	*name;
	const char	*mkfs;
	const char	*options;
	unsigned int	share;	/* one pair of so many: all of them take a minute */
	bool		small;	/* blocks: the model of FILE1_WRITTEN has larger ones */
	const char	*feature;	/* that mkfs.btrfs may not know as one of -O */
} configs[] = {
	{ EXCHRANGE_BACKEND_XFS, "exchange, rmapbt",
	  "mkfs.xfs -q -f -i exchange=1 -m rmapbt=1", "defaults", 5 },
	{ EXCHRANGE_BACKEND_XFS_TRANSACTION, "mkfs's defaults",
	  "mkfs.xfs -q -f $XFS_PLAIN", "defaults", 2 },
	{ EXCHRANGE_BACKEND_XFS_TRANSACTION, "without rmapbt",
	  "mkfs.xfs -q -f $XFS_PLAIN -m rmapbt=0", "defaults", 5 },
	{ EXCHRANGE_BACKEND_XFS_TRANSACTION, "blocks of 1 KiB, rmapbt",
	  "mkfs.xfs -q -f $XFS_PLAIN -m rmapbt=1 -b size=1024", "defaults", 5, true },
	{ EXCHRANGE_BACKEND_XFS_TRANSACTION, "without reflink, bigtime and nrext64",
	  "mkfs.xfs -q -f $XFS_PLAIN -m rmapbt=0,reflink=0,bigtime=0 -i nrext64=0",
	  "defaults", 5 },
	{ EXCHRANGE_BACKEND_XFS_TRANSACTION, "16 AGs, inodes of 2 KiB, quotas, wsync",
	  "mkfs.xfs -q -f $XFS_PLAIN -d agcount=16 -i size=2048", "uquota,gquota,wsync", 5 },
	{ EXCHRANGE_BACKEND_BTRFS, "NO_HOLES", "mkfs.btrfs -q -f", "defaults", 1 },
	{ EXCHRANGE_BACKEND_BTRFS, "without NO_HOLES",
	  "mkfs.btrfs -q -f -O ^no-holes", "defaults", 1 },
	{ EXCHRANGE_BACKEND_BTRFS, "block-group-tree, compress-force",
	  "mkfs.btrfs -q -f -O block-group-tree", "compress-force=zstd", 5, .feature = "block-group-tree" },
	{ EXCHRANGE_BACKEND_BTRFS, "raid1, nodesize 64k, space cache v1",
	  "mkfs.btrfs -q -f -d raid1 -m raid1 -n 64k -O ^free-space-tree $SCRATCH_DEV2",
	  "defaults", 5, .feature = "free-space-tree" },
	{ EXCHRANGE_BACKEND_BTRFS, "mixed groups, max_inline=4095, no checksums",
	  "mkfs.btrfs -q -f --mixed", "max_inline=4095,nodatasum", 5 },
};

static const struct config *current;

/* What a pair was when its last exchange was done. */
struct past {
	char		name[96];
	struct picture	picture;
};

static struct past *pasts;
static unsigned int past_count;
static char pair_name[96];

static void remember(const char *name, int fd)
{
	struct past *grown = realloc(pasts, (past_count + 1) * sizeof(*pasts));

	assert_non_null(grown);
	pasts = grown;
	snprintf(pasts[past_count].name, sizeof(pasts[0].name), "%s", name);
	pasts[past_count++].picture = take_picture(fd);
}

static int make_layout(const struct layout *layout, const char *name,
		       unsigned int seed)
{
	int fd = make_file(name, (struct file_spec) { SHAPE_PLAIN, 0 }, seed);

	layout->make(fd, seed);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

/* Which pair, and where: only a failure says it. */
static void print_difference(const struct exchrange_range *range, int file,
			     const struct picture *model,
			     const struct picture *after)
{
	print_message("# %s: FILE%d after %llu bytes at %llu and %llu, flags %#llx\n",
		      pair_name, file + 1, range->length, range->file1_offset,
		      range->file2_offset, range->flags);
	print_message("# blocks %.*s\n# not    %.*s\n",
		      (int)((after->size + BLOCK - 1) / BLOCK), after->blocks,
		      (int)((model->size + BLOCK - 1) / BLOCK), model->blocks);
}

/* The exchange, and both files are what the model makes of them. */
static void assert_exchange(struct exchrange_range *range)
{
	const uint64_t cut = EXCHRANGE_FILE1_WRITTEN | EXCHRANGE_TO_EOF;
	struct picture model[2] = {
		take_picture(range->file1_fd), take_picture(range->file2_fd),
	};
	struct picture after[2];
	int i;

	assert_int_equal(device_exchange(range), 0);
	if (range->flags & EXCHRANGE_FILE1_WRITTEN)
		model_exchange_written(&model[0], &model[1], range->file1_offset,
				       range->file2_offset, range->length,
				       range->flags);
	else
		model_exchange(&model[0], &model[1], range->file1_offset,
			       range->file2_offset, range->length, range->flags);
	after[0] = take_picture(range->file1_fd);
	after[1] = take_picture(range->file2_fd);
	for (i = 0; i < 2; i++) {
		/* What was preallocated behind the end comes into sight there. */
		bool same = same_bytes(&model[i], &after[i]) &&
			    ((range->flags & cut) == cut ||
			     same_blocks(&model[i], &after[i]));

		if (!same)
			print_difference(range, i, &model[i], &after[i]);
		assert_true(same);
		drop_picture(&model[i]);
		drop_picture(&after[i]);
	}
}

static uint64_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_size;
}

/* Whole files, tails from offsets, ranges, what was written, one after the other. */
static void exchange_in_many_ways(int fd1, int fd2)
{
	uint64_t written = current->small ? 0 : EXCHRANGE_FILE1_WRITTEN;
	uint64_t size1 = size_of(fd1), size2 = size_of(fd2);
	uint64_t shorter = size1 < size2 ? size1 : size2;
	uint64_t common = shorter / BLOCK * BLOCK;
	struct exchrange_range range = { .file1_fd = fd1, .file2_fd = fd2 };

	range.flags = written;
	range.length = common;
	assert_exchange(&range);
	range.flags = 0;
	range.length = common > 2 * BLOCK ? common - 2 * BLOCK : common;
	range.file1_offset = (common - range.length) / 2;
	range.file2_offset = common - range.length;
	assert_exchange(&range);

	/* Blocks from the middle of one to the start of the other: no longer inline. */
	range.length = 0;
	range.flags = EXCHRANGE_TO_EOF;
	range.file1_offset = common / 2 / BLOCK * BLOCK;
	range.file2_offset = 0;
	assert_exchange(&range);
	range.file1_offset = 0;
	assert_exchange(&range);
	range.flags |= written;
	assert_exchange(&range);
}

/* As they are: whole files, before anything else. */
static void exchange_whole(int fd1, int fd2)
{
	struct exchrange_range range = {
		.file1_fd = fd1, .file2_fd = fd2, .flags = EXCHRANGE_TO_EOF,
	};

	assert_exchange(&range);
}

static void assert_refused(int fd1, int fd2)
{
	struct exchrange_range range = {
		.file1_fd = fd1, .file2_fd = fd2, .flags = EXCHRANGE_TO_EOF,
	};
	struct picture before[2] = { take_picture(fd1), take_picture(fd2) };

	assert_int_equal(device_exchange(&range), EINVAL);
	assert_unchanged(&before[0], fd1);
	assert_unchanged(&before[1], fd2);
	drop_picture(&before[0]);
	drop_picture(&before[1]);
}

struct row {
	const char		*name;
	const struct config	*config;
	const struct layout	*layout;	/* NULL: the end of the config */
};

/* mkfs.btrfs gives nodatasum to no file, a mount option does to all. */
static bool has_no_checksums(const struct layout *layout)
{
	return layout->nodatacow || strstr(current->options, "nodatasum");
}

static bool can_be_made(const struct layout *layout, const struct config *config)
{
	if (layout->on & WITH_REFLINK)
		return !strstr(config->mkfs, "reflink=0");
	return !layout->on || layout->on == (is_btrfs() ? ON_BTRFS : ON_XFS);
}

static void exchange_pair(const struct layout *layout1,
			  const struct layout *layout2, bool whole)
{
	/* Of a failed test they stay open: they would keep the disk mounted. */
	static int fd[2] = { -1, -1 };
	char names[2][48];
	int i;

	snprintf(pair_name, sizeof(pair_name), "%s, and %s", layout1->name,
		 layout2->name);
	for (i = 0; i < 2; i++) {
		close(fd[i]);
		snprintf(names[i], sizeof(names[i]), "%td-%td-%d-%d",
			 layout1 - layouts, layout2 - layouts, whole, i);
	}
	fd[0] = make_layout(layout1, names[0], 1);
	fd[1] = make_layout(layout2, names[1], 2);
	if (has_no_checksums(layout1) != has_no_checksums(layout2))
		assert_refused(fd[0], fd[1]);
	else if (whole)
		exchange_whole(fd[0], fd[1]);
	else
		exchange_in_many_ways(fd[0], fd[1]);
	for (i = 0; i < 2; i++) {
		remember(names[i], fd[i]);
		close(fd[i]);
		fd[i] = -1;
	}
}

static void end_config(void)
{
	unsigned int i;

	/* From the disk, not from the cache. */
	assert_int_equal(run("umount " SCRATCH " && mount -o '%s' $SCRATCH_DEV1 "
			     SCRATCH, current->options), 0);
	for (i = 0; i < past_count; i++) {
		int fd = open_path(path_of(pasts[i].name), O_RDONLY);

		assert_unchanged(&pasts[i].picture, fd);
		drop_picture(&pasts[i].picture);
		close(fd);
	}
	free(pasts);
	pasts = NULL;
	past_count = 0;
	if (is_btrfs())
		assert_int_equal(run("btrfs scrub start -B " SCRATCH), 0);
	leave_scratch();
	assert_int_equal(run("wipefs -qa $SCRATCH_DEV2"), 0);
	current = NULL;
}

/* Older btrfs-progs: Debian 12's has these in experimental builds, or by another option. */
static bool is_unknown(const struct config *config)
{
	return config->feature &&
	       run("mkfs.btrfs -O list-all 2>&1 | awk '$1 == \"%s\"' >/tmp/known && "
		   "[ -s /tmp/known ]", config->feature);
}

static void test_row(void **state)
{
	const struct row *row = *state;
	unsigned int share = row->config->share * test_share();
	size_t i;

	/* Not each with itself alone. */
	if (share > COUNT(layouts) / 2)
		share = COUNT(layouts) / 2;

	if (is_unknown(row->config))
		skip();
	if (!row->layout) {
		end_config();
		return;
	}
	if (!current) {
		enter_scratch(row->config->mkfs, row->config->options);
		current = row->config;
	}
	for (i = (row->layout - layouts) % share; i < COUNT(layouts); i += share) {
		if (!can_be_made(&layouts[i], current))
			continue;
		exchange_pair(row->layout, &layouts[i], true);
		exchange_pair(row->layout, &layouts[i], false);
	}
}

/* A row for each layout of a config, and one for its end. */
static struct row *add_rows(struct row *row, const struct config *config)
{
	size_t i;
	char *name;

	for (i = 0; i <= COUNT(layouts); i++) {
		if (i < COUNT(layouts) && !can_be_made(&layouts[i], config))
			continue;
		if (asprintf(&name, "%s: %s", config->name,
			     i < COUNT(layouts) ? layouts[i].name :
			     "the same after a remount, and clean") < 0)
			exit(1);
		row->name = name;
		row->config = config;
		row->layout = i < COUNT(layouts) ? &layouts[i] : NULL;
		row++;
	}
	return row;
}

static struct row *make_rows(size_t *count)
{
	struct row *rows = calloc(COUNT(configs) * (COUNT(layouts) + 1),
				  sizeof(*rows));
	struct row *row = rows;
	size_t i;

	if (!rows)
		exit(1);
	for (i = 0; i < COUNT(configs); i++)
		if (configs[i].backend == kind->backend)
			row = add_rows(row, &configs[i]);
	*count = row - rows;
	return rows;
}

int main(int argc, char **argv)
{
	struct table table = {
		.group		= "layouts",
		.row_size	= sizeof(struct row),
		.test		= test_row,
	};

	start(argc, argv);
	table.rows = make_rows(&table.row_count);
	return run_table(&table);
}

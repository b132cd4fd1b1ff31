// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common.h"
#include "disks.h"
#include "special.h"
#include "subvolumes.h"
#include "workloads.h"

#define KIB	1024ull
#define ANY_SYNC	(SYNC_NOTHING | SYNC_DSYNC | SYNC_FILE1 | SYNC_FILE2 | \
			 SYNC_UNRELATED | SYNC_ALL)

#define STAGED_SYNC	(ANY_SYNC | SYNC_DIRECTORY)

/* A block that is within the range of an exchange with .beside, and a hole in file1. */
#define BLOCK_BESIDE	4ull

/* Where others write a KiB, where they do. */
#define OTHERS_WRITE	(399 * KIB)	/* in both files */

const struct workload workloads[] = {
	{
		.name	= "whole files",
		.word	= "whole",
		.file1	= { SHAPE_PLAIN, 200 * KIB },
		.file2	= { SHAPE_SCATTERED, 200 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
	}, {
		.name	= "whole files of many extents, and less room in one inode",
		.word	= "whole-trees",
		.file1	= { SHAPE_SCATTERED, 1200 * KIB },
		.file2	= { SHAPE_SCATTERED, 1000 * KIB + 77 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.writers = true,
		.attribute = 150,
	}, {
		.name	= "ranges of many extents",
		.word	= "many",
		.file1	= { SHAPE_SCATTERED, 1200 * KIB },
		.file2	= { SHAPE_SCATTERED, 1000 * KIB },
		.range	= { .file1_offset = 64 * KIB, .file2_offset = 8 * KIB,
			    .length = 960 * KIB },
		.rounds	= 6,
		.syncs	= ANY_SYNC,
	}, {
		.name	= "TO_EOF, sizes and offsets unequal",
		.word	= "to-eof",
		.file1	= { SHAPE_HOLES, 150 * KIB + 77 },
		.file2	= { SHAPE_PREALLOCATED, 70 * KIB + 1300 },
		.range	= { .file1_offset = 8 * KIB, .file2_offset = 20 * KIB,
			    .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
	}, {
		.name	= "small files, inline in btrfs",
		.word	= "inline",
		.file1	= { SHAPE_PLAIN, 700 },
		.file2	= { SHAPE_PLAIN, 1500 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= ANY_SYNC,
	}, {
		.name	= "a small file and a large one",
		.word	= "inline-large",
		.file1	= { SHAPE_PLAIN, 900 },
		.file2	= { SHAPE_SCATTERED, 120 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
	}, {
		.name	= "two subvolumes or directories",
		.word	= "subvolumes",
		.file1	= { SHAPE_PLAIN, 90 * KIB },
		.file2	= { SHAPE_SCATTERED, 130 * KIB + 9 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.two_subvolumes = true,
	}, {
		.name	= "FILE1_WRITTEN",
		.word	= "written",
		.file1	= { SHAPE_HOLES, 400 * KIB },
		.file2	= { SHAPE_SCATTERED, 400 * KIB },
		.range	= { .length = 400 * KIB, .flags = EXCHRANGE_FILE1_WRITTEN },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
	}, {
		.name	= "a database: pages written a moment ago, FILE1_WRITTEN",
		.word	= "database",
		.file1	= { SHAPE_HOLES, 400 * KIB },
		.file2	= { SHAPE_SCATTERED, 400 * KIB },
		.range	= { .length = 400 * KIB, .flags = EXCHRANGE_FILE1_WRITTEN },
		.rounds	= 8,
		.syncs	= SYNC_DSYNC | SYNC_NOTHING,
		.rewrites = true,
	}, {
		.name	= "an editor: a new file written a moment ago",
		.word	= "editor",
		.file1	= { SHAPE_PLAIN, 60 * KIB + 5 },
		.file2	= { SHAPE_PLAIN, 50 * KIB + 900 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= SYNC_DSYNC | SYNC_NOTHING,
		.rewrites = true,
	}, {
		.name	= "an update by the library",
		.word	= "save",
		.file1	= { SHAPE_PLAIN, 60 * KIB + 5 },
		.file2	= { SHAPE_SCATTERED, 50 * KIB + 900 },
		.rounds	= 8,
		.syncs	= SYNC_DSYNC | SYNC_NOTHING,
		.saves	= true,
	}, {
		.name	= "an update by the library, of a small file",
		.word	= "save-inline",
		.file1	= { SHAPE_PLAIN, 700 },
		.file2	= { SHAPE_PLAIN, 900 },
		.rounds	= 8,
		.syncs	= SYNC_DSYNC | SYNC_NOTHING,
		.saves	= true,
	}, {
		.name	= "an update by the library, staged by the device",
		.word	= "stage",
		.file1	= { SHAPE_PLAIN, 60 * KIB + 5 },
		.file2	= { SHAPE_SCATTERED, 50 * KIB + 900 },
		.rounds	= 8,
		.syncs	= SYNC_DSYNC | SYNC_NOTHING,
		.saves	= true,
		.staged	= true,
	}, {
		.name	= "updates by the library that create the file",
		.word	= "create",
		.file1	= { SHAPE_PLAIN, 40 * KIB + 5 },
		.file2	= { SHAPE_PLAIN, 20 * KIB },
		.rounds	= 8,
		.syncs	= SYNC_DSYNC | SYNC_NOTHING,
		.saves	= true,
		.creates = true,
	}, {
		.name	= "fsync of file1 only",
		.word	= "fsync1",
		.file1	= { SHAPE_PLAIN, 30 * KIB },
		.file2	= { SHAPE_SCATTERED, 120 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= SYNC_FILE1,
	}, {
		.name	= "fsync of file2 only",
		.word	= "fsync2",
		.file1	= { SHAPE_PLAIN, 30 * KIB },
		.file2	= { SHAPE_SCATTERED, 120 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= SYNC_FILE2,
	}, {
		.name	= "fsync of an unrelated file",
		.word	= "fsync-unrelated",
		.file1	= { SHAPE_PLAIN, 30 * KIB },
		.file2	= { SHAPE_SCATTERED, 120 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= SYNC_UNRELATED,
	}, {
		.name	= "two and more exchanges before any sync",
		.word	= "twice",
		.file1	= { SHAPE_PLAIN, 100 * KIB },
		.file2	= { SHAPE_SCATTERED, 160 * KIB + 200 },
		.range	= { .file1_offset = 4 * KIB, .file2_offset = 32 * KIB,
			    .flags = EXCHRANGE_TO_EOF },
		.rounds	= 16,
		.syncs	= SYNC_NOTHING | SYNC_UNRELATED,
	}, {
		.name	= "beside other writers",
		.word	= "writers",
		.file1	= { SHAPE_SCATTERED, 400 * KIB },
		.file2	= { SHAPE_PLAIN, 400 * KIB },
		.range	= { .length = 300 * KIB },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.writers = true,
	}, {
		.name	= "a map that becomes small, and large again",
		.word	= "shrink",
		.file1	= { SHAPE_PLAIN, 4000 * KIB },
		.file2	= { SHAPE_SCATTERED, 4000 * KIB },
		.range	= { .file1_offset = 4 * KIB, .file2_offset = 4 * KIB,
			    .flags = EXCHRANGE_TO_EOF },
		.rounds	= 4,
		.syncs	= ANY_SYNC,
		.writers = true,
	}, {
		.name	= "a map that becomes small in the middle, and large again",
		.word	= "shrink-middle",
		.file1	= { SHAPE_PREALLOCATED, 4000 * KIB },
		.file2	= { SHAPE_PLAIN, 4000 * KIB },
		.range	= { .file1_offset = 1000 * KIB, .file2_offset = 1000 * KIB,
			    .length = 1500 * KIB },
		.rounds	= 6,
		.syncs	= ANY_SYNC,
		.writers = true,
	}, {
		.name	= "a range behind the size on disk",
		.word	= "grown",
		.file1	= { SHAPE_PLAIN, 8 * KIB },
		.file2	= { SHAPE_HOLES, 8 * KIB },
		.range	= { .file1_offset = 4 * KIB, .file2_offset = 4 * KIB,
			    .length = 4 * KIB },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.grows	= true,
	}, {
		.name	= "a vector: 64 pages from slots to scattered places",
		.word	= "slots",
		.file1	= { SHAPE_PLAIN, 256 * KIB },
		.file2	= { SHAPE_SCATTERED, 1000 * KIB },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.slots	= 64,
	}, {
		.name	= "a vector of pages of a file of one extent",
		.word	= "slots-fresh",
		/* The others write the last page of file1, which is no slot's, nor is its place. */
		.file1	= { SHAPE_PREALLOCATED, 400 * KIB },
		.file2	= { SHAPE_PLAIN, 1000 * KIB },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.slots	= 48,
		.writers = true,
	}, {
		.name	= "a database's vector: pages written a moment ago, with conditions",
		.word	= "slots-database",
		.file1	= { SHAPE_PLAIN, 128 * KIB },
		.file2	= { SHAPE_SCATTERED, 1000 * KIB },
		.rounds	= 8,
		.syncs	= SYNC_DSYNC | SYNC_NOTHING,
		.rewrites = true,
		.slots	= 32,
		.conditions = true,
	}, {
		.name	= "a vector of two pairs of whole files",
		.word	= "two-pairs",
		.file1	= { SHAPE_PLAIN, 60 * KIB + 5 },
		.file2	= { SHAPE_SCATTERED, 50 * KIB + 900 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.more_pairs = 1,
	}, {
		.name	= "a vector of sixteen files, with conditions",
		.word	= "sixteen",
		.file1	= { SHAPE_PREALLOCATED, 60 * KIB + 5 },
		.file2	= { SHAPE_HOLES, 50 * KIB + 900 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.more_pairs = 7,
		.conditions = true,
	}, {
		.name	= "a vector across two subvolumes or directories",
		.word	= "slots-subvolumes",
		.file1	= { SHAPE_PLAIN, 128 * KIB },
		.file2	= { SHAPE_SCATTERED, 400 * KIB },
		.rounds	= 8,
		.syncs	= ANY_SYNC,
		.slots	= 32,
		.more_pairs = 2,
		.two_subvolumes = true,
	}, {
		.name	= "a staging file, of other sizes",
		.word	= "staged",
		.file1	= { SHAPE_PLAIN, 30 * KIB },
		.file2	= { SHAPE_SCATTERED, 70 * KIB + 900 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= STAGED_SYNC,
		.unnamed = true,
	}, {
		.name	= "a staging file, inline in btrfs",
		.word	= "staged-inline",
		.file1	= { SHAPE_PLAIN, 700 },
		.file2	= { SHAPE_PLAIN, 1500 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= STAGED_SYNC,
		.unnamed = true,
	}, {
		.name	= "a staging file, with holes and preallocation, TO_EOF",
		.word	= "staged-holes",
		.file1	= { SHAPE_HOLES, 150 * KIB + 77 },
		.file2	= { SHAPE_PREALLOCATED, 70 * KIB + 1300 },
		.range	= { .file1_offset = 8 * KIB, .file2_offset = 20 * KIB,
			    .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= STAGED_SYNC,
		.unnamed = true,
	}, {
		.name	= "a staging file, compressed",
		.word	= "staged-compressed",
		.file1	= { SHAPE_PLAIN, 300 * KIB },
		.file2	= { SHAPE_PLAIN, 200 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= STAGED_SYNC,
		.unnamed = true,
		.compressed = true,
	}, {
		.name	= "a staging file and a file that gets another name",
		.word	= "staged-links",
		.file1	= { SHAPE_PLAIN, 10 * KIB },
		.file2	= { SHAPE_PLAIN, 50 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= SYNC_NOTHING | SYNC_UNRELATED | SYNC_DIRECTORY | SYNC_FILE2,
		.unnamed = true,
		.links	= true,
	}, {
		.name	= "a staging file for a file that a rename has just put there",
		.word	= "staged-replaced",
		.file1	= { SHAPE_PLAIN, 20 * KIB + 5 },
		.file2	= { SHAPE_PLAIN, 50 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= STAGED_SYNC,
		.unnamed = true,
		.replaced = true,
	}, {
		.name	= "a staging file, while others sync what has a name",
		.word	= "staged-syncers",
		.file1	= { SHAPE_PLAIN, 10 * KIB },
		.file2	= { SHAPE_PLAIN, 50 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 10,
		.syncs	= SYNC_NOTHING | SYNC_DSYNC | SYNC_FILE2,
		.unnamed = true,
		.syncers = true,
	}, {
		.name	= "a staging file, FILE1_WRITTEN, and a page beside",
		.word	= "staged-beside",
		.file1	= { SHAPE_HOLES, 400 * KIB },
		.file2	= { SHAPE_SCATTERED, 400 * KIB },
		.range	= { .length = 400 * KIB, .flags = EXCHRANGE_FILE1_WRITTEN },
		.rounds	= 10,
		.syncs	= SYNC_NOTHING | SYNC_FILE2 | SYNC_UNRELATED,
		.unnamed = true,
		.beside	= true,
	}, {
		.name	= "a staging file that is written anew each time",
		.word	= "staged-database",
		.file1	= { SHAPE_HOLES, 400 * KIB },
		.file2	= { SHAPE_SCATTERED, 400 * KIB },
		.range	= { .length = 400 * KIB, .flags = EXCHRANGE_FILE1_WRITTEN },
		.rounds	= 10,
		.syncs	= STAGED_SYNC,
		.rewrites = true,
		.unnamed = true,
	}, {
		.name	= "a staging file beside other writers",
		.word	= "staged-writers",
		.file1	= { SHAPE_PLAIN, 400 * KIB },
		.file2	= { SHAPE_SCATTERED, 400 * KIB },
		.range	= { .length = 300 * KIB },
		.rounds	= 8,
		.syncs	= STAGED_SYNC,
		.unnamed = true,
		.writers = true,
	}, {
		.name	= "a staging file of slots",
		.word	= "staged-slots",
		.file1	= { SHAPE_PLAIN, 256 * KIB },
		.file2	= { SHAPE_SCATTERED, 1000 * KIB },
		.rounds	= 8,
		.syncs	= STAGED_SYNC,
		.slots	= 64,
		.unnamed = true,
		.links	= true,
	}, {
		.name	= "staging files for several files, in one vector",
		.word	= "staged-several",
		.file1	= { SHAPE_PLAIN, 64 * KIB },
		.file2	= { SHAPE_SCATTERED, 400 * KIB },
		.rounds	= 8,
		.syncs	= STAGED_SYNC,
		.slots	= 16,
		.more_pairs = 3,
		.unnamed = true,
		.links	= true,
		.syncers = true,
	}, {
		.name	= "a staging file, with snapshots and new subvolumes",
		.word	= "staged-snapshots",
		.file1	= { SHAPE_PLAIN, 30 * KIB },
		.file2	= { SHAPE_SCATTERED, 70 * KIB + 900 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= STAGED_SYNC,
		.unnamed = true,
		.btrfs_alone = true,
		.snapshots = true,
	}, {
		.name	= "a staging file that is written in place, and a new file, nodatacow",
		.word	= "staged-nodatacow",
		.file1	= { SHAPE_PLAIN, 40 * KIB },
		.file2	= { SHAPE_PLAIN, 40 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= SYNC_NOTHING | SYNC_DSYNC | SYNC_FILE1 | SYNC_FILE2,
		.rewrites = true,
		.unnamed = true,
		.replaced = true,
		.btrfs_alone = true,
		.in_place = true,
	}, {
		.name	= "a staging file, mounted with notreelog",
		.word	= "staged-notreelog",
		.file1	= { SHAPE_PLAIN, 30 * KIB },
		.file2	= { SHAPE_SCATTERED, 70 * KIB + 900 },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= STAGED_SYNC,
		.unnamed = true,
		.btrfs_alone = true,
		.mount_options = "notreelog",
	}, {
#if __has_include(<sqlite3.h>)
		.name	= "SQLite's transactions, by any PRAGMAs",
		.word	= "sqlite",
		.rounds	= 10,
		.special = &sqlite_database,
	}, {
		.name	= "SQLite's transactions of two databases",
		.word	= "sqlite-two",
		.rounds	= 10,
		.special = &sqlite_databases,
	}, {
#endif
		.name	= "three clones instead, which tear",
		.word	= "clones",
		.file1	= { SHAPE_PLAIN, 200 * KIB },
		.file2	= { SHAPE_SCATTERED, 200 * KIB },
		.range	= { .flags = EXCHRANGE_TO_EOF },
		.rounds	= 8,
		.syncs	= SYNC_ALL,
		.tears	= true,
	}, {
		.name	= "a file that is linked before its data are synced",
		.word	= "create-unsynced",
		.file1	= { SHAPE_PLAIN, 40 * KIB + 5 },
		.file2	= { SHAPE_PLAIN, 20 * KIB },
		.rounds	= 8,
		.syncs	= SYNC_NOTHING,
		.saves	= true,
		.creates = true,
		.tears	= true,
	},
};

const size_t workload_count = COUNT(workloads);

const struct workload *find_workload(const char *word)
{
	size_t i;

	for (i = 0; i < workload_count; i++)
		if (!strcmp(workloads[i].word, word))
			return &workloads[i];
	return NULL;
}

unsigned int round_factor = 1;

static unsigned int count_rounds(const struct workload *workload)
{
	return workload->rounds * round_factor;
}

static const char *file1_name(const struct workload *workload)
{
	return workload->two_subvolumes ? "subvolume/file1" : "file1";
}

/* --- the states -------------------------------------------------------------- */

static bool is_gap(enum shape shape, uint64_t block)
{
	return (shape == SHAPE_HOLES || shape == SHAPE_PREALLOCATED) &&
	       block % 3 == 1;
}

static char gap_of(enum shape shape)
{
	return shape == SHAPE_PREALLOCATED ? 'u' : '.';
}

/* What make_file() makes. */
static struct picture model_file(struct file_spec spec, unsigned int seed)
{
	struct picture picture = { .size = spec.size };
	uint64_t i;

	picture.bytes = calloc(1, spec.size + 1);
	picture.blocks = calloc(1, spec.size / BLOCK + 2);
	assert_non_null(picture.bytes);
	assert_non_null(picture.blocks);
	for (i = 0; i < spec.size; i++)
		if (!is_gap(spec.shape, i / BLOCK))
			picture.bytes[i] = content_byte(seed, i);
	for (i = 0; i * BLOCK < spec.size; i++)
		picture.blocks[i] = is_gap(spec.shape, i) ? gap_of(spec.shape) : 'd';
	return picture;
}

/* The seed of the contents that file1 is made of anew before exchange @number. */
static unsigned int rewrite_seed(size_t number)
{
	return 100 + number;
}

/* In turn not there, which has no bytes, and created. */
static bool is_removal(const struct workload *workload, size_t number)
{
	return workload->creates && number % 2;
}

static struct state next_save(const struct workload *workload, size_t number)
{
	struct state state = {
		.file1 = model_file(workload->file1, 1),
	};

	if (!is_removal(workload, number))
		state.file2 = model_file(workload->file1, rewrite_seed(number));
	return state;
}

/* Where a slot of file1 goes in file2: everywhere, and no two to one place. */
static uint64_t place_of_slot(const struct workload *workload, unsigned int slot)
{
	uint64_t blocks = workload->file2.size / BLOCK;

	/* A prime that no file here is a multiple of. */
	return slot * 37 % blocks * BLOCK;
}

static void model_slots(const struct workload *workload, struct state *state)
{
	unsigned int i;

	for (i = 0; i < workload->slots; i++)
		model_exchange(&state->file1, &state->file2, i * BLOCK,
			       place_of_slot(workload, i), BLOCK, 0);
}

static struct state next_state(const struct workload *workload,
			       const struct state *before, size_t number)
{
	const struct exchrange_range *range = &workload->range;
	struct state state = { .file2 = copy_picture(&before->file2) };

	state.file1 = workload->rewrites ?
		      model_file(workload->file1, rewrite_seed(number)) :
		      copy_picture(&before->file1);
	if (workload->slots)
		model_slots(workload, &state);
	else if (range->flags & EXCHRANGE_FILE1_WRITTEN)
		model_exchange_written(&state.file1, &state.file2,
				       range->file1_offset, range->file2_offset,
				       range->length, range->flags);
	else
		model_exchange(&state.file1, &state.file2, range->file1_offset,
			       range->file2_offset, range->length, range->flags);
	return state;
}

struct states make_states(const struct workload *workload)
{
	struct states states = { workload, count_rounds(workload) + 1 };
	size_t i;

	states.state = calloc(states.count, sizeof(*states.state));
	assert_non_null(states.state);
	if (workload->special)
		return states;
	states.state[0].file1 = model_file(workload->file1, 1);
	states.state[0].file2 = model_file(workload->file2, 2);
	for (i = 1; i < states.count; i++)
		states.state[i] = workload->saves ? next_save(workload, i) :
				  next_state(workload, &states.state[i - 1], i);
	return states;
}

void drop_states(struct states *states)
{
	size_t i;

	for (i = 0; i < states->count; i++) {
		drop_picture(&states->state[i].file1);
		drop_picture(&states->state[i].file2);
	}
	free(states->state);
}

/* --- the work ---------------------------------------------------------------- */

#define MOST_PAIRS	8

struct files {
	int	file1;
	int	file2;
	int	unrelated;
	int	spare;		/* what clones go through */
	int	more[MOST_PAIRS][2];
};

/* A file of one of the other pairs of a vector; they differ in size, too. */
static const char *more_name(const struct workload *workload, unsigned int pair, int side)
{
	static char name[64];

	snprintf(name, sizeof(name), "%smore%u-%d",
		 workload->two_subvolumes && side ? "subvolume/" : "", pair, side);
	return name;
}

static struct file_spec more_spec(unsigned int pair, int side)
{
	return (struct file_spec) {
		.shape	= side ? SHAPE_HOLES : SHAPE_PLAIN,
		.size	= (8 + 3 * pair) * KIB + 100 * side + 7,
	};
}

static unsigned int more_seed(unsigned int pair, int side)
{
	return 1000 + 2 * pair + side;
}

static void prepare_more(const struct workload *workload)
{
	unsigned int pair;
	int side;

	for (pair = 0; pair < workload->more_pairs; pair++)
		for (side = 0; side < 2; side++)
			close(make_file(more_name(workload, pair, side),
					more_spec(pair, side), more_seed(pair, side)));
}

/* FS_*_FL, of what is made in the directory from now on. */
static void set_flag(int flag)
{
	int flags, fd = open_path(mount_point, O_RDONLY | O_DIRECTORY);

	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	flags |= flag;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
}

void prepare_workload(const struct workload *workload)
{
	char value[512] = { };
	int fd;

	if (workload->special) {
		workload->special->prepare();
		return;
	}
	if (workload->compressed && is_btrfs())
		set_flag(FS_COMPR_FL);
	if (workload->in_place)
		set_flag(FS_NOCOW_FL);
	if (workload->two_subvolumes)
		assert_int_equal(run(is_btrfs() ?
				     "btrfs -q subvolume create %s/subvolume" :
				     "mkdir %s/subvolume", mount_point), 0);
	fd = make_file(file1_name(workload), workload->file1, 1);
	if (workload->attribute)
		assert_int_equal(fsetxattr(fd, "user.size", value, workload->attribute, 0), 0);
	close(fd);
	close(make_file("file2", workload->file2, 2));
	close(make_file("unrelated", (struct file_spec) { SHAPE_PLAIN, 9000 }, 3));
	close(make_file("spare", (struct file_spec) { SHAPE_PLAIN, 0 }, 4));
	prepare_more(workload);
}

/* A staging file, as make_file() makes one with a name, but not scattered. */
static int make_unnamed_in(const char *directory, struct file_spec spec, unsigned int seed)
{
	struct picture contents = model_file(spec, seed);
	int fd = open(directory, O_TMPFILE | O_EXCL | O_RDWR, 0600);
	uint64_t i;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, spec.size), 0);
	if (spec.shape == SHAPE_PREALLOCATED)
		assert_int_equal(fallocate(fd, 0, 0, spec.size), 0);
	for (i = 0; i < spec.size; i += BLOCK) {
		uint64_t length = spec.size - i < BLOCK ? spec.size - i : BLOCK;

		if (!is_gap(spec.shape, i / BLOCK))
			assert_int_equal(pwrite(fd, contents.bytes + i, length, i), length);
	}
	drop_picture(&contents);
	return fd;
}

static int make_unnamed(struct file_spec spec, unsigned int seed)
{
	return make_unnamed_in(mount_point, spec, seed);
}

static int open_more(const struct workload *workload, unsigned int pair, int side)
{
	if (workload->unnamed && !side)
		return make_unnamed(more_spec(pair, side), more_seed(pair, side));
	return open_path(path_of(more_name(workload, pair, side)), O_RDWR);
}

static struct files open_files(const struct workload *workload)
{
	struct files files = {
		.file1		= workload->unnamed ? make_unnamed(workload->file1, 1) :
				  open_path(path_of(file1_name(workload)), O_RDWR),
		.file2		= open_path(path_of("file2"), O_RDWR),
		.unrelated	= open_path(path_of("unrelated"), O_RDWR),
		.spare		= open_path(path_of("spare"), O_RDWR),
	};
	unsigned int pair;
	int side;

	for (pair = 0; pair < workload->more_pairs; pair++)
		for (side = 0; side < 2; side++)
			files.more[pair][side] = open_more(workload, pair, side);
	return files;
}

static void close_files(const struct workload *workload, const struct files *files)
{
	unsigned int pair;

	for (pair = 0; pair < workload->more_pairs; pair++) {
		close(files->more[pair][0]);
		close(files->more[pair][1]);
	}
	close(files->file1);
	close(files->file2);
	close(files->unrelated);
	close(files->spare);
}

/* The data, and nothing that says where they are: a crash after each write of a page. */
static void write_back(int fd, uint64_t offset, uint64_t length)
{
	assert_int_equal(sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WAIT_BEFORE |
					 SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER), 0);
}

/* New contents, none of which need be on the disk when it is exchanged. */
static void rewrite(const struct workload *workload, int fd, unsigned int seed)
{
	struct picture contents = model_file(workload->file1, seed);
	uint64_t i;

	if (!workload->in_place)
		assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, contents.size), 0);
	for (i = 0; i < contents.size; i += BLOCK) {
		uint64_t length = contents.size - i < BLOCK ?
				  contents.size - i : BLOCK;

		if (!is_gap(workload->file1.shape, i / BLOCK))
			assert_int_equal(pwrite(fd, contents.bytes + i, length, i),
					 length);
		if (workload->in_place)
			write_back(fd, i, length);
	}
	drop_picture(&contents);
}

/*
 * What begins where the range does was a hole, or is behind the end now, which is the same
 * to read; with a page far behind it that is not on the disk yet.
 */
static void grow(const struct workload *workload, int fd)
{
	const char bytes[BLOCK] = "another page";

	assert_int_equal(ftruncate(fd, workload->range.file2_offset), 0);
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 1024 * KIB), sizeof(bytes));
}

bool own_ioctl;

static void clone_whole(int to, int from)
{
	struct file_clone_range range = { .src_fd = from };
	struct stat st;

	assert_int_equal(fstat(from, &st), 0);
	assert_int_equal(ftruncate(to, 0), 0);
	assert_int_equal(ioctl(to, FICLONERANGE, &range), 0);
	assert_int_equal(syncfs(to), 0);
}

#define MOST_VECTOR	(64 + MOST_PAIRS)

/* The pairs of a vector; returns how many. */
static unsigned int list_pairs(const struct workload *workload, const struct files *files,
			       struct exchrange_pair *pairs)
{
	unsigned int count = 0, i;

	if (!workload->slots)
		pairs[count++] = (struct exchrange_pair) {
			.file1_fd	= files->file1,
			.file2_fd	= files->file2,
			.flags		= EXCHRANGE_TO_EOF,
		};
	for (i = 0; i < workload->slots; i++)
		pairs[count++] = (struct exchrange_pair) {
			.file1_fd	= files->file1,
			.file2_fd	= files->file2,
			.file1_offset	= i * BLOCK,
			.file2_offset	= place_of_slot(workload, i),
			.length		= BLOCK,
		};
	for (i = 0; i < workload->more_pairs; i++)
		pairs[count++] = (struct exchrange_pair) {
			.file1_fd	= files->more[i][0],
			.file2_fd	= files->more[i][1],
			.flags		= EXCHRANGE_TO_EOF,
		};
	return count;
}

/* A sample of the file2 of each pair; of one file once, since a sample waits. */
static void sample_pairs(struct exchrange_pair *pairs, unsigned int count,
			 struct exchrange_commit *samples)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (i && pairs[i].file2_fd == pairs[i - 1].file2_fd) {
			pairs[i].freshness = pairs[i - 1].freshness;
			continue;
		}
		samples[i] = (struct exchrange_commit) { .file2_fd = pairs[i].file2_fd };
		assert_int_equal(device_start_commit(&samples[i]), 0);
		pairs[i].freshness = (uintptr_t)samples[i].file2_freshness;
	}
}

static void exchange_vector(const struct workload *workload, const struct files *files,
			    enum sync_kind sync)
{
	struct exchrange_pair pairs[MOST_VECTOR];
	struct exchrange_commit samples[MOST_VECTOR];
	struct exchrange_vector vector = {
		.pairs		= (uintptr_t)pairs,
		.count		= list_pairs(workload, files, pairs),
		.pair_size	= sizeof(pairs[0]),
		.flags		= sync == SYNC_DSYNC ? EXCHRANGE_DSYNC : 0,
	};

	if (workload->conditions)
		sample_pairs(pairs, vector.count, samples);
	if (exchrange_exchange_vector(device, &vector))
		fail_msg("pair %d: %s", (int)vector.refused, strerror(errno));
}

static bool is_vector(const struct workload *workload)
{
	return workload->slots || workload->more_pairs;
}

static void exchange(const struct workload *workload, const struct files *files,
		     enum sync_kind sync)
{
	struct exchrange_range range = workload->range;

	if (workload->tears) {
		clone_whole(files->spare, files->file1);
		clone_whole(files->file1, files->file2);
		clone_whole(files->file2, files->spare);
		return;
	}
	if (is_vector(workload)) {
		exchange_vector(workload, files, sync);
		return;
	}
	range.file1_fd = files->file1;
	range.file2_fd = files->file2;
	if (sync == SYNC_DSYNC)
		range.flags |= EXCHRANGE_DSYNC;
	assert_int_equal(own_ioctl ? xfs_exchange(&range) : device_exchange(&range),
			 0);
}

/* By the name; or by a descriptor, for which the device makes the staging file. */
static void save(const struct workload *workload, const struct files *files,
		 size_t number, enum sync_kind sync)
{
	const struct exchrange_update_options options = {
		.flags	= workload->creates ? EXCHRANGE_UPDATE_CREATE : 0,
		.mode	= 0644,
	};
	struct exchrange_update *update = workload->staged ?
		exchrange_update_begin_fd(device, files->file2, &options) :
		exchrange_update_begin(device, path_of("file2"), &options);

	assert_non_null(update);
	rewrite(workload, exchrange_update_fd(update), rewrite_seed(number));
	assert_int_equal(exchrange_update_commit(update, sync == SYNC_DSYNC ?
						 EXCHRANGE_DSYNC : 0), 0);
	exchrange_update_drop(update);
}

/* The name reaches the disk, and what was written need not. */
static void commit_metadata(const struct files *files)
{
	__u64 transaction;

	if (!is_btrfs()) {
		assert_int_equal(pwrite(files->unrelated, "changed", 7, 4000), 7);
		assert_int_equal(fsync(files->unrelated), 0);
		return;
	}
	assert_int_equal(ioctl(files->unrelated, BTRFS_IOC_START_SYNC,
			       &transaction), 0);
	assert_int_equal(ioctl(files->unrelated, BTRFS_IOC_WAIT_SYNC,
			       &transaction), 0);
}

/* As the library would, without its fsync before the link. */
static void save_unsynced(const struct workload *workload,
			  const struct files *files, size_t number)
{
	int fd = open(mount_point, O_TMPFILE | O_RDWR, 0644);
	char link[32];

	assert_true(fd >= 0);
	rewrite(workload, fd, rewrite_seed(number));
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	assert_int_equal(linkat(AT_FDCWD, link, AT_FDCWD, path_of("file2"),
				AT_SYMLINK_FOLLOW), 0);
	commit_metadata(files);
	close(fd);
}

/* A removal is durable when the file system is. */
static void remove_file(const struct files *files, enum sync_kind sync)
{
	assert_int_equal(unlink(path_of("file2")), 0);
	if (sync == SYNC_DSYNC)
		assert_int_equal(syncfs(files->unrelated), 0);
}

/* Makes it durable; returns whether that makes the exchange so. */
static bool synchronize(const struct workload *workload, const struct files *files,
			enum sync_kind sync)
{
	int directory;

	switch (sync) {
	case SYNC_DSYNC:
		return true;
	case SYNC_FILE1:
		assert_int_equal(fsync(files->file1), 0);
		/* Of what is gone after a crash nothing need be written. */
		return !workload->unnamed;
	case SYNC_FILE2:
		assert_int_equal(fsync(files->file2), 0);
		return true;
	case SYNC_DIRECTORY:
		directory = open_path(mount_point, O_RDONLY | O_DIRECTORY);
		assert_int_equal(fsync(directory), 0);
		close(directory);
		return false;
	case SYNC_ALL:
		assert_int_equal(syncfs(files->file1), 0);
		return true;
	case SYNC_UNRELATED:
		assert_int_equal(pwrite(files->unrelated, "changed", 7, 4000), 7);
		assert_int_equal(fsync(files->unrelated), 0);
		return false;
	case SYNC_NOTHING:
		return false;
	}
	return false;
}

static enum sync_kind choose_sync(unsigned int allowed, unsigned int *random)
{
	enum sync_kind sync;

	do {
		sync = 1 << rand_r(random) / 16 % 7;
	} while (!(sync & allowed));
	return sync;
}

/* The file is logged when it gets a name, and when it loses one: not its contents. */
static void give_names(void)
{
	assert_int_equal(link(path_of("file2"), path_of("link")), 0);
	assert_int_equal(rename(path_of("link"), path_of("renamed")), 0);
}

static void take_names(void)
{
	assert_int_equal(unlink(path_of("renamed")), 0);
}

/* A new inode with the same contents, in the place of file2 and behind its descriptor. */
static void replace_file2(const struct workload *workload, const struct files *files)
{
	struct picture contents = take_picture(files->file2);
	int fd = open(path_of("replacement"), O_RDWR | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, contents.bytes, contents.size, 0), contents.size);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(rename(path_of("replacement"), path_of("file2")), 0);
	/* Not only its blocks are in the log then, but its name. */
	if (workload->in_place)
		assert_int_equal(fsync(fd), 0);
	assert_int_equal(dup2(fd, files->file2), files->file2);
	close(fd);
	drop_picture(&contents);
}

/* What tells later that all that was written before exchange @number is there. */
static void write_beside(const struct files *files, size_t number)
{
	uint64_t bytes[BLOCK / sizeof(uint64_t)] = { number };

	assert_int_equal(pwrite(files->file2, bytes, BLOCK, BLOCK_BESIDE * BLOCK), BLOCK);
}

/* --- snapshots and subvolumes -------------------------------------------------- */

/* What is made around exchange @number. */
enum around {
	AROUND_SUBVOLUMES,	/* before and after it, in its transaction */
	AROUND_BEFORE,		/* a snapshot of what was there before it */
	AROUND_AFTER,		/* one in whose transaction it is */
	AROUND_NEW,		/* a subvolume in which files are exchanged at once */
	AROUND_COUNT
};

static enum around around_of(size_t number)
{
	return number % AROUND_COUNT;
}

/* In that subvolume; both of the same size. */
static const struct file_spec new_spec = { SHAPE_PLAIN, 12 * KIB };
static const unsigned int new_seeds[] = { 51, 52 };

static void exchange_in_new_subvolume(size_t number)
{
	struct exchrange_range range = {
		.flags	= EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC,
	};
	char name[32];

	make_subvolume("new-%zu", number);
	snprintf(name, sizeof(name), "new-%zu/file2", number);
	range.file2_fd = make_file(name, new_spec, new_seeds[1]);
	snprintf(name, sizeof(name), "new-%zu", number);
	range.file1_fd = make_unnamed_in(path_of(name), new_spec, new_seeds[0]);
	assert_int_equal(device_exchange(&range), 0);
	close(range.file1_fd);
	close(range.file2_fd);
}

static void make_before(size_t number)
{
	switch (around_of(number)) {
	case AROUND_SUBVOLUMES:
		make_subvolume("empty-%zu", number);
		break;
	case AROUND_BEFORE:
		make_snapshot("before-%zu", number);
		break;
	case AROUND_NEW:
		exchange_in_new_subvolume(number);
		break;
	default:
		break;
	}
}

static void make_after(size_t number)
{
	if (around_of(number) == AROUND_SUBVOLUMES)
		make_subvolume("empty-after-%zu", number);
	if (around_of(number) == AROUND_AFTER)
		make_snapshot("after-%zu", number);
}

/* --- the others ------------------------------------------------------------------ */

static atomic_bool others_end;

#define MOST_OTHERS	3
#define MOST_BESIDE	4	/* snapshots */

/* Appends to a log and makes it durable, as a daemon does. */
static void *append(void *argument)
{
	int fd = open(path_of("log"), O_WRONLY | O_CREAT | O_APPEND, 0644);

	while (!others_end && write(fd, "a line of a log\n", 16) == 16 &&
	       !fsync(fd))
		usleep(20000);
	close(fd);
	return argument;
}

/* Makes, renames and removes files. */
static void *come_and_go(void *argument)
{
	unsigned int i;

	for (i = 0; !others_end; i++) {
		int fd = open(path_of("new"), O_WRONLY | O_CREAT | O_TRUNC, 0644);

		if (fd < 0 || write(fd, "new", 3) != 3)
			break;
		close(fd);
		rename(path_of("new"), path_of(i % 2 ? "odd" : "even"));
		unlink(path_of(i % 2 ? "even" : "odd"));
		usleep(5000);
	}
	return argument;
}

/* Writes both of the pair, behind the range that is exchanged: the last page. */
static void *write_behind(void *argument)
{
	const struct files *files = argument;
	uint8_t bytes[KIB];
	unsigned int i;

	for (i = 0; !others_end; i++) {
		memset(bytes, i % 255 + 1, sizeof(bytes));
		if (pwrite(i % 2 ? files->file1 : files->file2, bytes,
			   sizeof(bytes), OTHERS_WRITE) != sizeof(bytes))
			break;
		usleep(3000);
	}
	return argument;
}

/* Has file2 and a new name of it logged, by all who do that. */
static void *sync_names(void *argument)
{
	int directory = open_path(mount_point, O_RDONLY | O_DIRECTORY);
	const struct files *files = argument;
	unsigned int i;

	for (i = 0; !others_end; i++) {
		if (link(path_of("file2"), path_of("second")) ||
		    fsync(i % 2 ? directory : files->unrelated) ||
		    rename(path_of("second"), path_of("third")) ||
		    unlink(path_of("third")))
			break;
		usleep(1000);
	}
	close(directory);
	return argument;
}

static void *sync_file2(void *argument)
{
	const struct files *files = argument;

	while (!others_end && !fsync(files->file2))
		usleep(3000);
	return argument;
}

/* One may come in the middle of an exchange. */
static void *make_snapshots(void *argument)
{
	unsigned int i;

	for (i = 0; !others_end; i++) {
		remove_subvolume("beside-%u", i % MOST_BESIDE);
		make_snapshot("beside-%u", i % MOST_BESIDE);
		usleep(100000);
	}
	return argument;
}

static void work(const struct workload *workload, const struct files *files,
		 unsigned int seed)
{
	unsigned int random = seed;
	size_t i;

	for (i = 1; i <= count_rounds(workload); i++) {
		enum sync_kind sync = choose_sync(workload->syncs, &random);

		mark("begun-%zu", i);
		if (workload->rewrites)
			rewrite(workload, files->file1, rewrite_seed(i));
		if (workload->replaced)
			replace_file2(workload, files);
		if (workload->beside)
			write_beside(files, i);
		if (workload->snapshots)
			make_before(i);
		/* The hole goes to and fro. */
		if (workload->grows)
			grow(workload, i % 2 ? files->file2 : files->file1);
		if (is_removal(workload, i))
			remove_file(files, sync);
		else if (workload->saves && workload->tears)
			save_unsynced(workload, files, i);
		else if (workload->saves)
			save(workload, files, i, sync);
		else
			exchange(workload, files, sync);
		if (workload->snapshots)
			make_after(i);
		if (workload->links)
			give_names();
		if (synchronize(workload, files, sync))
			mark("durable-%zu", i);
		if (workload->links)
			take_names();
	}
}

static size_t start_others(const struct workload *workload, struct files *files,
			   pthread_t threads[MOST_OTHERS])
{
	static void *(*const writers[])(void *) = { append, come_and_go, write_behind };
	static void *(*const syncers[])(void *) = { append, sync_names, sync_file2 };
	static void *(*const snapshots[])(void *) = { make_snapshots };
	void *(*const *others)(void *) = workload->syncers ? syncers :
					 workload->snapshots ? snapshots : writers;
	size_t count = workload->writers || workload->syncers ? MOST_OTHERS :
		       workload->snapshots ? COUNT(snapshots) : 0, i;

	others_end = false;
	for (i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, others[i], files), 0);
	return count;
}

static void run_special(const struct workload *workload, unsigned int seed)
{
	workload->special->run(count_rounds(workload), &seed);
	assert_int_equal(run("sync -f %s", mount_point), 0);
	mark("durable-%u", count_rounds(workload));
}

static void run_exchanges(const struct workload *workload, unsigned int seed)
{
	struct files files = open_files(workload);
	pthread_t threads[MOST_OTHERS];
	size_t count = start_others(workload, &files, threads), i;

	work(workload, &files, seed);
	others_end = true;
	for (i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(syncfs(files.file1), 0);
	mark("durable-%u", count_rounds(workload));
	close_files(workload, &files);
}

void run_workload(const struct workload *workload, unsigned int seed)
{
	if (workload->special)
		run_special(workload, seed);
	else
		run_exchanges(workload, seed);
}

/* --- the judgement ----------------------------------------------------------- */

struct promise promise_at(const struct log *log, size_t end)
{
	struct promise promise = { 0 };
	size_t i;

	for (i = 0; i < end; i++) {
		const char *text = log->entries[i].mark;

		if (text) {
			sscanf(text, "begun-%zu", &promise.begun);
			sscanf(text, "durable-%zu", &promise.durable);
		}
	}
	return promise;
}

static struct picture read_file(const char *name)
{
	int fd = open(path_of(name), O_RDONLY);
	struct picture picture = { 0 };

	/* Not there is a state too: one without bytes. */
	if (fd < 0 && errno == ENOENT)
		return picture;
	if (fd < 0 || fstat(fd, &picture.st)) {
		print_message("# %s: %s\n", name, strerror(errno));
		return picture;
	}
	picture.size = picture.st.st_size;
	picture.bytes = malloc(picture.size + 1);
	assert_non_null(picture.bytes);
	if (pread(fd, picture.bytes, picture.size, 0) != (ssize_t)picture.size) {
		print_message("# %s cannot be read: %s\n", name, strerror(errno));
		picture.size = 0;
	}
	close(fd);
	return picture;
}

static uint8_t byte_at(const struct picture *picture, uint64_t i)
{
	return i < picture->size ? picture->bytes[i] : 0;
}

/* Of the first @end bytes, zero where a file has none. */
static uint64_t first_difference_in(const struct picture *a, const struct picture *b,
				    uint64_t end)
{
	uint64_t i;

	for (i = 0; i < end; i++)
		if (byte_at(a, i) != byte_at(b, i))
			return i;
	return UINT64_MAX;
}

/* Where they differ; all of the larger size is none. */
static uint64_t first_difference(const struct workload *workload,
				 const struct picture *a, const struct picture *b)
{
	uint64_t size = a->size < b->size ? a->size : b->size;
	uint64_t i;

	if (!a->bytes != !b->bytes)
		return 0;
	if (workload->grows)
		return first_difference_in(a, b, workload->range.file2_offset +
						 workload->range.length);
	for (i = 0; i < size; i++)
		if (a->bytes[i] != b->bytes[i] &&
		    !(workload->writers && i / KIB == OTHERS_WRITE / KIB) &&
		    !(workload->beside && i / BLOCK == BLOCK_BESIDE))
			return i;
	return a->size == b->size ? UINT64_MAX : size;
}

static bool same_pictures(const struct workload *workload, const struct picture *a,
			  const struct picture *b)
{
	return first_difference(workload, a, b) == UINT64_MAX;
}

/* Whole files go to and fro. */
static bool is_more(const struct workload *workload, size_t number, unsigned int pair, int side)
{
	int from = number % 2 ? !side : side;
	struct picture expected = model_file(more_spec(pair, from), more_seed(pair, from));
	struct picture found = read_file(more_name(workload, pair, side));
	bool same = same_pictures(workload, &expected, &found);

	drop_picture(&expected);
	drop_picture(&found);
	return same;
}

static bool are_more(const struct workload *workload, size_t number)
{
	unsigned int pair;

	for (pair = 0; pair < workload->more_pairs; pair++)
		if ((!workload->unnamed && !is_more(workload, number, pair, 0)) ||
		    !is_more(workload, number, pair, 1))
			return false;
	return true;
}

/* Whether file2 of a snapshot, if that is there, is one of the states @first to @last. */
static bool snapshot_holds(const struct states *states, const char *what, size_t index,
			   size_t first, size_t last)
{
	struct picture found;
	bool holds = false;
	char name[64];

	snprintf(name, sizeof(name), "%s-%zu/file2", what, index);
	found = read_file(name);
	while (found.bytes && !holds && first <= last)
		holds = same_pictures(states->workload, &states->state[first++].file2, &found);
	if (found.bytes && !holds)
		print_message("# %s is of no state that it may have\n", name);
	holds |= !found.bytes;
	drop_picture(&found);
	return holds;
}

/* What was made in a subvolume that was new then: it is durable, if @durable. */
static bool new_subvolume_holds(const struct workload *workload, size_t number, bool durable)
{
	struct picture expected[] = { model_file(new_spec, new_seeds[0]),
				      model_file(new_spec, new_seeds[1]) };
	struct picture found;
	char name[64];
	bool holds;

	snprintf(name, sizeof(name), "new-%zu/file2", number);
	found = read_file(name);
	holds = same_pictures(workload, &expected[0], &found) ||
		(!durable && (!found.size || same_pictures(workload, &expected[1], &found)));
	if (!holds)
		print_message("# %s is of no state that it may have\n", name);
	drop_picture(&expected[0]);
	drop_picture(&expected[1]);
	drop_picture(&found);
	return holds;
}

/* Each snapshot has all of an exchange, or nothing. */
static bool snapshots_hold(const struct states *states, struct promise promise)
{
	bool holds = true;
	size_t i;

	if (!states->workload->snapshots)
		return true;
	for (i = 1; i <= promise.begun; i++)
		holds &= snapshot_holds(states, "before", i, i - 1, i - 1) &&
			 snapshot_holds(states, "after", i, i, i) &&
			 (around_of(i) != AROUND_NEW ||
			  new_subvolume_holds(states->workload, i, i <= promise.durable));
	for (i = 0; i < MOST_BESIDE; i++)
		holds &= snapshot_holds(states, "beside", i, 0, promise.begun);
	return holds;
}

static bool is_state(const struct states *states, size_t number,
		     const struct picture *file1, const struct picture *file2)
{
	const struct workload *workload = states->workload;
	const struct state *state = &states->state[number];

	/* A file1 that is made anew may be at any point of that; one without a name is gone. */
	return same_pictures(workload, &state->file2, file2) &&
	       (workload->rewrites || workload->unnamed ||
		same_pictures(workload, &state->file1, file1)) &&
	       are_more(workload, number);
}

static void print_difference(const struct states *states, size_t number,
			     const struct picture *file1,
			     const struct picture *file2)
{
	const struct state *state = &states->state[number];

	print_message("#   exchange %zu would be: file1 of %" PRIu64 " bytes, different from byte %"
		      PRIi64 " on; file2 of %" PRIu64 ", from byte %" PRIi64 " on (-1: nowhere)\n",
		      number, state->file1.size,
		      (int64_t)first_difference(states->workload, &state->file1, file1),
		      state->file2.size,
		      (int64_t)first_difference(states->workload, &state->file2, file2));
}

/* What was written to file2 before a durable exchange is as durable. */
static bool lacks_beside(const struct workload *workload, size_t durable,
			 const struct picture *file2)
{
	uint64_t number;

	if (!workload->beside || !durable)
		return false;
	memcpy(&number, file2->bytes + BLOCK_BESIDE * BLOCK, sizeof(number));
	if (number >= durable && number <= count_rounds(workload))
		return false;
	print_message("# what was written before exchange %zu, which is durable, is not there\n",
		      durable);
	return true;
}

static enum verdict judge_pair(const struct states *states, struct promise promise,
			       const struct picture *file1,
			       const struct picture *file2)
{
	size_t i;

	for (i = promise.begun + 1; i-- > promise.durable; )
		if (is_state(states, i, file1, file2))
			return lacks_beside(states->workload, promise.durable, file2) ?
			       VERDICT_LOST :
			       i == promise.begun ? VERDICT_NEW : VERDICT_OLD;
	/* Of what is not ours it is expected. */
	if (states->workload->tears)
		return VERDICT_TORN;
	print_message("# exchange %zu was durable and %zu begun; file1 has %" PRIu64 " bytes, file2 %"
		      PRIu64 "\n", promise.durable, promise.begun, file1->size, file2->size);
	for (i = promise.durable; i <= promise.begun; i++)
		print_difference(states, i, file1, file2);
	for (i = 0; i < states->count; i++)
		if (is_state(states, i, file1, file2))
			return VERDICT_LOST;
	return VERDICT_TORN;
}

enum verdict judge(const struct states *states, struct promise promise)
{
	struct picture file1, file2;
	enum verdict verdict;

	if (states->workload->special)
		return states->workload->special->judge(promise);
	file1 = read_file(file1_name(states->workload));
	file2 = read_file("file2");
	verdict = judge_pair(states, promise, &file1, &file2);
	if (!snapshots_hold(states, promise))
		verdict = VERDICT_TORN;
	drop_picture(&file1);
	drop_picture(&file2);
	return verdict;
}

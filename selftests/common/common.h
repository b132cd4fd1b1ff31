/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests share: files of known shape and contents, pictures of files to
 * compare, calls as somebody else, and XFS's own ioctl as the reference.
 *
 * A test program takes the mount point that it works on as its argument.  What
 * goes wrong in a helper fails the test that called it.
 */
#ifndef SELFTESTS_COMMON_H
#define SELFTESTS_COMMON_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cmocka.h>

/* As cmocka names it since 2.0. */
#ifndef assert_uint_in_range
#define assert_uint_in_range assert_in_range
#endif

#include "exchrange.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define BLOCK		4096u
#define ALL_FLAGS	(EXCHRANGE_TO_EOF | EXCHRANGE_DSYNC | \
			 EXCHRANGE_DRY_RUN | EXCHRANGE_FILE1_WRITTEN)
#define NOBODY		65534

/* What differs between the file systems under test. */
struct kind {
	const char	*name;		/* also the kernel module's */
	const char	*backend_name;	/* as the command has it */
	unsigned long	magic;		/* statfs(2)'s f_type */
	uint32_t	backend;	/* EXCHRANGE_BACKEND_* */
	bool		alone;		/* has such an ioctl itself */
	const char	*device;	/* what start()'s mount is of, for a shell */
	const char	*mkfs;		/* shell commands before a device */
	const char	*mkfs_small;
	const char	*check;
};

/* The mount point under test, its kind, and /dev/exchrange: set by start(). */
extern const char *mount_point;

/* The model's: what a program sets it to, where blocks are not of BLOCK bytes. */
extern uint64_t block_size;

extern const struct kind *kind;
extern int device;

bool is_btrfs(void);
/* The mount point is one; the kind is that of its layers. */
bool is_overlay(void);
/* Of the file @path: the module is built without it where it was not tested with the kernel. */
bool overlay_is_left_out(const char *path);
/* XFS's own exchange came with Linux 6.10, and with xfsprogs 6.10 to mkfs.xfs, on the guest's XFS. */
bool kernel_has_own_exchange(void);
bool mkfs_knows_exchange(void);

/*
 * 1; or what $TEST_SHARE says: of a long table, or of many rounds, only one of so many is
 * for this run.
 */
unsigned int test_share(void);

/*
 * A file system on $SCRATCH_DEV1 that the calls that follow work on, with @mkfs
 * before the device, writable for everybody; and back again, with a check.
 */
#define SCRATCH	"/mnt/scratch"
void enter_scratch(const char *mkfs, const char *mount_options);
void leave_scratch(void);

/*
 * Between the two, after an abort or a shutdown, with nothing open: check_scratch()
 * replays the log where the check calls that damage, checks, and mounts it again.
 */
void unmount_scratch(void);
void check_scratch(void);

/* Takes the arguments of main(), opens the device; "overlay:/mnt/xfs" is an overlay with layers there. */
void start(int argc, char **argv);

/*
 * Runs a group of tests: test for each row of a table, whose first member is the
 * row's name and which gets it as its state, and then some others.
 */
struct table {
	const char			*group;
	const void			*rows;
	size_t				row_size;	/* bytes */
	size_t				row_count;
	CMUnitTestFunction		test;
	const struct CMUnitTest		*others;
	size_t				other_count;
	CMFixtureFunction		setup;
	CMFixtureFunction		teardown;
};

int run_table(const struct table *table);

/* A row of any table, for a table of several: each table's rows begin with their name. */
struct any_row {
	const char		*name;
	CMUnitTestFunction	test;
	const void		*state;
};

void test_any_row(void **state);

/* Returns where the next rows go. */
struct any_row *add_any_rows(struct any_row *to, const void *from, size_t size, size_t count,
			     CMUnitTestFunction test);

#define ADD_ROWS(to, table, test) \
	add_any_rows(to, table, sizeof((table)[0]), COUNT(table), test)

/*
 * The same of an array of tests alone.  It prints KTAP, and returns what main() is to: 0, 1
 * where one failed, 4 where all were skipped.
 */
#define run_as_ktap(name, tests, setup, teardown) \
	run_group(name, tests, COUNT(tests), setup, teardown)

/* Of a program that cannot run here; it returns what main() is to. */
int skip_all(const char *reason);

int run_group(const char *name, const struct CMUnitTest *tests, size_t count,
	      CMFixtureFunction setup, CMFixtureFunction teardown);

/* A path below the mount point; good until sixteen more were asked for. */
const char *path_of(const char *name);

/*
 * Contents: byte i of a file with this seed, never zero, so that a byte that
 * nobody wrote shows.
 */
uint8_t content_byte(unsigned int seed, uint64_t i);

/* Files of many forms, all made of content_byte(seed). */
enum shape {
	SHAPE_PLAIN,		/* written in one piece */
	SHAPE_HOLES,		/* every third block of a PLAIN one is a hole */
	SHAPE_PREALLOCATED,	/* every third block is preallocated */
	SHAPE_SCATTERED,	/* no two blocks next to each other on the disk */
};

struct file_spec {
	enum shape	shape;
	uint64_t	size;	/* bytes */
};

/* Makes @name anew, durable and owned by nobody; returns it open O_RDWR. */
int make_file(const char *name, struct file_spec spec, unsigned int seed);
/* A file of which every second block, from its first on, is there. */
int make_comb(const char *name, unsigned int teeth, unsigned int seed);
/* Where the first extent of a file begins on the disk, in bytes. */
uint64_t disk_place_of(int fd);
/* On XFS with blocks of BLOCK. */
uint64_t bytes_of_ag(void);
/* All the space of an XFS on SCRATCH, in a file "rest"; what XFS keeps for itself, too. */
void take_rest_of_scratch(void);
int open_path(const char *path, int flags);
unsigned int count_extents(int fd);

/*
 * Everything of a file that an exchange may change, or must not.  blocks has a
 * character for each BLOCK: 'd' data, 'u' preallocated (unwritten), '.' a hole.
 */
struct picture {
	uint8_t		*bytes;
	uint8_t		*blocks;
	uint64_t	size;
	struct stat	st;
};

struct picture take_picture(int fd);
/* The blocks anew, and nothing else. */
void read_blocks(int fd, struct picture *picture);
struct picture copy_picture(const struct picture *picture);
void drop_picture(struct picture *picture);
bool same_bytes(const struct picture *a, const struct picture *b);
bool same_blocks(const struct picture *a, const struct picture *b);
bool same_times(const struct picture *a, const struct picture *b);
/* The picture is still true of the file behind fd: bytes, size and times. */
void assert_unchanged(const struct picture *before, int fd);

/*
 * The model: what the two pictures become when [offset1, offset1 + length) and
 * [offset2, ...) change places; with TO_EOF in flags, all that follows.
 */
void model_exchange(struct picture *picture1, struct picture *picture2,
		    uint64_t offset1, uint64_t offset2, uint64_t length,
		    uint64_t flags);

/*
 * With FILE1_WRITTEN: block by block, where picture1 has data and no hole or
 * preallocation.  With TO_EOF the sizes change places too.
 */
void model_exchange_written(struct picture *picture1, struct picture *picture2,
			    uint64_t offset1, uint64_t offset2, uint64_t length,
			    uint64_t flags);

/* And what a truncate to @size makes of a picture. */
void model_truncate(struct picture *picture, uint64_t size);

/* Has XFS's ioctls go through the device. */
#define PRELOAD	"libexchange-preload.so"
bool is_preloaded(void);

/*
 * XFS's own ioctl, by its own header: 0 or an errno.  There is no reference where
 * the file system is another one; on XFS it must be there.  With PRELOAD it is that
 * library, on each file system.
 */
bool has_reference(void);
int xfs_exchange(const struct exchrange_range *range);
int xfs_start_commit(struct exchrange_commit *commit);
int xfs_commit(const struct exchrange_commit *commit);

/* The same through the device: 0 or an errno. */
int device_exchange(const struct exchrange_range *range);
int device_start_commit(struct exchrange_commit *commit);
int device_commit(const struct exchrange_commit *commit);

/* What the device says of a list of pairs: 0 or an errno, and the pair that is refused. */
struct vector_answer {
	int		error;
	uint32_t	refused;
};

struct vector_answer exchange_list(const struct exchrange_pair *pairs, uint32_t count, uint64_t flags);

/* A block of each file. */
struct exchrange_pair block_pair(int fd1, unsigned int block1, int fd2, unsigned int block2);

/* The exchange as START_COMMIT and COMMIT, with nothing between the two. */
int device_exchange_by_commit(const struct exchrange_range *range);
int xfs_exchange_by_commit(const struct exchrange_range *range);

/* QUERY of *@fd with no room for a page more in the address space; for as_nobody(). */
int query_in_a_full_address_space(void *fd);

/* One way to make these calls. */
struct way {
	int (*exchange)(const struct exchrange_range *range);
	int (*start_commit)(struct exchrange_commit *commit);
	int (*commit)(const struct exchrange_commit *commit);
};

extern const struct way through_device;
extern const struct way through_xfs;

/* Longer than the grain of the kernel's timestamps. */
void wait_for_another_timestamp(void);

/* Runs call(argument) in a child; returns what it returned, which is below 254. */
int as_root(int (*call)(void *argument), void *argument);
int as_nobody(int (*call)(void *argument), void *argument);

/* Runs a shell command; its exit status, and what it printed if that is not 0. */
int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same with the streams kept; free() both. */
struct outcome {
	int	status;
	char	*out;
	char	*err;
};

struct outcome run_and_keep(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
void drop_outcome(struct outcome *outcome);

/* How the command is called wrong, what it ends with, and what it says among other things. */
struct wrong {
	const char	*arguments;
	int		status;
	const char	*text1, *text2;
};

/* Fails where it did not, or printed something; drops @outcome. */
void assert_complaint(struct outcome *outcome, const struct wrong *wrong);

#endif /* SELFTESTS_COMMON_H */

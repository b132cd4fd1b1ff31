/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the stress program share: a thread with its own generator, its
 * files with their models, its last operations, and counts of all of them.
 */
#ifndef SELFTESTS_STRESS_H
#define SELFTESTS_STRESS_H

#include <stdatomic.h>

#include "common.h"

#define KIB		1024u
#define MIB		(1024u * KIB)
#define FOLDER		"stress"	/* below the mount point, all there is */
#define FOLDERS		2u		/* of each thread: on btrfs subvolumes */
#define FILES		4u		/* of each thread */
#define FILE_MAX	(8 * MIB)	/* no file grows past this */
#define POOL		(256 * KIB)	/* random bytes to write, none of them zero */
#define HISTORY		20u		/* operations that are kept for a report */
#define ERRNOS		134u

enum operation {
	WRITE, WRITE_DIRECT, STORE, TRUNCATE, PUNCH_HOLE, ZERO_RANGE, PREALLOCATE,
	REFLINK, DEDUPE, SNAPSHOT, FSYNC, FDATASYNC, SYNCFS, DROP_CACHE, RECREATE,
	READ, READ_DIRECT,
	EXCHANGE,		/* and the flags: 16 of them */
	COMMIT = EXCHANGE + 16,	/* as START_COMMIT and COMMIT */
	VECTOR = COMMIT + 16,	/* of many pairs; and these flags */
	VECTOR_DRY_RUN,
	OPERATIONS,
};

/* A file of one thread.  The model's blocks are true after a look at FIEMAP only. */
struct file {
	char		path[128];
	unsigned int	number;
	int		fd;
	int		direct_fd;	/* O_DIRECT */
	uint8_t		*mapping[2];	/* of FILE_MAX bytes, as old as the file */
	struct picture	model;
};

struct worker {
	unsigned int	number;
	uint64_t	random;
	unsigned long	goal;		/* operations */
	atomic_ulong	done;
	struct file	files[FILES];
	uint8_t		*buffer;	/* FILE_MAX bytes, aligned */
	int		elsewhere;	/* a file on another mount */
	int		scratch;	/* of shared pairs: takes reflinks */
	char		history[HISTORY][512];
	unsigned int	counts[OPERATIONS][ERRNOS];
};

extern uint64_t seed;
extern unsigned int thread_count;
extern unsigned long operation_count;
extern uint8_t pool[POOL];

/* Somebody has complained: everybody comes to an end. */
extern atomic_bool stop;

/* The worker's next random number below @limit; true once in @times. */
uint64_t draw(struct worker *worker, uint64_t limit);
bool one_in(struct worker *worker, unsigned int times);
/* Of any magnitude below 2^@bits, the small ones often. */
uint64_t draw_magnitude(struct worker *worker, unsigned int bits);

/*
 * What the worker is about to do, for a report; then how that ended, which adds to
 * what was said.  @row: what it counts as.
 */
void begin(struct worker *worker, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void end(struct worker *worker, unsigned int row, int error);

/* Says what is wrong and how to get there again, once a thread, and sets stop. */
void complain(struct worker *worker, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Runs @run in a thread for each worker, with a line of progress now and then. */
void run_workers(struct worker *workers, void *(*run)(void *worker),
		 const char *name);
struct worker *make_workers(unsigned int phase, unsigned long operations);
void print_counts(const struct worker *workers, const char *name);
void drop_workers(struct worker *workers);
/* A folder, on btrfs a subvolume. */
void make_folder(const char *name);

/* btrfs: a read-only snapshot of a folder below FOLDER; 0 or an errno. */
int make_snapshot(const char *folder, const char *name);
int delete_snapshot(const char *name);

/* model.c: the files of a thread. */
void open_own_file(struct worker *worker, struct file *file);
void close_own_file(struct file *file);
void grow(struct file *file, uint64_t size);
uint64_t pick_size(struct worker *worker);
/* The bytes behind @fd, which is of @file or of a snapshot of it, are the model's. */
void verify_bytes(struct worker *worker, const struct file *file, int fd,
		  const char *how);
/* The file is what the model says, seen in a way that the generator chooses. */
void verify(struct worker *worker, struct file *file);
void verify_all(struct worker *worker);

/* operations.c, exchange.c: one operation each, counted. */
void operate(struct worker *worker);
void exchange_own(struct worker *worker);
/* What a random change of @file is, between START_COMMIT and COMMIT. */
void change_file(struct worker *worker, struct file *file);

/* The two tests. */
void test_own_pairs(void **state);
void test_shared_pairs(void **state);

#endif /* SELFTESTS_STRESS_H */

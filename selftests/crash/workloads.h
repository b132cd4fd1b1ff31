/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is done while the harness records, and what must hold at each crash point: the
 * pair of files is in one of the states that the exchanges lead from and to.
 */
#ifndef SELFTESTS_CRASH_WORKLOADS_H
#define SELFTESTS_CRASH_WORKLOADS_H



#include "common.h"
#include "log.h"

/* What follows an exchange; one of those that a workload allows, by chance. */
enum sync_kind {
	SYNC_NOTHING	= 1 << 0,
	SYNC_DSYNC	= 1 << 1,	/* the exchange itself, with EXCHRANGE_DSYNC */
	SYNC_FILE1	= 1 << 2,	/* fsync of this file only */
	SYNC_FILE2	= 1 << 3,
	SYNC_UNRELATED	= 1 << 4,
	SYNC_ALL	= 1 << 5,	/* of the file system */
	SYNC_DIRECTORY	= 1 << 6,	/* fsync of the directory of both */
};

struct special;

struct workload {
	const char		*name;
	const char		*word;		/* for a command line */
	struct file_spec	file1;
	struct file_spec	file2;
	struct exchrange_range	range;		/* its descriptors aside */
	unsigned int		rounds;
	unsigned int		syncs;		/* enum sync_kind */
	bool			rewrites;	/* file1 has new contents each time, not synced */
	bool			writers;	/* others write beside */
	bool			two_subvolumes;
	size_t			attribute;	/* bytes of an extended attribute of file1 */
	bool			saves;		/* file2 is saved by an update, file1 is not used */
	bool			staged;		/* the same, by its descriptor */
	bool			creates;	/* the same, and removed before each second time */
	bool			grows;		/* what has a hole is longer by a page, not synced */
	unsigned int		slots;		/* pages of file1 that go to places in file2: a vector */
	unsigned int		more_pairs;	/* of whole files, in the same vector */
	bool			conditions;	/* each pair of the vector has a sample */
	bool			unnamed;	/* file1 never has a name, nor those of more pairs */
	bool			links;		/* file2 gets a second name after it */
	bool			beside;		/* a page of file2 that stays is written before it */
	bool			replaced;	/* file2 is a new file before it, by a rename */
	bool			compressed;	/* where the file system can */
	bool			syncers;	/* others sync file2 and its directory all the time */
	bool			btrfs_alone;	/* it is about what no other file system has */
	bool			snapshots;	/* and subvolumes, made around it and beside it */
	bool			in_place;	/* nodatacow; what has new contents is on the disk */
	const char		*mount_options;	/* besides, while it runs */
	const struct special	*special;	/* has its own files; the rest but rounds means nothing */
	bool			tears;		/* not ours: three clones, or a file made by hand */
};

extern const struct workload workloads[];
extern const size_t workload_count;

const struct workload *find_workload(const char *word);

/* The contents of the pair after each of the exchanges 0 (none), 1, 2, ... */
struct state {
	struct picture	file1;
	struct picture	file2;
};

struct states {
	const struct workload	*workload;
	size_t			count;
	struct state		*state;
};

/* Made of the workload alone, so that they are the same in another boot. */
struct states make_states(const struct workload *workload);
void drop_states(struct states *states);

/* By what the rounds of each workload are multiplied. */
#define MAX_ROUND_FACTOR	16
extern unsigned int round_factor;

/* XFS's own ioctl instead of the device. */
extern bool own_ioctl;

/* Both with the file system on mount_point; what it does, it marks in the log. */
void prepare_workload(const struct workload *workload);
void run_workload(const struct workload *workload, unsigned int seed);

/* The exchanges that were begun, and promised to last, by the marks of the log. */
struct promise {
	size_t	begun;
	size_t	durable;
};

struct promise promise_at(const struct log *log, size_t end);

enum verdict { VERDICT_OLD, VERDICT_NEW, VERDICT_LOST, VERDICT_TORN };

/*
 * What the pair on mount_point is: new with the last exchange that was begun, old with
 * an earlier one, lost with one that is older than what was promised to last.
 * For the last two a line is printed that says how.
 */
enum verdict judge(const struct states *states, struct promise promise);

#endif /* SELFTESTS_CRASH_WORKLOADS_H */

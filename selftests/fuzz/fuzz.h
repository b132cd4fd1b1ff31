/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the fuzzer share.  fuzz.c supervises, as root; a worker
 * (worker.c) is a process of nobody's that makes calls, whose arguments come from
 * arguments.c, memory.c and descriptors.c, while the threads of beside.c meddle.
 * report.c knows which errors are documented, and prints.
 */
#ifndef SELFTESTS_FUZZ_H
#define SELFTESTS_FUZZ_H

#include "common.h"

#define FOLDER		"fuzz"		/* on both file systems */
#define MAX_WORKERS	64
#define REQUEST_NUMBERS	8		/* ioctls that the device knows, from 0 on */
#define ERRNOS		134		/* EHWPOISON, the last one, is 133 */
#define MAX_SIZE	(1024 * 1024ul)	/* bytes, of a file that is meddled with */
#define MASTER_SIZE	(1000 * BLOCK)	/* as many extents as blocks */

enum request {
	EXCHANGE,
	START_COMMIT,
	COMMIT,
	QUERY,
	WATCH,
	STAGE,
	VECTOR,
	HOLD,
	UNKNOWN,	/* an ioctl that neither the device nor the VFS knows */
	READ_WRITE_MAP,
	GENERIC,	/* what the VFS answers for every file */
	REQUESTS
};

/* Where a call's struct lies. */
enum memory {
	GOOD,
	READ_ONLY,
	EDGE,		/* the last bytes before memory that is none */
	RACING,		/* a page that comes and goes meanwhile */
	CHANGING,	/* fields that change meanwhile */
	MAPPED_FILE,	/* a shared mapping of a file that is exchanged */
	NOWHERE,
	MEMORIES
};

struct call {
	enum request	request;
	unsigned int	cmd;
	enum memory	memory;
	unsigned long	address;
	size_t		size;		/* bytes of the struct, 0 for none */
	union {
		struct exchrange_range	range;
		struct exchrange_commit	commit;
		struct exchrange_query	query;
		struct exchrange_watch	watch;
		struct exchrange_stage	stage;
		struct exchrange_hold	hold;
		struct exchrange_vector	vector;
		uint8_t			bytes[sizeof(struct exchrange_commit)];
	};
};

/* What a worker tells the supervisor, through shared memory. */
struct slot {
	unsigned int	worker;		/* its number */
	unsigned int	life;		/* how many processes it had before */
	uint64_t	calls;		/* that returned, over all lives */
	uint64_t	limit;		/* of calls */
	uint64_t	checks;		/* of quiet files after an error */
	unsigned int	failures;
	bool		quiet;		/* which phase */
	struct call	call;		/* the last one, or that under way */
	uint64_t	counts[REQUESTS][ERRNOS];
};

struct shared {
	uint64_t	seed;
	bool		reported[REQUESTS][ERRNOS];
	struct slot	slots[MAX_WORKERS];
};

extern struct shared *shared;

/* arguments.c */
struct generator {
	uint64_t state;
};

struct generator make_generator(const struct slot *slot, unsigned int stream);
uint64_t next_random(struct generator *generator);
uint64_t below(struct generator *generator, uint64_t limit);
bool one_in(struct generator *generator, unsigned int count);
uint64_t any_size(struct generator *generator);
uint64_t any_number(struct generator *generator);
void make_call(struct generator *generator, struct call *call, bool quiet);
/* The COMMIT that goes with the START_COMMIT that has just succeeded. */
void make_commit(struct generator *generator, struct call *call);

/* descriptors.c: numbers that stay the same, whatever is open behind them */
enum place { TEST_FOLDER, OTHER_FOLDER, QUIET_FOLDER, NO_FOLDER };

enum handed {		/* opened by root */
	IMMUTABLE, SWAP_FILE, READ_ONLY_SUBVOLUME, BLOCK_DEVICE, HANDED
};

#define LOUD_FILES	6u	/* f0, f1, ... */

extern int folders[NO_FOLDER];
extern int handed[HANDED];
extern int loud_files[LOUD_FILES];	/* the worker's own, for itself */

void open_descriptors(void);
void close_quiet_descriptors(void);
int quiet_descriptor(int which);
int good_descriptor(struct generator *generator, bool quiet);
void good_pair(struct generator *generator, bool quiet, int fds[2]);
int any_descriptor(struct generator *generator);
void change_descriptor(struct generator *generator);
const char *descriptor_name(int fd);

/* memory.c */
void map_memory(void);
void place_struct(struct generator *generator, struct call *call);
void fetch_struct(struct call *call);
void change_mapping(struct generator *generator);
void change_fields(struct generator *generator);

/* beside.c */
extern int master;		/* a file of many extents, to reflink from */
bool start_meddling(const struct slot *slot);

/* watches.c */
int use_watch(struct generator *generator, int fd);

/* stagings.c */
int use_staging(struct generator *generator, int fd, bool quiet);

/* worker.c; live() does not return, but exits with one of these, or 0. */
#define REPORTED	1
#define CANNOT_LIVE	3
void live(struct slot *slot);

/* report.c */
bool is_documented(enum request request, int error);
void print_call(const struct slot *slot);
void print_counts(unsigned int workers);
bool has_success(unsigned int workers, enum request request);

#endif /* SELFTESTS_FUZZ_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Random arguments.  Half of the calls begin as good ones, of which some get a fault
 * or two, so that what lies behind the first checks is reached; the others are random
 * all over.  No system call here.
 */
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>

#include "fuzz.h"

/* splitmix64 */
uint64_t next_random(struct generator *generator)
{
	uint64_t x = generator->state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* Each life of each worker, and each thread in it, has numbers of its own. */
struct generator make_generator(const struct slot *slot, unsigned int stream)
{
	struct generator generator = { shared->seed };

	generator.state = next_random(&generator) + slot->worker;
	generator.state = next_random(&generator) + slot->life;
	generator.state = next_random(&generator) + stream;
	return generator;
}

uint64_t below(struct generator *generator, uint64_t limit)
{
	return next_random(generator) % limit;
}

bool one_in(struct generator *generator, unsigned int count)
{
	return below(generator, count) == 0;
}

/* The sizes that the files get: those of arguments are near them. */
uint64_t any_size(struct generator *generator)
{
	static const uint32_t sizes[] = {
		0, 100, 2000, BLOCK, BLOCK + 1, 2 * BLOCK, 10 * 1024, 4 * BLOCK,
		8 * BLOCK, 10 * BLOCK + 17, 16 * BLOCK, 100000, 64 * BLOCK,
		MAX_SIZE - 1, MAX_SIZE,
	};

	return sizes[below(generator, COUNT(sizes))];
}

uint64_t any_number(struct generator *generator)
{
	switch (below(generator, 12)) {
	case 0:
		return below(generator, 2);
	case 1:
		return UINT64_MAX - below(generator, 2) * below(generator, BLOCK);
	case 2:
		return INT64_MAX;
	case 3:
		return INT64_MAX + below(generator, 3) - below(generator, BLOCK);
	case 4:
		return below(generator, 20);
	case 5:
		return below(generator, 300) * BLOCK;
	case 6:
		return 1ull << below(generator, 64);
	case 7:
		return (1ull << below(generator, 64)) + below(generator, 3) - 1;
	case 8:
		return any_size(generator) + below(generator, 5) - 2;
	case 9:
		return next_random(generator);
	default:
		return below(generator, 8) * BLOCK;
	}
}

static uint64_t any_flags(struct generator *generator)
{
	if (one_in(generator, 8))
		return next_random(generator);
	if (one_in(generator, 8))
		return 1ull << below(generator, 64);
	return below(generator, ALL_FLAGS + 1);
}

static uint32_t any_padding(struct generator *generator)
{
	return one_in(generator, 32) ? next_random(generator) : 0;
}

/* Durable ones are few: they cost a hundred of the others. */
static uint64_t good_flags(struct generator *generator)
{
	return (one_in(generator, 3) ? EXCHRANGE_TO_EOF : 0) |
	       (one_in(generator, 3) ? EXCHRANGE_DRY_RUN : 0) |
	       (one_in(generator, 4) ? EXCHRANGE_FILE1_WRITTEN : 0) |
	       (one_in(generator, 100) ? EXCHRANGE_DSYNC : 0);
}

static struct exchrange_commit good_commit(struct generator *generator,
					   bool quiet)
{
	unsigned int blocks = quiet ? 2 : 4;
	int fds[2];

	good_pair(generator, quiet, fds);
	return (struct exchrange_commit) {
		.file1_fd	= fds[0],
		.file1_offset	= below(generator, blocks) * BLOCK,
		.file2_offset	= below(generator, blocks) * BLOCK,
		.length		= below(generator, blocks + 1) * BLOCK,
		.flags		= good_flags(generator),
		.file2_fd	= fds[1],
	};
}

static struct exchrange_commit any_commit(struct generator *generator)
{
	struct exchrange_commit commit = {
		.file1_fd	= any_descriptor(generator),
		.pad		= any_padding(generator),
		.file1_offset	= any_number(generator),
		.file2_offset	= any_number(generator),
		.length		= any_number(generator),
		.flags		= any_flags(generator),
		.file2_fd	= any_descriptor(generator),
		.pad2		= any_padding(generator),
	};
	size_t i;

	if (one_in(generator, 8))
		commit.file2_fd = commit.file1_fd;
	for (i = 0; i < COUNT(commit.file2_freshness); i++)
		commit.file2_freshness[i] = any_number(generator);
	return commit;
}

/* One field gets anything. */
static void spoil(struct generator *generator, struct exchrange_commit *commit)
{
	const struct exchrange_commit other = any_commit(generator);

	switch (below(generator, 8)) {
	case 0:
		commit->file1_fd = other.file1_fd;
		break;
	case 1:
		commit->file2_fd = other.file2_fd;
		break;
	case 2:
		commit->file1_offset = other.file1_offset;
		break;
	case 3:
		commit->file2_offset = other.file2_offset;
		break;
	case 4:
		commit->length = other.length;
		break;
	case 5:
		commit->flags = other.flags;
		break;
	case 6:
		commit->file2_fd = commit->file1_fd;
		break;
	default:
		commit->file2_freshness[below(generator, 6)] ^=
			1ull << below(generator, 64);
	}
}

static struct exchrange_range range_of(const struct exchrange_commit *commit)
{
	return (struct exchrange_range) {
		.file1_fd	= commit->file1_fd,
		.pad		= commit->pad,
		.file1_offset	= commit->file1_offset,
		.file2_offset	= commit->file2_offset,
		.length		= commit->length,
		.flags		= commit->flags,
		.file2_fd	= commit->file2_fd,
		.pad2		= commit->pad2,
	};
}

/* The size of a struct that is longer or shorter than it should be. */
static size_t any_struct_size(struct generator *generator, size_t size)
{
	switch (below(generator, 4)) {
	case 0:
		return size + below(generator, 17) - 8;
	case 1:
		return below(generator, 2) * _IOC_SIZEMASK;
	case 2:
		return size + 8 * below(generator, 64);
	default:
		return below(generator, _IOC_SIZEMASK + 1);
	}
}

static unsigned int command(struct generator *generator,
			    const struct call *call)
{
	static const unsigned int commands[] = {
		[EXCHANGE]	= EXCHRANGE_IOC_EXCHANGE,
		[START_COMMIT]	= EXCHRANGE_IOC_START_COMMIT,
		[COMMIT]	= EXCHRANGE_IOC_COMMIT,
		[QUERY]		= EXCHRANGE_IOC_QUERY,
		[WATCH]		= EXCHRANGE_IOC_WATCH,
		[STAGE]		= EXCHRANGE_IOC_STAGE,
		[VECTOR]	= EXCHRANGE_IOC_EXCHANGE_VECTOR,
		[HOLD]		= EXCHRANGE_IOC_HOLD,
	};

	if (!one_in(generator, 16))
		return commands[call->request];
	return _IOC(below(generator, 4), EXCHRANGE_IOC_MAGIC, call->request,
		    any_struct_size(generator, call->size));
}

static void make_query(struct generator *generator, struct call *call,
		       bool quiet)
{
	size_t i;

	for (i = 0; i < sizeof(call->query); i++)
		call->bytes[i] = next_random(generator);
	call->query.fd = one_in(generator, 4) ?
		good_descriptor(generator, quiet) : any_descriptor(generator);
	call->size = sizeof(call->query);
}

static void make_watch(struct generator *generator, struct call *call,
		       bool quiet)
{
	call->watch.fd = one_in(generator, 2) ?
		good_descriptor(generator, quiet) : any_descriptor(generator);
	call->watch.flags = any_padding(generator);
	call->size = sizeof(call->watch);
}

static void make_stage(struct generator *generator, struct call *call,
		       bool quiet)
{
	call->stage.fd = one_in(generator, 2) ?
		good_descriptor(generator, quiet) : any_descriptor(generator);
	call->stage.flags = one_in(generator, 2) ? EXCHRANGE_STAGE_CLONE :
						   any_padding(generator);
	call->stage.reserved[below(generator, COUNT(call->stage.reserved))] =
		any_padding(generator);
	call->size = sizeof(call->stage);
}

static void make_hold(struct generator *generator, struct call *call,
		      bool quiet)
{
	call->hold.fd = one_in(generator, 2) ?
		good_descriptor(generator, quiet) : any_descriptor(generator);
	call->hold.flags = any_padding(generator);
	call->hold.reserved[below(generator, COUNT(call->hold.reserved))] =
		any_padding(generator);
	call->size = sizeof(call->hold);
}

/* The calls that are made last have their pairs here. */
#define MOST_PAIRS	12

static struct exchrange_pair pairs[MOST_PAIRS];
static struct exchrange_commit commits[MOST_PAIRS];

/* A wrong pointer, or what is no sample. */
static uint64_t any_freshness(struct generator *generator, unsigned int i)
{
	switch (below(generator, 16)) {
	case 0:
		return any_number(generator);
	case 1:
		return (uintptr_t)commits[i].file2_freshness;
	default:
		return 0;
	}
}

static void make_pair(struct generator *generator, unsigned int i, bool quiet)
{
	struct exchrange_commit *commit = &commits[i];

	*commit = one_in(generator, 16) ? any_commit(generator) :
					  good_commit(generator, quiet);
	if (one_in(generator, 16))
		spoil(generator, commit);
	pairs[i] = (struct exchrange_pair) {
		.file1_fd	= commit->file1_fd,
		.file2_fd	= commit->file2_fd,
		.file1_offset	= commit->file1_offset,
		.file2_offset	= commit->file2_offset,
		.length		= commit->length,
		.flags		= one_in(generator, 32) ? commit->flags :
				  commit->flags & EXCHRANGE_FILE1_WRITTEN,
		.freshness	= any_freshness(generator, i),
	};
	pairs[i].reserved[below(generator, COUNT(pairs[i].reserved))] =
		one_in(generator, 64) ? next_random(generator) : 0;
}

static void make_vector(struct generator *generator, struct call *call, bool quiet)
{
	struct exchrange_vector *vector = &call->vector;
	unsigned int count = 1 + below(generator, MOST_PAIRS), i;

	for (i = 0; i < count; i++)
		make_pair(generator, i, quiet);
	*vector = (struct exchrange_vector) {
		.pairs		= one_in(generator, 16) ? any_number(generator) :
							  (uintptr_t)pairs,
		.count		= one_in(generator, 32) ? any_number(generator) : count,
		.pair_size	= one_in(generator, 32) ? any_number(generator) :
							  sizeof(pairs[0]),
		.flags		= one_in(generator, 16) ? any_flags(generator) :
				  good_flags(generator) &
				  (EXCHRANGE_DSYNC | EXCHRANGE_DRY_RUN),
		.refused	= next_random(generator),
		.pad		= any_padding(generator),
	};
	vector->reserved[below(generator, COUNT(vector->reserved))] =
		any_padding(generator);
	call->size = sizeof(*vector);
}

static void make_range_or_commit(struct generator *generator, struct call *call,
				 bool quiet)
{
	struct exchrange_commit commit;
	unsigned int faults;

	if (one_in(generator, 2)) {
		commit = any_commit(generator);
	} else {
		commit = good_commit(generator, quiet);
		for (faults = below(generator, 3); faults; faults--)
			spoil(generator, &commit);
	}
	if (call->request == EXCHANGE) {
		call->range = range_of(&commit);
		call->size = sizeof(call->range);
	} else {
		call->commit = commit;
		call->size = sizeof(call->commit);
	}
}

/* Numbers that nobody knows: none of these magics is the VFS's. */
static void make_unknown(struct generator *generator, struct call *call)
{
	static const char magics[] = { 'y', 'w', 'v', 'b', 'c', 0x7f };

	call->request = UNKNOWN;
	if (one_in(generator, 2))
		call->cmd = _IOC(below(generator, 4), EXCHRANGE_IOC_MAGIC,
				 REQUEST_NUMBERS + below(generator, 256 - REQUEST_NUMBERS),
				 below(generator, _IOC_SIZEMASK + 1));
	else
		call->cmd = _IOC(below(generator, 4),
				 magics[below(generator, COUNT(magics))],
				 below(generator, 256),
				 below(generator, _IOC_SIZEMASK + 1));
}

static void make_generic(struct generator *generator, struct call *call)
{
	static const unsigned int commands[] = {
		FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR,
		FS_IOC_FSSETXATTR, FS_IOC_FIEMAP, FICLONE, FICLONERANGE,
		FIDEDUPERANGE, FIGETBSZ, FIBMAP, FIFREEZE, FITHAW, FITRIM,
		0x5421 /* FIONBIO */, 0x541b /* FIONREAD */,
		0x5450 /* FIONCLEX */, 0x5451 /* FIOCLEX */,
		0x5452 /* FIOASYNC */, 0x5460 /* FIOQSIZE */,
	};

	call->request = GENERIC;
	call->cmd = one_in(generator, 4) ? next_random(generator) :
		    commands[below(generator, COUNT(commands))];
	/* A request of the device is none of the VFS. */
	if (_IOC_TYPE(call->cmd) == EXCHRANGE_IOC_MAGIC)
		call->cmd = FIGETBSZ;
}

/* Fewer of those that are slower than their one field is worth. */
static enum request any_request(struct generator *generator)
{
	static const enum request requests[] = {
		EXCHANGE, EXCHANGE, EXCHANGE, START_COMMIT, START_COMMIT,
		COMMIT, COMMIT, QUERY, WATCH, STAGE, HOLD, VECTOR, VECTOR,
	};

	return requests[below(generator, COUNT(requests))];
}

void make_call(struct generator *generator, struct call *call, bool quiet)
{
	memset(call, 0, sizeof(*call));
	switch (below(generator, 64)) {
	case 0:
		make_generic(generator, call);
		break;
	case 1:
		make_unknown(generator, call);
		break;
	case 2:
		call->request = READ_WRITE_MAP;
		return;
	default:
		call->request = any_request(generator);
		if (call->request == QUERY)
			make_query(generator, call, quiet);
		else if (call->request == WATCH)
			make_watch(generator, call, quiet);
		else if (call->request == STAGE)
			make_stage(generator, call, quiet);
		else if (call->request == HOLD)
			make_hold(generator, call, quiet);
		else if (call->request == VECTOR)
			make_vector(generator, call, quiet);
		else
			make_range_or_commit(generator, call, quiet);
		call->cmd = command(generator, call);
	}
	call->memory = one_in(generator, 4) ? below(generator, MEMORIES) : GOOD;
	/* What others change under it would make a quiet call another one. */
	if (quiet && call->memory == MAPPED_FILE)
		call->memory = GOOD;
	place_struct(generator, call);
}

void make_commit(struct generator *generator, struct call *call)
{
	call->request = COMMIT;
	call->cmd = EXCHRANGE_IOC_COMMIT;
	if (one_in(generator, 4))
		spoil(generator, &call->commit);
	place_struct(generator, call);
}

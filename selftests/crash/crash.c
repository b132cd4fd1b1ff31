// SPDX-License-Identifier: GPL-2.0
/*
 * crash: every write that a workload of exchanges makes is recorded, then the disk is
 * made as it was after some of these writes, the file system recovers, and the pair of
 * files must be wholly in a state that was promised; then the file system is checked, its
 * files are cut and removed, and it is checked again.
 *
 *	crash MOUNTPOINT [--points N] [--seed N] [--workload WORD] [--own-ioctl] [--mkfs OPTIONS]
 *	crash MOUNTPOINT --workload WORD --at END[:SEED]
 *	crash MOUNTPOINT --list
 *
 * MOUNTPOINT says which file system is meant, --own-ioctl that XFS's ioctl is called and
 * not the device, --mkfs what mkfs is told beside.  The first form prints TAP.  The second
 * makes one crash point of the log that is still on the disks, and leaves it mounted on
 * /mnt/crash; the third prints that log.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common.h"
#include "disks.h"
#include "workloads.h"

/* Nearly certain to find a pair that is torn where it can be: one point in five to ten is. */
#define POINTS_TO_TEAR	80

static unsigned int points_each = 40;
static unsigned int first_seed;
static const char *at;
static const char *mkfs_options = "";
static bool list;
static bool stopped;

struct tally {
	unsigned int	tried;
	unsigned int	verdicts[VERDICT_TORN + 1];
	unsigned int	broken;		/* not mounted, or the checker found something */
};

/* --- which crash points ------------------------------------------------------ */

/* The ends of prefixes of the log, in order. */
struct ends {
	size_t	count;
	size_t	*end;
};

static void add_end(struct ends *ends, size_t end)
{
	ends->end = reallocarray(ends->end, ends->count + 1, sizeof(size_t));
	assert_non_null(ends->end);
	ends->end[ends->count++] = end;
}

/* A disk with a cache may lack it, until the next flush. */
static bool may_miss(const struct log_entry *entry)
{
	return is_write(entry) && !(entry->flags & LOG_FUA);
}

/* Of all prefixes that a write ends, and of those that may lack one. */
static void find_ends(const struct log *log, struct ends *all,
		      struct ends *lacking)
{
	size_t i, j;

	for (i = 0; i < log->count; i++) {
		if (!is_write(&log->entries[i]))
			continue;
		add_end(all, i + 1);
		for (j = flushed_before(log, i + 1); j <= i; j++)
			if (may_miss(&log->entries[j]))
				break;
		if (j <= i)
			add_end(lacking, i + 1);
	}
}

struct points {
	size_t			count;
	struct crash_point	*point;
};

static int by_end(const void *a, const void *b)
{
	const struct crash_point *left = a, *right = b;

	return (left->end > right->end) - (left->end < right->end);
}

/*
 * At most points_each: a quarter that lack something, four of a prefix at most, and
 * prefixes, evenly, or all that there are.  In the order of the log.
 */
static struct points choose_points(const struct log *log, unsigned int *random)
{
	struct points points = { .point = calloc(points_each, sizeof(*points.point)) };
	struct ends all = { }, lacking = { };
	size_t choices, prefixes, i;

	assert_non_null(points.point);
	find_ends(log, &all, &lacking);
	choices = lacking.count * 4 < points_each / 4 ? lacking.count * 4 :
		  points_each / 4;
	prefixes = points_each - choices < all.count ? points_each - choices :
		   all.count;
	for (i = 0; i < prefixes; i++)
		points.point[points.count++].end =
			all.end[(i + 1) * all.count / prefixes - 1];
	for (i = 0; i < choices; i++)
		points.point[points.count++] = (struct crash_point) {
			.end	= lacking.end[rand_r(random) % lacking.count],
			.seed	= rand_r(random) % 100000 + 1,
		};
	qsort(points.point, points.count, sizeof(*points.point), by_end);
	free(all.end);
	free(lacking.end);
	return points;
}

/*
 * What is promised there.  The disk does not change until the next write, so that a
 * prefix must keep what is promised just before that, and can have begun only what
 * was before its own last write.
 */
static struct promise promise_of(const struct log *log, struct crash_point point)
{
	struct promise promise = promise_at(log, point.end);
	size_t late = point.end;

	if (point.seed)
		return promise;
	while (late < log->count && !is_write(&log->entries[late]))
		late++;
	promise.durable = promise_at(log, late).durable;
	return promise;
}

/* --- one crash point --------------------------------------------------------- */

static bool is_unclean(void)
{
	return run("%s %s", kind->check, point_disk) != 0;
}

/*
 * What recovery has left may be clean to look at, and trip up who works with it.  The
 * second check has little to look at, and is cheap.
 */
static bool breaks_later(void)
{
	int error = mount_point_disk();

	if (!error) {
		error = remove_files();
		unmount();
	}
	return error || is_unclean();
}

/* All of it, for who reads what is wrong. */
static bool is_broken(void)
{
	bool unclean = is_unclean();
	bool later = breaks_later();

	return kernel_complains() || unclean || later;
}

static void judge_point(const struct log *log, const struct states *states,
			struct crash_point point, struct tally *tally)
{
	enum verdict verdict;
	int error;

	make_point(log, point);
	tally->tried++;
	error = mount_point_disk();
	if (error) {
		print_message("# it cannot be mounted: %s\n", strerror(error));
		tally->broken++;
	} else {
		verdict = judge(states, promise_of(log, point));
		tally->verdicts[verdict]++;
		unmount();
		tally->broken += is_broken();
	}
	drop_point();
}

static bool is_bad(const struct tally *tally, const struct workload *workload)
{
	return tally->broken ||
	       (!workload->tears && (tally->verdicts[VERDICT_LOST] ||
				      tally->verdicts[VERDICT_TORN]));
}

/* --- a workload -------------------------------------------------------------- */

static void show_progress(const struct workload *workload, size_t done,
			  size_t count)
{
	static const char bar[] = "##############################";
	const int width = sizeof(bar) - 1;
	int filled = done * width / count;

	if (getenv("EXCHRANGE_PROGRESS"))
		fprintf(stderr, "\r\033[K%-30.30s [%.*s%*s] %zu of %zu crash points%s",
			workload->name, filled, bar, width - filled, "", done,
			count, done == count ? "\r\033[K" : "");
}

static void record(const struct workload *workload, unsigned int seed)
{
	assert_int_equal(run("%s %s $SCRATCH_DEV1 && mount $SCRATCH_DEV1 " CRASH_MOUNT,
			     kind->mkfs_small, mkfs_options), 0);
	prepare_workload(workload);
	unmount();
	start_recording(workload->mount_options);
	run_workload(workload, seed);
	stop_recording();
}

static void print_tally(const struct workload *workload, const struct log *log,
			const struct tally *tally)
{
	size_t writes = 0, i;

	for (i = 0; i < log->count; i++)
		writes += is_write(&log->entries[i]);
	print_message("# %s: %zu writes recorded, %u crash points: %u old, %u new, %u lost, %u torn, %u not mounted or not clean\n",
		      workload->name, writes, tally->tried,
		      tally->verdicts[VERDICT_OLD], tally->verdicts[VERDICT_NEW],
		      tally->verdicts[VERDICT_LOST],
		      tally->verdicts[VERDICT_TORN], tally->broken);
}

/* Of a few points none may be torn, by chance: then there are more. */
static struct points choose_for(const struct workload *workload,
				const struct log *log, unsigned int *seed)
{
	unsigned int each = points_each;
	struct points points;

	if (workload->tears && points_each < POINTS_TO_TEAR)
		points_each = POINTS_TO_TEAR;
	points = choose_points(log, seed);
	points_each = each;
	return points;
}

static bool has_torn_enough(const struct workload *workload,
			    const struct tally *tally)
{
	return workload->tears && tally->tried >= points_each &&
	       tally->verdicts[VERDICT_TORN];
}

static void replay_points(const struct workload *workload, unsigned int seed)
{
	struct log log = open_log(getenv("SCRATCH_DEV2"));
	struct states states = make_states(workload);
	struct points points = choose_for(workload, &log, &seed);
	struct tally tally = { 0 };
	size_t i;

	for (i = 0; i < points.count && !is_bad(&tally, workload) &&
	     !has_torn_enough(workload, &tally); i++) {
		judge_point(&log, &states, points.point[i], &tally);
		show_progress(workload, i + 1, points.count);
	}
	if (is_bad(&tally, workload))
		print_message("# the crash point: --workload %s --at %zu:%u\n",
			      workload->word, points.point[i - 1].end,
			      points.point[i - 1].seed);
	print_tally(workload, &log, &tally);
	free(points.point);
	drop_states(&states);
	close_log(&log);
	assert_false(is_bad(&tally, workload));
	/* The harness can see a torn pair. */
	assert_true(tally.verdicts[VERDICT_TORN] || !workload->tears);
}

static void test_workload(void **state)
{
	const struct workload *workload = *state;
	unsigned int seed = first_seed + (workload - workloads);

	if (stopped || (workload->btrfs_alone && !is_btrfs()))
		skip();
	/* After a failure the disks stay as they are, to look at it again. */
	stopped = true;
	record(workload, seed);
	replay_points(workload, seed);
	stopped = false;
}

/* --- the command ------------------------------------------------------------- */

static int show_point(const struct workload *workload)
{
	struct crash_point point = { 0 };
	struct states states = make_states(workload);
	struct log log;
	int error;

	if (sscanf(at, "%zu:%u", &point.end, &point.seed) < 1)
		return 2;
	log = open_log(getenv("SCRATCH_DEV2"));
	if (point.end > log.count) {
		fprintf(stderr, "crash: the log has %zu entries\n", log.count);
		return 1;
	}
	make_point(&log, point);
	error = mount_point_disk();
	if (error) {
		fprintf(stderr, "crash: %s: %s\n", point_disk, strerror(error));
		return 1;
	}
	printf("the pair is %s; it is in " CRASH_MOUNT "\n",
	       (const char *[]) { "old", "new", "lost", "torn" }
	       [judge(&states, promise_of(&log, point))]);
	return 0;
}

static int list_log(void)
{
	struct log log = open_log(getenv("SCRATCH_DEV2"));
	size_t i;

	for (i = 0; i < log.count; i++) {
		const struct log_entry *entry = &log.entries[i];

		printf("%6zu  %s%s%s%s", i + 1,
		       entry->flags & LOG_FLUSH ? "flush " : "",
		       is_write(entry) ? "write " : "",
		       entry->flags & LOG_FUA ? "fua " : "",
		       entry->flags & LOG_DISCARD ? "discard " : "");
		if (entry->length)
			printf("%" PRIu64 " bytes at %" PRIu64, entry->length,
			       entry->target);
		printf("%s\n", entry->mark ? entry->mark : "");
	}
	close_log(&log);
	return 0;
}

static void usage(void)
{
	size_t i;

	fprintf(stderr, "usage: crash MOUNTPOINT [--points N] [--seed N] [--own-ioctl] [--mkfs OPTIONS] [--workload WORD [--at END[:SEED]]] [--list]\nWORD:");
	for (i = 0; i < workload_count; i++)
		fprintf(stderr, " %s", workloads[i].word);
	fprintf(stderr, "\n");
	exit(2);
}

static const struct workload *parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "points", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 's' },
		{ "workload", required_argument, NULL, 'w' },
		{ "at", required_argument, NULL, 'a' },
		{ "list", no_argument, NULL, 'l' },
		{ "own-ioctl", no_argument, NULL, 'o' },
		{ "mkfs", required_argument, NULL, 'm' },
		{ }
	};
	const struct workload *workload = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'p')
			points_each = strtoul(optarg, NULL, 0);
		else if (option == 's')
			first_seed = strtoul(optarg, NULL, 0);
		else if (option == 'w')
			workload = find_workload(optarg);
		else if (option == 'a')
			at = optarg;
		else if (option == 'l')
			list = true;
		else if (option == 'o')
			own_ioctl = true;
		else if (option == 'm')
			mkfs_options = optarg;
		if (option == '?' || (option == 'w' && !workload))
			usage();
	}
	/* So that there are as many. */
	round_factor = at ? MAX_ROUND_FACTOR : 1 + points_each / 12;
	if (round_factor > MAX_ROUND_FACTOR)
		round_factor = MAX_ROUND_FACTOR;
	if (!points_each || optind != argc - 1 || (at && !workload))
		usage();
	return workload;
}

int main(int argc, char **argv)
{
	struct table table = {
		.group		= "crash points",
		.rows		= workloads,
		.row_size	= sizeof(workloads[0]),
		.row_count	= workload_count,
		.test		= test_workload,
	};
	const struct workload *workload;
	int status;

	if (getentropy(&first_seed, sizeof(first_seed)))
		return 1;
	first_seed %= 1000000;
	workload = parse(argc, argv);
	start(2, (char *[]) { argv[0], argv[optind], NULL });
	if (list)
		return list_log();
	load_disks();
	kernel_complains();
	mount_point = CRASH_MOUNT;
	if (at)
		return show_point(workload);

	print_message("# seed %u\n", first_seed);
	if (workload) {
		table.rows = workload;
		table.row_count = 1;
	}
	status = run_table(&table);
	/* Else the guest would check what is only half of a file system. */
	if (!stopped)
		run("wipefs -aq $SCRATCH_DEV1 && dd if=/dev/zero of=$SCRATCH_DEV2 bs=1M count=1 2>&1");
	return status;
}

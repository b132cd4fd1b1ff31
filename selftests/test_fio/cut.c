// SPDX-License-Identifier: GPL-2.0
/*
 * fio on XFS and on btrfs at once, until the guest loses its power at a random moment; the next
 * guest looks at what is there, and begins again.  selftests/power_cuts runs them:
 *
 *	test_fio run XFS BTRFS		KTAP of what is there, then never returns
 *	test_fio check XFS BTRFS	KTAP
 *
 * Job 1 of a fio lays a file out; each of the next jobs writes all pages once, in random order.  So
 * at any moment the file has all pages of one job, and of the next one a whole number of batches.
 * XFS and BTRFS are how many were promised to last, which "run" prints as lines "durable xfs N".
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pages.h"

#define PAGES		2048u
#define JOBS		20u
#define VERDICTS	4u	/* on each file system that has been worked on */

/* What is written, of which the next guest is told by the file "plan". */
struct plan {
	unsigned int	round;		/* one more each time */
	unsigned int	page;		/* bytes */
	unsigned int	batch;		/* pages */
	unsigned int	queued;		/* by iodepth_batch, not by fsync */
};

static const char *place;

/* A pipe with a byte for each file system on which jobs write. */
static int begun[2];

/* Batch @batch of job @job as a number that is larger than all before. */
static uint64_t number_of(const struct plan *plan, unsigned int job, unsigned int batch)
{
	return (plan->round * 1000ull + job) * 10000 + batch;
}

static bool read_plan(const char *name, struct plan *plan)
{
	FILE *file = fopen(path_of(name), "r");
	bool good = file && fscanf(file, "%u %u %u %u", &plan->round, &plan->page, &plan->batch,
				   &plan->queued) == 4;

	if (file)
		fclose(file);
	return good;
}

static struct plan choose_plan(unsigned int round)
{
	static const unsigned int batches[] = { 1, 16, 64 };
	uint8_t random[3] = { };

	assert_int_equal(getentropy(random, sizeof(random)), 0);
	return (struct plan) {
		.round	= round,
		.page	= random[0] % 2 ? 4096 : 16384,
		.batch	= batches[random[1] % COUNT(batches)],
		.queued	= random[2] % 2,
	};
}

/* --- what is there ------------------------------------------------------------------------- */

static bool verdict(bool good, unsigned int number, const char *promise)
{
	printf("%s %u - %s: %s\n", good ? "ok" : "not ok", number, kind->name, promise);
	fflush(stdout);
	return good;
}

/* @first is the number of the first verdict. */
static bool check(const struct plan *plan, uint64_t durable, unsigned int first)
{
	struct found found = { };
	bool good = read_headers(path_of("pages"), plan->page, &found);
	const uint64_t done = number_of(plan, found.thread, found.count / plan->batch);

	printf("# %s: pages of %u, %u in a batch%s: job %u has written %u; %" PRIu64 " had been promised\n",
	       kind->name, plan->page, plan->batch, plan->queued ? " that is queued" : "",
	       found.thread, found.count, durable);
	good = verdict(good && (found.thread == 1 || found.count % plan->batch == 0), first,
		       "all pages are of one job and of whole batches of the next one");
	good &= verdict(done >= durable, first + 1, "what was promised is there");
	good &= verdict(!run("cd %s && ./fio --name=verify --directory=%s --filename=pages --ioengine=psync --rw=read --bs=%u --verify=crc32c --verify_fatal=1",
			     place, mount_point, plan->page), first + 2,
			"fio finds each page's checksum right");
	good &= verdict(!run("umount %s && %s %s && mount %s %s", mount_point, kind->check,
			     kind->device, kind->device, mount_point), first + 3,
			"the file system is clean");
	return good;
}

/* --- the work -------------------------------------------------------------------------------- */

/* By job 1 of a fio; all of it, and the plan, are on the disk then. */
static void lay_out(const struct plan *plan)
{
	const char *path = path_of("pages"), *file = path_of("plan");

	assert_int_equal(run("mv -f %s %s-before; sync; rm -f %s && truncate -s %u %s", file, file,
			     path, PAGES * plan->page, path), 0);
	assert_int_equal(run("cd /tmp && %s/fio --name=job-1 --directory=%s --filename=pages --ioengine=psync --rw=write --bs=%u --verify=crc32c --do_verify=0 --end_fsync=1",
			     place, mount_point, plan->page), 0);
	assert_int_equal(run("echo %u %u %u %u >%s.new && sync && mv %s.new %s && sync", plan->round,
			     plan->page, plan->batch, plan->queued, file, file, file), 0);
}

/*
 * fio prints how far it is again and again: the job's name, and its fsyncs that have returned.  It
 * does not count fdatasyncs.
 */
static void tell_durable(const struct plan *plan, FILE *status)
{
	unsigned int job = 0, syncs;
	bool in_sync = false;
	char line[1000];

	while (fgets(line, sizeof(line), status)) {
		const char *number = strstr(line, "\"total_ios\" : ");

		if (sscanf(line, " \"jobname\" : \"job-%u\"", &job) == 1)
			in_sync = false;
		if (strstr(line, "\"sync\" : {"))
			in_sync = true;
		if (!in_sync || !number)
			continue;
		in_sync = false;
		syncs = strtoul(number + strlen("\"total_ios\" : "), NULL, 10);
		if (job > 1 && syncs) {
			printf("durable %s %" PRIu64 "\n", kind->name,
			       number_of(plan, job, syncs));
			fflush(stdout);
		}
	}
}

/* Jobs 2 to JOBS of another fio, whose job 1 does nothing. */
static void work(const struct plan *plan)
{
	char how[300];
	FILE *script = fopen(path_of("cut.fio"), "w"), *status;
	unsigned int job;

	assert_non_null(script);
	/* What is not deeper than 1 is no queue. */
	if (plan->queued)
		snprintf(how, sizeof(how), "iodepth=%u\niodepth_batch=%u", plan->batch + 1, plan->batch);
	else
		snprintf(how, sizeof(how), "fsync=%u", plan->batch);
	fprintf(script, "[global]\ndirectory=%s\nfilename=pages\nfilesize=%u\nbs=%u\nverify=crc32c\ndo_verify=0\nend_fsync=1\n",
		mount_point, PAGES * plan->page, plan->page);
	fprintf(script, "[job-1]\nioengine=null\nrw=read\nsize=%u\n", plan->page);
	for (job = 2; job <= JOBS; job++)
		fprintf(script, "[job-%u]\nstonewall\nioengine=external:%s/exchrange.so\nrw=randwrite\n%s\n",
			job, place, how);
	assert_int_equal(fclose(script), 0);
	snprintf(how, sizeof(how), "cd /tmp && %s/fio --output-format=json --status-interval=1 %s",
		 place, path_of("cut.fio"));
	status = popen(how, "r");
	assert_non_null(status);
	assert_int_equal(write(begun[1], "", 1), 1);
	tell_durable(plan, status);
	/* All jobs are done: what they have left is to be looked at, too. */
	printf("# %s: fio has ended with %d\n", kind->name, pclose(status));
	fflush(stdout);
}

/* One file system's part, in a process of its own. */
static int play(const char *mount, const char *durable, unsigned int first, bool go_on)
{
	char *arguments[] = { "test_fio", (char *)mount, NULL };
	struct plan plan = { };
	bool good = true;

	start(2, arguments);
	if (read_plan("plan", &plan))
		good = check(&plan, strtoull(durable, NULL, 10), first);
	else
		read_plan("plan-before", &plan);
	if (!good || !go_on)
		return !good;
	plan = choose_plan(plan.round + 1);
	lay_out(&plan);
	work(&plan);
	return 0;
}

static bool was_worked_on(const char *mount)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/plan", mount);
	return access(path, F_OK) == 0;
}

static pid_t fork_play(const char *mount, const char *durable, unsigned int first, bool go_on)
{
	pid_t pid = fork();

	if (pid == 0)
		exit(play(mount, durable, first, go_on));
	return pid;
}

/* Up to eight seconds after both have begun; fio takes one to do so. */
static void cut_power(void)
{
	unsigned int microseconds;
	char bytes[2];

	if (getentropy(&microseconds, sizeof(microseconds)) || read(begun[0], bytes, 1) != 1 ||
	    read(begun[0], bytes + 1, 1) != 1)
		return;
	usleep(1000000 + microseconds % 8000000);
	run("echo b >/proc/sysrq-trigger");
	sleep(60);
}

int cut_main(char **argv)
{
	const char *xfs = getenv("XFS_DIR"), *btrfs = getenv("BTRFS_DIR"), *why;
	const bool go_on = !strcmp(argv[1], "run");
	int status, failed = 0, left = 2;
	unsigned int on_xfs;

	place = find_fio(&why);
	if (!xfs || !btrfs || !place || pipe(begun))
		return 2;
	on_xfs = was_worked_on(xfs) * VERDICTS;
	printf("KTAP version 1\n1..%u\n", on_xfs + was_worked_on(btrfs) * VERDICTS);
	fflush(stdout);
	if (fork_play(xfs, argv[2], 1, go_on) < 0 ||
	    fork_play(btrfs, argv[3], 1 + on_xfs, go_on) < 0)
		return 1;
	if (go_on && fork() == 0)
		cut_power();
	while (left-- && wait(&status) > 0)
		failed |= status;
	/* The cut comes all the same. */
	while (go_on && !failed)
		pause();
	return !!failed;
}

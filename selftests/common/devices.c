// SPDX-License-Identifier: GPL-2.0
/* Slow devices (dm-delay), and failing ones, by tables of the device mapper. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"
#include "devices.h"

/* --- slow ------------------------------------------------------------------------------- */

int slow_device;

char slow_byte(unsigned int number)
{
	return 1 + number % 250;
}

void fill_slow_device(void)
{
	char *block = NULL;
	unsigned int i;

	assert_int_equal(posix_memalign((void **)&block, BLOCK, SLOW_BLOCKS * BLOCK), 0);
	for (i = 0; i < SLOW_BLOCKS; i++)
		memset(block + i * BLOCK, slow_byte(i), BLOCK);
	assert_int_equal(pwrite(slow_device, block, SLOW_BLOCKS * BLOCK, 0), SLOW_BLOCKS * BLOCK);
	free(block);
}

int make_slow_device(void **state)
{
	(void)state;
	assert_int_equal(run("modprobe dm_delay && dmsetup create exchrange-slow --table "
			     "\"0 $(blockdev --getsz $SCRATCH_DEV2) delay $SCRATCH_DEV2 0 %d\"",
			     SLOW_MS), 0);
	slow_device = open_path("/dev/mapper/exchrange-slow", O_RDWR | O_DIRECT);
	fill_slow_device();
	return 0;
}

int drop_slow_device(void **state)
{
	(void)state;
	close(slow_device);
	return run("udevadm settle; dmsetup remove --retry exchrange-slow");
}

void stop_slow_device(void)
{
	assert_int_equal(run("dmsetup suspend --noflush --nolockfs exchrange-slow"), 0);
}

void let_slow_device_go_on(void)
{
	assert_int_equal(run("dmsetup resume exchrange-slow"), 0);
}

static void *do_transfer(void *argument)
{
	struct transfer *transfer = argument;
	off_t offset = (off_t)transfer->block * BLOCK;

	atomic_store(&transfer->tid, syscall(SYS_gettid));
	transfer->result = transfer->to_device ?
			   pwrite(slow_device, transfer->memory, BLOCK, offset) :
			   pread(slow_device, transfer->memory, BLOCK, offset);
	return NULL;
}

/* 'D' is a thread that waits for a device. */
static char thread_state(int tid)
{
	char path[64], state = 0;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	stat = fopen(path, "r");
	assert_non_null(stat);
	assert_int_equal(fscanf(stat, "%*d (%*[^)]) %c", &state), 1);
	fclose(stat);
	return state;
}

void begin_transfer(struct transfer *transfer)
{
	int waiting = 0;

	assert_int_equal(pthread_create(&transfer->thread, NULL, do_transfer, transfer), 0);
	while (waiting < 5) {
		int tid = atomic_load(&transfer->tid);

		usleep(20000);
		waiting = tid && thread_state(tid) == 'D' ? waiting + 1 : 0;
	}
}

void end_transfer(struct transfer *transfer)
{
	let_slow_device_go_on();
	assert_int_equal(pthread_join(transfer->thread, NULL), 0);
	assert_int_equal(transfer->result, BLOCK);
}

/* --- failing ------------------------------------------------------------------------------ */

static const char *failing_disk;

void make_failing_disk(const char *disk)
{
	failing_disk = disk;
	assert_int_equal(run("modprobe dm_mod && modprobe dm_flakey && dmsetup create " FAILING_NAME
			     " --table \"0 $(blockdev --getsz %s) linear %s 0\""
			     /* Where there is no udev to make its node. */
			     " && dmsetup mknodes " FAILING_NAME,
			     disk, disk), 0);
}

int drop_failing_disk(void)
{
	return run("dmsetup remove " FAILING_NAME);
}

void set_table(const char *table)
{
	assert_int_equal(run("DISK=%s; SECTORS=$(blockdev --getsz $DISK)"
			     " && dmsetup load " FAILING_NAME " --table \"%s\""
			     " && dmsetup suspend --nolockfs " FAILING_NAME
			     " && dmsetup resume " FAILING_NAME, failing_disk, table), 0);
}

bool takes_table(const char *table)
{
	return run("DISK=%s; SECTORS=$(blockdev --getsz $DISK)"
		   " && dmsetup load " FAILING_NAME " --table \"%s\" && dmsetup clear " FAILING_NAME,
		   failing_disk, table) == 0;
}

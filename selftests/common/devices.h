/* SPDX-License-Identifier: GPL-2.0 */
/* Devices of the device mapper that tests slow down, stop, and let fail. */
#ifndef SELFTESTS_DEVICES_H
#define SELFTESTS_DEVICES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/* --- a slow one, over $SCRATCH_DEV2 --------------------------------------------------- */

#define SLOW_BLOCKS	1000u
#define SLOW_MS		15	/* that a write takes, or a read */

extern int slow_device;		/* O_DIRECT */

/* Fixtures of a group of tests, too. */
int make_slow_device(void **state);
int drop_slow_device(void **state);

/* What block @number of it is full of, and is again. */
char slow_byte(unsigned int number);
void fill_slow_device(void);

/* Between the two, transfers hang. */
void stop_slow_device(void);
void let_slow_device_go_on(void);

/* One block, from the device to memory or the other way round. */
struct transfer {
	void		*memory;
	bool		to_device;
	unsigned int	block;		/* of the device */
	pthread_t	thread;
	atomic_int	tid;
	ssize_t		result;
};

/* Returns when it hangs, with its page pinned: the device has to be stopped. */
void begin_transfer(struct transfer *transfer);

/* Lets the device go on. */
void end_transfer(struct transfer *transfer);

/* --- one that fails --------------------------------------------------------------------- */

#define FAILING_NAME	"exchrange-failing"
#define FAILING_DISK	"/dev/mapper/" FAILING_NAME

/* A good one, all of @disk. */
#define GOOD_TABLE		"0 $SECTORS linear $DISK 0"
/* What it answers with errors. */
#define ALL_FAILS_TABLE		"0 $SECTORS error"
#define WRITES_FAIL_TABLE	"0 $SECTORS flakey $DISK 0 0 1000 1 error_writes"

void make_failing_disk(const char *disk);
int drop_failing_disk(void);

/* A table of the device mapper, with $SECTORS and $DISK. */
void set_table(const char *table);

/* False: this kernel's device mapper does not know it; Linux 6.1's dm-flakey has no error_reads. */
bool takes_table(const char *table);

#endif /* SELFTESTS_DEVICES_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The disks of the crash harness, by the device mapper.  The file system as it was
 * before the workload is on $SCRATCH_DEV1, and the log on $SCRATCH_DEV2; what is
 * written above them goes to memory and is forgotten.
 */
#ifndef SELFTESTS_CRASH_DISKS_H
#define SELFTESTS_CRASH_DISKS_H

#include "log.h"

#define CRASH_MOUNT	"/mnt/crash"

/* The crash point's, between make_point() and drop_point(). */
extern char point_disk[32];

void load_disks(void);

/*
 * Between these two, writes are logged; the file system is on CRASH_MOUNT, with more @options of
 * its own, or NULL.
 */
void start_recording(const char *options);
void mark(const char *format, ...) __attribute__((format(printf, 1, 2)));
void stop_recording(void);

/*
 * Brings $SCRATCH_DEV1 as far as all that was flushed before the crash point, which
 * only ever goes forwards, and the crash point's disk above it.
 */
void make_point(const struct log *log, struct crash_point point);
void drop_point(void);

/* 0 or an errno; the file system recovers here. */
int mount_point_disk(void);
void unmount(void);

/*
 * Cuts every second file of the mounted file system and removes all of them; 0 or the errno
 * of the first that it did not work with.
 */
int remove_files(void);

/* Whether the kernel has logged an error since it was asked last; prints the first line. */
bool kernel_complains(void);

#endif /* SELFTESTS_CRASH_DISKS_H */

/* SPDX-License-Identifier: MIT */
/* Staging files: within the library only. */
#ifndef EXCHRANGE_STAGE_H
#define EXCHRANGE_STAGE_H

#include <sys/types.h>

/*
 * A staging file for @file, a descriptor of any kind but O_PATH, in the directory @dir of
 * the same mount: open for reading and writing.  It can never get a name.  -1 and errno.
 */
int exchrange_stage_for_file(int dir, int file);

/* One that becomes a file of the directory @dir by exchrange_name_staging(). */
int exchrange_stage_for_name(int dir, mode_t mode);

/* Gives the latter the name; EEXIST where it is taken. */
int exchrange_name_staging(int staging, int dir, const char *name);

#endif /* EXCHRANGE_STAGE_H */

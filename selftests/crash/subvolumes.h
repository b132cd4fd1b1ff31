/* SPDX-License-Identifier: GPL-2.0 */
/* Subvolumes and snapshots of the btrfs on mount_point, by printf() formats of their names. */
#ifndef SELFTESTS_CRASH_SUBVOLUMES_H
#define SELFTESTS_CRASH_SUBVOLUMES_H

/* In the transaction that runs; it is not committed. */
void make_subvolume(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Of all but other subvolumes.  Commits the transaction. */
void make_snapshot(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* If it is there. */
void remove_subvolume(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif /* SELFTESTS_CRASH_SUBVOLUMES_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Watches: descriptors that tell mapped readers of a file when exchanges change it.
 */
#ifndef EXCHRANGE_WATCH_H
#define EXCHRANGE_WATCH_H

#include <linux/list.h>
#include <linux/types.h>

struct exchange_request;
struct file;
struct inode;

/* A file that an exchange is changing, for as long: in the exchange's request. */
struct exchange_under_way {
	struct hlist_node	node;
	const struct inode	*inode;
};

void exchange_watch_start(void);
int exchange_watch_open(struct file *file);

/*
 * Around everything that a reader of the files can see of an exchange, with all that is
 * tried more than once inside: before the first page leaves the cache, and when the
 * contents of both files are what they stay.  None for a dry run.  May be called with
 * all locks of a file system but spin locks; do not sleep.
 */
void exchange_watch_begin(struct exchange_request *request);
void exchange_watch_end(struct exchange_request *request, bool exchanged);

/* An exchange of no bytes, which counts as fsnotify counts it. */
void exchange_watch_empty(struct exchange_request *request);

#endif /* EXCHRANGE_WATCH_H */

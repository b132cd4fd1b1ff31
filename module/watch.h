/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Watches: descriptors that tell mapped readers of a file when exchanges change it.
 */
#ifndef EXCHRANGE_WATCH_H
#define EXCHRANGE_WATCH_H

#include <linux/list.h>
#include <linux/types.h>

struct exchange_vector;
struct file;
struct inode;

/* A file of an exchange, and what watch.c knows it by while it changes. */
struct exchange_inode {
	struct hlist_node	node;	/* zero before */
	struct inode		*inode;
};

void exchange_watch_start(void);
int exchange_watch_open(struct file *file);

/*
 * Around everything that a reader of the files can see of an exchange, with all that is
 * tried more than once inside: before the first page leaves the cache, and when the
 * contents of all files are what they stay.  None for a dry run.  May be called with
 * all locks of a file system but spin locks; do not sleep.
 */
void exchange_watch_begin(struct exchange_vector *vector);
void exchange_watch_end(struct exchange_vector *vector, bool exchanged);

/* An exchange of no bytes, which counts as fsnotify counts it. */
void exchange_watch_empty(struct exchange_vector *vector);

#endif /* EXCHRANGE_WATCH_H */

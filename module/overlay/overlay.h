/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Files on overlayfs, which are exchanged where they really are: in the upper layer.
 */
#ifndef EXCHRANGE_OVERLAY_H
#define EXCHRANGE_OVERLAY_H

#include <linux/fs.h>
#include <linux/exchrange.h>
#include <linux/magic.h>

struct exchange_vector;

static inline bool exchange_is_on_overlay(const struct file *file)
{
	return file_inode(file)->i_sb->s_magic == OVERLAYFS_SUPER_MAGIC;
}

int exchange_overlay_start(void);
void exchange_overlay_stop(void);
int exchange_overlay_query(struct file *file, struct exchrange_query *query);
int exchange_overlay_submit(struct exchange_vector *vector);
struct inode *exchange_overlay_inode(const struct file *file);

#endif /* EXCHRANGE_OVERLAY_H */

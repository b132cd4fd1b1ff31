// SPDX-License-Identifier: GPL-2.0
/*
 * How many staging files a user has at a time.
 *
 * An inode more is the one thing that a staging file takes and a write to its file does not,
 * and its owner, who is another one maybe, pays for it.  So there is a limit, of the user who has
 * called.  A mark of fsnotify, which asks for no event and does not hold the inode, tells
 * when that is gone, however many descriptors and mappings it had.
 *
 * Locks: staged_lock is inside fsnotify's, and none is inside it.
 */
#include <linux/err.h>
#include <linux/fsnotify_backend.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "compat.h"
#include "exchange.h"
#include "users.h"

static unsigned int staging_max_user = 1024;
module_param(staging_max_user, uint, 0644);
MODULE_PARM_DESC(staging_max_user, "Most staging files that a user may have (default: 1024)");

static struct exchange_users users = EXCHANGE_USERS(users);

/* A staging file that is there. */
struct staged {
	struct fsnotify_mark	mark;
	struct exchange_user	*user;
	struct list_head	node;
};

static struct fsnotify_group *group;
static DEFINE_SPINLOCK(staged_lock);
static LIST_HEAD(all_staged);			/* with staged_lock; until the inode goes */
static atomic_t staged_count = ATOMIC_INIT(0);	/* until the memory is freed */
static DECLARE_WAIT_QUEUE_HEAD(no_staged);

static struct staged *staged_of(struct fsnotify_mark *mark)
{
	return container_of(mark, struct staged, mark);
}

/* The inode goes, or the module does. */
static void freeing_mark(struct fsnotify_mark *mark, struct fsnotify_group *owner)
{
	struct staged *staged = staged_of(mark);

	spin_lock(&staged_lock);
	list_del_init(&staged->node);
	spin_unlock(&staged_lock);
	exchange_uncharge_user(&users, staged->user);
	staged->user = NULL;
}

/* From fsnotify's worker, or where it was never on an inode. */
static void free_mark(struct fsnotify_mark *mark)
{
	struct staged *staged = staged_of(mark);

	if (staged->user)
		exchange_uncharge_user(&users, staged->user);
	kfree(staged);
	if (atomic_dec_and_test(&staged_count))
		wake_up_all(&no_staged);
}

/* No mark asks for an event. */
static int handle_inode_event(struct fsnotify_mark *mark, u32 mask, struct inode *inode,
			      struct inode *dir, const struct qstr *name, u32 cookie)
{
	return 0;
}

static const struct fsnotify_ops staged_ops = {
	.handle_inode_event	= handle_inode_event,
	.freeing_mark		= freeing_mark,
	.free_mark		= free_mark,
};

/*
 * Counts @inode, a new staging file, to those of the caller, for as long as it is there.
 * -EUSERS where that has too many, or -ENOMEM.  May sleep.
 */
int exchange_staged_add(struct inode *inode)
{
	struct staged *staged = kzalloc(sizeof(*staged), GFP_KERNEL_ACCOUNT);
	int error;

	if (!staged)
		return -ENOMEM;
	staged->user = exchange_charge_user(&users, READ_ONCE(staging_max_user));
	if (IS_ERR(staged->user)) {
		error = PTR_ERR(staged->user);
		kfree(staged);
		return error;
	}

	atomic_inc(&staged_count);
	fsnotify_init_mark(&staged->mark, group);
	staged->mark.flags |= FSNOTIFY_MARK_FLAG_NO_IREF;
	spin_lock(&staged_lock);
	list_add(&staged->node, &all_staged);
	spin_unlock(&staged_lock);
	error = fsnotify_add_inode_mark(&staged->mark, inode, 0);
	if (error) {
		spin_lock(&staged_lock);
		list_del_init(&staged->node);
		spin_unlock(&staged_lock);
	}
	fsnotify_put_mark(&staged->mark);
	return error;
}

/* One of those that are there, with a reference, or NULL. */
static struct fsnotify_mark *any_mark(void)
{
	struct staged *staged;

	spin_lock(&staged_lock);
	staged = list_first_entry_or_null(&all_staged, struct staged, node);
	/* Who frees it has a reference until freeing_mark() has returned. */
	if (staged)
		refcount_inc(&staged->mark.refcnt);
	spin_unlock(&staged_lock);
	return staged ? &staged->mark : NULL;
}

int exchange_staged_start(void)
{
	/* It is locked where inodes are evicted, by those who need memory too. */
	group = fsnotify_alloc_group(&staged_ops, FSNOTIFY_GROUP_NOFS);
	return PTR_ERR_OR_ZERO(group);
}

/* Nobody calls any more; staging files may be there, and stay. */
void exchange_staged_stop(void)
{
	struct fsnotify_mark *mark;

	while ((mark = any_mark())) {
		fsnotify_destroy_mark(mark, group);
		fsnotify_put_mark(mark);
	}
	wait_event(no_staged, !atomic_read(&staged_count));
	/* Until free_mark() has returned, for the last one. */
	fsnotify_wait_marks_destroyed();
	fsnotify_put_group(group);
}

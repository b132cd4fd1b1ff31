// SPDX-License-Identifier: GPL-2.0
/*
 * Holds: descriptors that keep the contents of a file what they are.
 *
 * A hold makes i_writecount negative, as a program that runs does.  While it is, the VFS refuses
 * each way to get write access to the file, which is what all who change contents have: a
 * descriptor open for writing, one for each shared mapping that may be written to, truncate(2),
 * NFS.  An exchange takes two descriptors open for writing, so there is nothing to refuse here:
 * nobody has them, and where somebody has, there can be no hold.
 *
 * So whoever holds a file keeps all writers out.  It takes the right to write to it, which is to
 * keep others from finding what they wrote; and there is a limit for each user.
 *
 * The table is for QUERY alone, which tells whom to ask.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/path.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "exchange.h"
#include "users.h"

static unsigned int holds_max_user = 1024;
module_param(holds_max_user, uint, 0644);
MODULE_PARM_DESC(holds_max_user, "Most holds that a user may have (default: 1024)");

static struct exchange_users users = EXCHANGE_USERS(users);

/* The path keeps the inode and the mount, and no locks or leases of the caller's file. */
struct hold {
	struct hlist_node	node;
	struct path		path;
	struct inode		*inode;		/* that has the data: on overlayfs another one */
	struct exchange_user	*user;
	struct pid		*holder;	/* who called */
};

#define BUCKET_BITS	10
#define MOST_COUNTED	10000	/* by QUERY: with the lock, and there may be millions */

/* Of the holds of some inodes.  Nothing is inside the lock. */
struct bucket {
	spinlock_t		lock;		/* of the list */
	struct hlist_head	holds;
};

static struct bucket buckets[1 << BUCKET_BITS];

/* The inode of the caller's file. */
static struct inode *inode_of(const struct hold *hold)
{
	return d_inode(hold->path.dentry);
}

static struct bucket *bucket_of(const struct inode *inode)
{
	return &buckets[hash_ptr((void *)inode, BUCKET_BITS)];
}

/* --- who holds ------------------------------------------------------------------------- */

/* As the caller sees it: 0 where it has ended, or is in a PID namespace that is not seen. */
static pid_t number_of(struct pid *holder)
{
	pid_t number;

	rcu_read_lock();
	number = pid_task(holder, PIDTYPE_TGID) ? pid_vnr(holder) : 0;
	rcu_read_unlock();
	return number;
}

/* Puts into @query how many hold @inode, and one of those who called that is still there. */
void exchange_hold_query(const struct inode *inode, struct exchrange_query *query)
{
	struct bucket *bucket = bucket_of(inode);
	struct hold *hold;

	spin_lock(&bucket->lock);
	hlist_for_each_entry(hold, &bucket->holds, node) {
		if (hold->inode != inode)
			continue;
		if (!query->holder)
			query->holder = number_of(hold->holder);
		if (++query->holds >= MOST_COUNTED)
			break;
	}
	spin_unlock(&bucket->lock);
}

static void add_hold(struct hold *hold)
{
	struct bucket *bucket = bucket_of(hold->inode);

	spin_lock(&bucket->lock);
	hlist_add_head(&hold->node, &bucket->holds);
	spin_unlock(&bucket->lock);
}

static void remove_hold(struct hold *hold)
{
	struct bucket *bucket = bucket_of(hold->inode);

	spin_lock(&bucket->lock);
	hlist_del(&hold->node);
	spin_unlock(&bucket->lock);
}

/* --- who writes -------------------------------------------------------------------------- */

/* As deny_write_access(), which takes an open file: -ETXTBSY where somebody writes. */
static int deny_writers(struct inode *inode)
{
	return atomic_dec_unless_positive(&inode->i_writecount) ? 0 : -ETXTBSY;
}

/* The overlay's file, and the one that has the data: others may name that. */
static int deny_all_writers(struct file *file, struct inode *data)
{
	int error = deny_writers(file_inode(file));

	if (error || data == file_inode(file))
		return error;
	error = deny_writers(data);
	if (error)
		atomic_inc(&file_inode(file)->i_writecount);
	return error;
}

static void allow_writers(const struct hold *hold)
{
	atomic_inc(&hold->inode->i_writecount);
	if (inode_of(hold) != hold->inode)
		atomic_inc(&inode_of(hold)->i_writecount);
}

/* --- the descriptor ---------------------------------------------------------------------- */

static void hold_show_fdinfo(struct seq_file *out, struct file *file)
{
	const struct hold *hold = file->private_data;
	const struct inode *inode = inode_of(hold);

	seq_printf(out, "exchrange-hold ino:%lx sdev:%x\n",
		   (unsigned long)inode->i_ino, inode->i_sb->s_dev);
}

static void drop_hold(struct hold *hold)
{
	remove_hold(hold);
	allow_writers(hold);
	exchange_uncharge_user(&users, hold->user);
	put_pid(hold->holder);
	path_put(&hold->path);
	kfree(hold);
}

static int hold_release(struct inode *inode, struct file *file)
{
	drop_hold(file->private_data);
	return 0;
}

static const struct file_operations hold_fops = {
	.owner		= THIS_MODULE,
	.release	= hold_release,
	.show_fdinfo	= hold_show_fdinfo,
	.llseek		= noop_llseek,
};

/* The caller might write to @file.  ERR_PTR(): -ETXTBSY where somebody does, -EUSERS, -ENOMEM. */
static struct hold *make_hold(struct file *file)
{
	struct hold *hold = kzalloc(sizeof(*hold), GFP_KERNEL_ACCOUNT);
	int error;

	if (!hold)
		return ERR_PTR(-ENOMEM);
	hold->user = exchange_charge_user(&users, READ_ONCE(holds_max_user));
	if (IS_ERR(hold->user)) {
		error = PTR_ERR(hold->user);
		goto out_free;
	}
	hold->inode = exchange_data_inode(file);
	error = deny_all_writers(file, hold->inode);
	if (error)
		goto out_uncharge;
	hold->path = file->f_path;
	path_get(&hold->path);
	hold->holder = get_pid(task_tgid(current));
	add_hold(hold);
	return hold;

out_uncharge:
	exchange_uncharge_user(&users, hold->user);
out_free:
	kfree(hold);
	return ERR_PTR(error);
}

/*
 * A descriptor of a new hold of @file, whose reference the caller has.  Takes no lock of its own,
 * may sleep.  The errors are in the header of the device; after one there is no hold.
 */
int exchange_hold(struct file *file)
{
	struct hold *hold;
	int ret;

	ret = exchange_check_readable(file) ?: exchange_check_overwrite(file);
	if (ret)
		return ret;
	hold = make_hold(file);
	if (IS_ERR(hold))
		return PTR_ERR(hold);
	ret = anon_inode_getfd("[exchrange-hold]", &hold_fops, hold, O_RDONLY | O_CLOEXEC);
	if (ret < 0)
		drop_hold(hold);
	return ret;
}

/* At load, before anybody can call. */
void exchange_hold_start(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(buckets); i++)
		spin_lock_init(&buckets[i].lock);
}

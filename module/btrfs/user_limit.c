// SPDX-License-Identifier: GPL-2.0
/*
 * What those without CAP_SYS_ADMIN may exchange within one transaction.
 *
 * Whoever waits for a commit, as everybody's fsync after an exchange, waits for all references
 * that changed in the transaction.  So there is a limit for a call (transaction.c counts),
 * and one for all calls in one transaction, which is here: who would pass it commits the
 * transaction first.
 */
#include <linux/capability.h>
#include <linux/moduleparam.h>
#include <linux/spinlock.h>

#include "exchange.h"

static unsigned int btrfs_max_extents_user = 4096;
module_param(btrfs_max_extents_user, uint, 0644);
MODULE_PARM_DESC(btrfs_max_extents_user,
		 "Most extents of both files, on btrfs, for callers without CAP_SYS_ADMIN (default: 4096)");

/* What was exchanged in the transaction that is running on a file system. */
struct work {
	const struct btrfs_fs_info	*fs_info;
	u64				transid;
	u64				extents;
	u64				turn;		/* the last that it was asked for */
};

/* With more file systems than these, the one that was quiet for longest is counted anew. */
static struct work works[32];
static u64 turns;
static DEFINE_SPINLOCK(works_lock);

static struct work *find_work(const struct btrfs_fs_info *fs_info)
{
	struct work *work, *quiet = works;

	for (work = works; work < works + ARRAY_SIZE(works); work++) {
		if (work->fs_info == fs_info)
			return work;
		if (work->turn < quiet->turn)
			quiet = work;
	}
	*quiet = (struct work) { .fs_info = fs_info };
	return quiet;
}

/* Extents of both files that anybody may exchange in one call. */
u32 btrfs_user_limit(void)
{
	return min(READ_ONCE(btrfs_max_extents_user), MAX_EXTENTS);
}

static bool has_room(const struct work *work, u64 extents)
{
	return !work->extents || work->extents + extents <= btrfs_user_limit();
}

/*
 * Counts @extents to what was exchanged in the transaction @transid of @fs_info, which is
 * running and cannot be committed meanwhile.  False where it is too much: the caller commits
 * it and comes again.
 */
bool btrfs_admit_work(const struct btrfs_fs_info *fs_info, u64 transid, u64 extents)
{
	struct work *work;
	bool admitted;

	spin_lock(&works_lock);
	work = find_work(fs_info);
	work->turn = ++turns;
	if (work->transid != transid)
		work->extents = 0;
	work->transid = transid;
	admitted = has_room(work, extents);
	if (admitted)
		work->extents += extents;
	spin_unlock(&works_lock);
	return admitted || capable(CAP_SYS_ADMIN);
}

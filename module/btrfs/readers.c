// SPDX-License-Identifier: GPL-2.0
/*
 * Readers that have the last page of a file, and not its size yet.
 *
 * A read takes no lock: it takes a reference to the page, looks at the size, and copies.  A
 * size that changed in between would show it an old page up to a new end.  So an exchange
 * that changes a size takes that page out of the cache, and waits until those who have it
 * are done.  With the locks only for as long as it takes to copy, since some of them wait
 * for these (readahead): then it begins anew.  And not for ever: a pipe may hold a page for
 * as long as somebody likes.
 */
#include <linux/delay.h>
#include <linux/fadvise.h>
#include <linux/jiffies.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "exchange.h"

/* So often an exchange waits for a page that is being read from the disk. */
#define READS		8
/* And looks at a page with all locks: copying takes microseconds; then half a millisecond. */
#define LOOKS		64
#define SLEEPS		5

/* The page of @side that has the nearer end, with a reference; NULL where there is none. */
static struct folio *get_end_folio(const struct btrfs_pair *pair, int side)
{
	struct folio *folio;
	pgoff_t index;

	if (!btrfs_pair_end_page(pair, side, &index))
		return NULL;
	folio = filemap_get_folio(btrfs_pair_inode(pair, side)->i_mapping, index);
	return IS_ERR_OR_NULL(folio) ? NULL : folio;
}

/* One of a pair's that is being read from the disk. */
static struct folio *get_folio_of_pair(const struct btrfs_pair *pair)
{
	int i;

	for (i = 0; i < 2; i++) {
		struct folio *folio = get_end_folio(pair, i);

		if (folio && !folio_test_uptodate(folio))
			return folio;
		if (folio)
			folio_put(folio);
	}
	return NULL;
}

/* One of all of them. */
static struct folio *get_folio_being_read(const struct btrfs_exchange *exchange)
{
	const struct btrfs_pair *pair;
	struct folio *folio;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair)) {
		folio = get_folio_of_pair(pair);
		if (folio)
			return folio;
	}
	return NULL;
}

/*
 * Takes all files' invalidate_locks.  Whoever waits for a page to be read waits for this lock
 * too, with a reference, for which btrfs_exchange_drop_cache() would wait in vain.  So the
 * lock is taken when there is no such page.  The caller holds the inodes' locks, and has
 * set the new sizes.
 */
void btrfs_exchange_lock_cache(const struct btrfs_exchange *exchange)
{
	struct folio *folio;
	int reads;

	for (reads = 0;; reads++) {
		exchange_lock_mappings(exchange->vector);
		folio = reads < READS ? get_folio_being_read(exchange) : NULL;
		if (!folio)
			return;
		exchange_unlock_mappings(exchange->vector);
		folio_wait_locked(folio);
		folio_put(folio);
	}
}

/* Puts what this CPU keeps of pages on its way where it belongs: that has references. */
static void drain_batches(struct file *file, const struct folio *folio)
{
	vfs_fadvise(file, (loff_t)folio->index << PAGE_SHIFT, PAGE_SIZE,
		    POSIX_FADV_DONTNEED);
}

/* Whether nobody has @folio, or has it no longer after a moment. */
static bool is_let_go(struct file *file, struct folio *folio)
{
	int i;

	for (i = 0; i < LOOKS + SLEEPS; i++) {
		if (!exchange_is_held(folio, 1)) {
			/* Who had it has read the old size, before the new is written. */
			smp_acquire__after_ctrl_dep();
			return true;
		}
		if (i < LOOKS) {
			cpu_relax();
			continue;
		}
		if (i == LOOKS)
			drain_batches(file, folio);
		usleep_range(50, 100);
	}
	return false;
}

/* The pages of all ends that are going to be others, with references. */
static void get_ends(struct btrfs_exchange *exchange)
{
	struct btrfs_pair *pair;
	int i;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair))
		for (i = 0; i < 2; i++)
			pair->held[i] = get_end_folio(pair, i);
}

/* Puts those that nobody else has; all of them with @all. */
static void put_ends(struct btrfs_exchange *exchange, bool all)
{
	struct btrfs_pair *pair;
	int i;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair))
		for (i = 0; i < 2; i++) {
			if (!pair->held[i])
				continue;
			if (!all && !is_let_go(exchange_request_file(pair->request, i),
					       pair->held[i])) {
				exchange->readers_stay = true;
				continue;
			}
			folio_put(pair->held[i]);
			pair->held[i] = NULL;
		}
}

/*
 * Drops the pages of what is going to move, as btrfs_exchange_drop_pages().  Where somebody
 * reads an end that is going to be another one, held[] of its pair has its page, and the
 * answer is -EBUSY: btrfs_exchange_await_readers() follows, without a lock.  An exchange that
 * is not patient does not look.
 */
int btrfs_exchange_drop_cache(struct btrfs_exchange *exchange)
{
	int error;

	if (exchange->patient)
		get_ends(exchange);
	error = btrfs_exchange_drop_pages(exchange);
	exchange->pages_stay = error == -EBUSY;
	put_ends(exchange, error);
	return error ?: exchange->readers_stay ? -EBUSY : 0;
}

/*
 * Waits until nobody has the pages that btrfs_exchange_drop_cache() has found held, or for
 * @patience jiffies, which become what is left of them.  -EINTR for a caller that is being
 * killed.
 */
int btrfs_exchange_await_readers(struct btrfs_exchange *exchange,
				 unsigned long *patience)
{
	unsigned long begin = jiffies, deadline = begin + *patience;
	struct btrfs_pair *pair;
	int i, error = 0;

	for (pair = btrfs_first_pair(exchange); pair; pair = btrfs_next_pair(exchange, pair))
		for (i = 0; i < 2; i++) {
			struct folio *folio = pair->held[i];

			if (!folio)
				continue;
			while (!error && exchange_is_held(folio, 1) &&
			       time_before(jiffies, deadline)) {
				usleep_range(100, 500);
				if (fatal_signal_pending(current))
					error = -EINTR;
			}
			folio_put(folio);
			pair->held[i] = NULL;
		}
	*patience -= min(*patience, jiffies - begin);
	return error;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a range out of the page cache, and out of all mappings, without losing a byte.
 *
 * The cache is never truncated: truncation zeroes its part of a large folio that cannot be
 * split, and where that has become dirty again the zeroes are written back.  It also forgets
 * what a device has just written to a page.  What is dirty is written back here, and only
 * clean folios are let go of, whole.
 *
 * A device writes to a page through a pin (O_DIRECT reads into a mapping): once the folio
 * has left the cache, what comes goes nowhere, also what comes to pages of the folio that
 * are outside the range.  So pins are waited for.  New ones cannot come: they take an entry
 * of a page table that may be written to, and to make one takes the invalidate_lock.
 *
 * Before Linux 6.5 transfers have a reference each, and no pin.  There exchange_has_transfers()
 * looks for references of any kind before the exchange takes some of its own.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/static_call.h>
#include <linux/swap.h>

#include "compat.h"
#include "exchange.h"
#include "private_symbols.h"

/*
 * Whether @test says so of a folio of the pages @start to @last, which is locked: whoever makes
 * an entry of a page table writable has that lock.
 */
static bool any_folio(struct address_space *mapping, pgoff_t start, pgoff_t last,
		      bool (*test)(struct folio *folio, u32 *waits), u32 *waits)
{
	struct folio_batch batch;
	bool found = false;
	unsigned int i;

	folio_batch_init(&batch);
	while (!found && filemap_get_folios(mapping, &start, last, &batch)) {
		for (i = 0; i < folio_batch_count(&batch) && !found; i++) {
			struct folio *folio = batch.folios[i];

			folio_lock(folio);
			found = folio->mapping == mapping && test(folio, waits);
			folio_unlock(folio);
		}
		folio_batch_release(&batch);
		cond_resched();
	}
	return found;
}

static void unmap(struct folio *folio)
{
	if (folio_mapped(folio))
		unmap_mapping_pages(folio->mapping, folio->index, folio_nr_pages(folio), false);
}

/* --- where transfers do not pin ----------------------------------------------------- */

#ifdef COMPAT_TRANSFERS_PIN
const struct private_symbol *exchange_drain_symbol(void)
{
	return NULL;
}

bool exchange_has_transfers(const struct exchange_vector *vector)
{
	return false;
}
#else
/* So often a folio that somebody has a reference to is looked at, and so many of them in a call. */
#define LOOKS		8
#define MOST_WAITS	64

DEFINE_STATIC_CALL_NULL(drain_batches, lru_add_drain_all);

static const struct private_symbol drain_symbol = {
	.name		= "lru_add_drain_all",
	.key		= &STATIC_CALL_KEY(drain_batches),
	.trampoline	= STATIC_CALL_TRAMP_ADDR(drain_batches),
};

/* What has to be bound for exchange_has_transfers(), or NULL. */
const struct private_symbol *exchange_drain_symbol(void)
{
	return &drain_symbol;
}

/*
 * By how many references, as folio_mapcount(), which is not exported there.  One mapping of a
 * whole folio has a single one, and counts for each of its pages.
 */
static int count_mappings(struct folio *folio)
{
	long pages = folio_nr_pages(folio), i;
	int count = 0;

	for (i = 0; i < pages; i++)
		count += atomic_read(&folio_page(folio, i)->_mapcount) + 1;
	if (folio_test_large(folio))
		count -= folio_entire_mapcount(folio) * (pages - 1);
	return count;
}

/*
 * By anybody else than the caller, those @mapped, the page cache, and the file system for what
 * it keeps of it.  A CPU's batch counts too: that it has a folio which is on no LRU list
 * cannot be told from the flag and the count, which do not change together.
 */
static bool has_others(struct folio *folio, int mapped)
{
	return folio_ref_count(folio) >
	       1 + mapped + folio_nr_pages(folio) + folio_test_private(folio);
}

static bool is_referenced(struct folio *folio)
{
	int mapped = count_mappings(folio);

	return has_others(folio, mapped) || count_mappings(folio) != mapped;
}

/* Who maps it needs the lock, which the caller has: then there is nothing to be counted. */
static bool is_referenced_unmapped(struct folio *folio)
{
	unmap(folio);
	return has_others(folio, 0);
}

/*
 * Somebody may read a folio, who is done soon, and may wait for its lock.  A CPU's batch of those
 * that change their LRU list has it for as long as the CPU has no more of them, unless it is
 * drained.
 */
static bool stays(struct folio *folio, bool (*look)(struct folio *folio), u32 *waits)
{
	int i;

	if (!look(folio))
		return false;
	if (fatal_signal_pending(current) || ++*waits > MOST_WAITS)
		return true;
	if (*waits % 16 == 1)
		static_call_cond(drain_batches)();
	for (i = 0; i < LOOKS && look(folio); i++) {
		folio_unlock(folio);
		usleep_range(50, 100);
		folio_lock(folio);
	}
	return look(folio);
}

static bool stays_referenced(struct folio *folio, u32 *waits)
{
	return stays(folio, is_referenced, waits);
}

static bool stays_referenced_unmapped(struct folio *folio, u32 *waits)
{
	return stays(folio, is_referenced_unmapped, waits);
}

static bool unmap_unless_killed(struct folio *folio, u32 *waits)
{
	unmap(folio);
	return fatal_signal_pending(current);
}

/*
 * Before anything is unmapped, so that a look which finds something takes nobody's mapping away,
 * who would need the pages again, with references; and after that, when readers alone can map them.
 */
static bool has_referenced(struct address_space *mapping, pgoff_t start, pgoff_t last,
			   u32 waits[2])
{
	return any_folio(mapping, start, last, stays_referenced, &waits[0]) ||
	       any_folio(mapping, start, last, unmap_unless_killed, NULL) ||
	       any_folio(mapping, start, last, stays_referenced_unmapped, &waits[1]);
}

static bool has_transfers(const struct exchange_request *request, int side, u32 waits[2])
{
	struct address_space *mapping = exchange_request_file(request, side)->f_mapping;
	u64 start = exchange_request_offset(request, side);
	u64 end = request->flags & EXCHRANGE_TO_EOF ? MAX_LFS_FILESIZE : start + request->length;

	return start < end && mapping_writably_mapped(mapping) &&
	       has_referenced(mapping, start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT, waits);
}

/*
 * Whether a device may still write to a page of @vector's ranges, of a file that somebody has
 * mapped for writing: whether anybody has a reference to it.  One look without any is enough:
 * who gets one later does not get it by a page table that may be written to.  Whoever waits for
 * a lock to write to a page has a reference, too: so the caller, who has all inodes' locks and
 * invalidate_locks, lets go of them before it looks again.
 */
bool exchange_has_transfers(const struct exchange_vector *vector)
{
	u32 waits[2] = { }, i;
	bool found = false;

	for (i = 0; i < vector->count && !found; i++) {
		found = has_transfers(&vector->requests[i], 0, waits) ||
			has_transfers(&vector->requests[i], 1, waits);
		cond_resched();
	}
	/* Who had a page has made it dirty before letting go of it. */
	smp_rmb();
	return found;
}
#endif

/* --- all kernels -------------------------------------------------------------------- */

static bool is_pinned(struct folio *folio, u32 *waits)
{
	unmap(folio);
	return folio_maybe_dma_pinned(folio);
}

/*
 * Whether a folio of the pages @start to @last is pinned.  They are unmapped then.  Pins count
 * only where somebody has mapped the file for writing: else who may only read it could keep
 * it pinned.  The caller holds what keeps entries of page tables from becoming writable.
 */
bool exchange_has_pinned_pages(struct address_space *mapping, pgoff_t start, pgoff_t last)
{
	return mapping_writably_mapped(mapping) &&
	       any_folio(mapping, start, last, is_pinned, NULL);
}

/*
 * Whether anyone but the caller, who has @references, has a reference to @folio, which has left
 * the cache.  One that is on no LRU list is in a CPU's batch of those that go there, or was taken
 * from one: that is a reference too.
 */
bool exchange_is_held(struct folio *folio, int references)
{
	bool listed = folio_test_lru(folio);
	int count;

	/* Not listed before and after: else it has come to a batch, or left it, in between. */
	smp_rmb();
	count = folio_ref_count(folio);
	/* The count between both looks at the flag. */
	smp_rmb();
	listed = listed || folio_test_lru(folio);
	/* And the same once more: the flag may have changed twice. */
	smp_rmb();
	return count > references + (listed ? 0 : 1) || folio_ref_count(folio) != count;
}

/* -EBUSY: a folio is pinned or has become dirty again. */
static int try_to_drop(struct address_space *mapping, loff_t start, loff_t last)
{
	pgoff_t first_page = start >> PAGE_SHIFT, last_page = last >> PAGE_SHIFT;

	if (exchange_has_pinned_pages(mapping, first_page, last_page))
		return -EBUSY;
	return filemap_write_and_wait_range(mapping, start, last) ?:
	       invalidate_inode_pages2_range(mapping, first_page, last_page);
}

/* How long an exchange waits for them, in jiffies. */
#define PIN_TIMEOUT	HZ

/*
 * A moment.  What has taken time before the first one, as locks and the disk do, does not count.
 * -EBUSY where the exchange has waited long enough; -EINTR for a caller that is being killed.
 */
int exchange_wait_for_pins(struct exchange_pin_wait *wait)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	if (!wait->begun)
		wait->give_up = jiffies + PIN_TIMEOUT;
	wait->begun = true;
	if (time_after(jiffies, wait->give_up))
		return -EBUSY;
	schedule_timeout_killable(1);
	return 0;
}

/*
 * Nothing of [start, last], in bytes, is cached or mapped when this returns 0, nor comes back
 * before the locks go: the caller holds the inode's lock and the invalidate_lock exclusively.
 * Folios that are partly in the range go whole.  -EBUSY where some were still pinned when
 * @wait was over; -EINTR for a caller that is being killed; errors of writing back.
 */
int exchange_drop_pages(struct address_space *mapping, loff_t start, loff_t last,
			struct exchange_pin_wait *wait)
{
	int error;

	while ((error = try_to_drop(mapping, start, last)) == -EBUSY) {
		error = exchange_wait_for_pins(wait);
		if (error)
			break;
	}
	return error;
}

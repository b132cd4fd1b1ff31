/* SPDX-License-Identifier: MIT */
/*
 * What a transaction has written of a database and the database's file does not have yet.
 *
 * The file is cut into units: what can be exchanged.  A unit that the file has is kept in a
 * slot, anywhere in the staging file "slots", which is overwritten for ever.  All from the
 * file's last whole unit on is kept in the staging file "tail", at its distance from there,
 * since it changes places with the file's own end, and the size with it.
 *
 * Functions return 0 or an errno unless they say otherwise, and need the caller's lock.
 */
#ifndef EXCHRANGE_SQLITE_PAGES_H
#define EXCHRANGE_SQLITE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include <exchrange.h>

/* An entry of a hash table; slot 0 is the first. */
struct page_slot {
	uint64_t	unit;		/* of the file, counted from 0 */
	uint32_t	slot;
	bool		taken;
};

struct pages {
	int		file;		/* the database's, for reading; borrowed */
	int		slots, tail;	/* staging files, owned; -1: none */
	uint32_t	unit;		/* bytes */

	bool		begun;		/* what follows means something */
	bool		tail_used;
	uint64_t	old_size;	/* of the file */
	uint64_t	base;		/* where the tail begins: old_size, rounded down */
	uint64_t	size;		/* of the file, as the transaction has it */
	struct page_slot *table;	/* open addressing */
	uint32_t	room;		/* entries, a power of two, or 0 */
	uint32_t	count;		/* slots that are taken */
};

void pages_init(struct pages *pages, int file, uint32_t unit);

/* Closes the staging files, frees the rest. */
void pages_drop(struct pages *pages);

/*
 * Closes the staging files after an I/O error, which the kernel may tell again of each of them.
 * Only pages_forget() may follow; the next transaction takes others.
 */
void pages_give_up(struct pages *pages);

/* The staging files are there. */
bool pages_ready(const struct pages *pages);

/* Whether some of [offset, offset + length) is other than the file has it. */
bool pages_have(const struct pages *pages, uint64_t offset, uint64_t length);

/*
 * The bytes at @offset as the transaction has them, all of them: zeros behind the end.
 * *@missing is how many those are.
 */
int pages_read(const struct pages *pages, void *buffer, uint32_t length, uint64_t offset,
	       uint32_t *missing);

/* Begins a transaction where none has begun.  The staging files must be there. */
int pages_write(struct pages *pages, const void *buffer, uint32_t length, uint64_t offset);

/* The same for a size that is nearer, or further: with zeros. */
int pages_truncate(struct pages *pages, uint64_t size);

/*
 * Ends the transaction; what was written is gone.  Gives back space beyond a few MiB.
 *
 * @reuse: false where the slots got what the file had by an exchange that may not be durable:
 * after a crash these blocks are the file's again, so that nothing must be written to them.
 */
void pages_forget(struct pages *pages, bool reuse);

/*
 * The exchange that makes the transaction the file's, @chunk aside: the size becomes a
 * multiple of that, unless it is 0.  *@pairs is for sqlite3_free(), sorted, and has at least one
 * where anything has changed but a size that is nearer.
 */
int pages_pairs(struct pages *pages, uint32_t chunk, struct exchrange_pair **pairs,
		uint32_t *count);

/* Calls @each for each run of bytes that is other than the file has it, in order. */
int pages_each(const struct pages *pages,
	       int (*each)(void *context, uint64_t offset, uint64_t length), void *context);

#endif /* EXCHRANGE_SQLITE_PAGES_H */

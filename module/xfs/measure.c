// SPDX-License-Identifier: GPL-2.0
/*
 * What the log takes of the blocks of a tree in which records are replaced where they are.
 *
 * A change marks chunks of 128 bytes in its buffer, and a buffer is logged with all that
 * are marked since it was written back.  So its share of the log is what is marked already,
 * and what the change adds: for a record, or for the keys of a block, two chunks, since
 * either may lie across their border.
 *
 * What is marked grows only with the buffer's lock.  Those who may change a block map hold
 * its file's ILOCK, and those who may change an rmapbt that of its AG's header: so what is
 * measured stays true as long as these are held, and is measured again where they were not.
 */
#include <linux/bitops.h>
#include <linux/minmax.h>

#include "measure.h"

#define CHUNK			128	/* XFS_BLF_CHUNK */
/* A chunk may be a region of its own, with a header, rounded up. */
#define CHUNK_BYTES		(CHUNK + XLOG_OP_HEADER_BYTES)
#define CHUNKS_A_CHANGE		2

/* Chunks of @buffer that would go to the log though nothing more of it changed; its lock. */
static unsigned int marked_chunks(const struct xfs_buf *buffer)
{
	const struct xfs_buf_log_item *item = buffer->b_log_item;
	unsigned int chunks = 0, word;
	int part;

	if (!item)
		return 0;
	for (part = 0; part < item->bli_format_count; part++) {
		const struct xfs_buf_log_format *format = &item->bli_formats[part];

		for (word = 0; word < format->blf_map_size; word++)
			chunks += hweight32(format->blf_data_map[word]);
	}
	return chunks;
}

/* Adds @chunks to the last block of @level, which has no more than its size. */
static void add_chunks(struct xfs_walk_measure *measure, int level, unsigned int chunks,
		       unsigned int most)
{
	chunks = min(chunks, most - min(most, measure->chunks[level]));
	measure->chunks[level] += chunks;
	measure->bytes += chunks * CHUNK_BYTES;
}

/*
 * Counts the record that @cursor is on as one that is replaced.  It may be the first or the
 * last of its block, so the keys of that block in the one above may change too, and so on up;
 * what is said of them is said once for each block.  Records come in the tree's order.
 * The cursor's buffers are locked.
 */
void xfs_measure_record(struct xfs_walk_measure *measure, const struct xfs_btree_cur *cursor)
{
	unsigned int most = cursor->bc_mp->m_sb.sb_blocksize / CHUNK;
	int level;

	for (level = 0; level < cursor->bc_nlevels && level < MEASURED_LEVELS; level++) {
		const struct xfs_buf *block = cursor->bc_levels[level].bp;
		bool seen = block == measure->block[level];

		/* The root of a block map is in its inode. */
		if (!block)
			return;
		if (!seen) {
			measure->block[level] = block;
			measure->chunks[level] = 0;
			measure->bytes += BUFFER_BYTES;
			add_chunks(measure, level, marked_chunks(block), most);
		}
		add_chunks(measure, level, CHUNKS_A_CHANGE, most);
		if (seen)
			return;
	}
}

/* Bytes that the log takes of a buffer with its @regions: not rounded up, as iop_size() has it. */
u64 xfs_measure_item(const struct xfs_buf_log_item *item, int regions)
{
	u64 bytes = marked_chunks(item->bli_buf) * CHUNK + regions * XLOG_OP_HEADER_BYTES;
	int part;

	for (part = 0; part < item->bli_format_count; part++)
		bytes += XFS_BUF_LOG_FORMAT_SIZE +
			 item->bli_formats[part].blf_map_size * sizeof(u32);
	return bytes;
}

/* A block of which a few bytes of the header change.  Its lock. */
u64 xfs_measure_block(const struct xfs_buf *buffer)
{
	return BUFFER_BYTES + (marked_chunks(buffer) + 1) * CHUNK_BYTES;
}

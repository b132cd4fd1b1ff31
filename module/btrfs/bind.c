// SPDX-License-Identifier: GPL-2.0
/*
 * The functions of btrfs that private.list names, bound while btrfs is loaded, and for file
 * systems of a format that is known.
 */
#include "../private_symbols.h"
#include "exchange.h"

/*
 * The features that this version was tested with, or that lie below what an exchange
 * touches (chunks on several devices).
 */
#define KNOWN_INCOMPAT	(BTRFS_FEATURE_INCOMPAT_MIXED_BACKREF |		\
			 BTRFS_FEATURE_INCOMPAT_DEFAULT_SUBVOL |	\
			 BTRFS_FEATURE_INCOMPAT_MIXED_GROUPS |		\
			 BTRFS_FEATURE_INCOMPAT_COMPRESS_LZO |		\
			 BTRFS_FEATURE_INCOMPAT_COMPRESS_ZSTD |		\
			 BTRFS_FEATURE_INCOMPAT_BIG_METADATA |		\
			 BTRFS_FEATURE_INCOMPAT_EXTENDED_IREF |		\
			 BTRFS_FEATURE_INCOMPAT_RAID56 |		\
			 BTRFS_FEATURE_INCOMPAT_SKINNY_METADATA |	\
			 BTRFS_FEATURE_INCOMPAT_NO_HOLES |		\
			 BTRFS_FEATURE_INCOMPAT_METADATA_UUID |		\
			 BTRFS_FEATURE_INCOMPAT_RAID1C34 |		\
			 BTRFS_FEATURE_INCOMPAT_SIMPLE_QUOTA)
#define KNOWN_COMPAT_RO	(BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE |	 \
			 BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE_VALID | \
			 BTRFS_FEATURE_COMPAT_RO_VERITY |		 \
			 BTRFS_FEATURE_COMPAT_RO_BLOCK_GROUP_TREE)

DEFINE_PRIVATE_FUNCTIONS;

static const struct private_symbol functions[] = { PRIVATE_SYMBOL_TABLE };

static struct private_symbols btrfs_symbols = {
	.module_name	= "btrfs",
	.built_in	= PRIVATE_BUILT_IN,
	.purpose	= "the btrfs back end",
	.btf_sha256	= PRIVATE_BTF_SHA256,
	.untested	= PRIVATE_UNTESTED,
	.symbols	= functions,
	.count		= ARRAY_SIZE(functions),
};

int btrfs_bind_start(void)
{
	return private_symbols_start(&btrfs_symbols);
}

void btrfs_bind_stop(void)
{
	private_symbols_stop(&btrfs_symbols);
}

/* Features may be added while it is mounted: so each call looks. */
static bool is_known_format(const struct super_block *sb)
{
	const struct btrfs_fs_info *fs_info = sb->s_fs_info;
	const struct btrfs_super_block *super = fs_info->super_copy;

	return !(le64_to_cpu(super->incompat_flags) & ~KNOWN_INCOMPAT) &&
	       !(le64_to_cpu(super->compat_ro_flags) & ~KNOWN_COMPAT_RO);
}

/*
 * EXCHRANGE_REASON_NONE: btrfs's functions may be called until
 * btrfs_bind_put(@sb), whose file the caller holds.  Else why they may not.
 */
u32 btrfs_bind_get(const struct super_block *sb)
{
	u32 reason = private_symbols_get(&btrfs_symbols, sb->s_type);

	if (reason != EXCHRANGE_REASON_NONE)
		return reason;
	if (is_known_format(sb))
		return EXCHRANGE_REASON_NONE;
	btrfs_bind_put(sb);
	return EXCHRANGE_REASON_BTRFS_FORMAT;
}

void btrfs_bind_put(const struct super_block *sb)
{
	private_symbols_put(sb->s_type);
}

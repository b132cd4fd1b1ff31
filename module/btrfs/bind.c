// SPDX-License-Identifier: GPL-2.0
/*
 * The functions of btrfs that private.list names, bound while btrfs is loaded.
 */
#include "../private_symbols.h"
#include "exchange.h"

DEFINE_PRIVATE_FUNCTIONS;

static const struct private_symbol functions[] = { PRIVATE_SYMBOL_TABLE };

static struct private_symbols btrfs_symbols = {
	.module_name	= "btrfs",
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

/*
 * EXCHRANGE_REASON_NONE: btrfs's functions may be called until
 * btrfs_bind_put(@sb), whose file the caller holds.  Else why they may not.
 */
u32 btrfs_bind_get(const struct super_block *sb)
{
	return private_symbols_get(&btrfs_symbols, sb->s_type->owner);
}

void btrfs_bind_put(const struct super_block *sb)
{
	private_symbols_put(sb->s_type->owner);
}

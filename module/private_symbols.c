// SPDX-License-Identifier: GPL-2.0
/*
 * Binds functions that a file system does not export, and those of the kernel itself that
 * rights.c and drop_pages.c call.
 *
 * They are found by name with kallsyms_lookup_name(), which is not exported
 * itself: a kprobe, which lives for one look-up, knows its address; where the kernel
 * has no kprobes, nothing is bound.  They are called through static calls, which are
 * direct calls: an indirect one ends in a fault where the kernel has sealed the function
 * against it (IBT).
 *
 * All of it hangs on the BTF that the module was built against: where the loaded
 * file system has another one, its structures may be laid out in another way, and
 * nothing is bound.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched/task.h>
#include <linux/vmalloc.h>
#include <crypto/sha2.h>

#include "compat.h"
#include "exchange.h"
#include "private_symbols.h"

DEFINE_STATIC_CALL_NULL(kallsyms_lookup, kallsyms_lookup_name);

/*
 * Where the kernel begins its functions with endbr64, a kprobe sits behind it: as
 * good a place to call.
 */
static int find_kallsyms_lookup(void)
{
#ifdef CONFIG_KPROBES
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int error;

	error = register_kprobe(&probe);
	if (error)
		return error;
	static_call_update(kallsyms_lookup, (void *)probe.addr);
	unregister_kprobe(&probe);
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}

static void *find_symbol(const struct private_symbols *symbols, const char *name)
{
	char qualified[KSYM_NAME_LEN];

	/* Of that name scripts/private_types has found one in the kernel. */
	if (symbols->built_in)
		return (void *)static_call(kallsyms_lookup)(name);
	snprintf(qualified, sizeof(qualified), "%s:%s", symbols->module_name,
		 name);
	return (void *)static_call(kallsyms_lookup)(qualified);
}

/* sysfs gives no more than a page at a time. */
static ssize_t read_all(struct file *file, void *buffer, size_t size)
{
	loff_t pos = 0;
	ssize_t ret;

	while (pos < size) {
		ret = kernel_read(file, buffer + pos, size - pos, &pos);
		if (ret <= 0)
			return ret ?: -EIO;
	}
	return 0;
}

/*
 * The root of the first process; that of kernel threads has nothing in it since 7.x.
 * path_put() it.  -ESRCH where that process is ending.
 */
static int get_first_root(struct path *root)
{
	struct task_struct *init = get_pid_task(find_pid_ns(1, &init_pid_ns),
						PIDTYPE_PID);
	int error = -ESRCH;

	if (!init)
		return error;
	task_lock(init);
	if (init->fs) {
		get_fs_root(init->fs, root);
		error = 0;
	}
	task_unlock(init);
	put_task_struct(init);
	return error;
}

/* What the file of their BTF is called. */
static const char *btf_name(const struct private_symbols *symbols)
{
	return symbols->built_in ? "vmlinux" : symbols->module_name;
}

/*
 * The BTF of the loaded module or of the kernel, as the kernel itself got it.  By the
 * path of the first process: whoever calls cannot put another file there.  vfree() it.
 */
static void *read_btf(const char *of, size_t *size)
{
	char name[sizeof("sys/kernel/btf/") + MODULE_NAME_LEN];
	struct file *file;
	struct path root;
	ssize_t error;
	void *btf;

	snprintf(name, sizeof(name), "sys/kernel/btf/%s", of);
	error = get_first_root(&root);
	if (error)
		return ERR_PTR(error);
	file = file_open_root(&root, name, O_RDONLY, 0);
	path_put(&root);
	if (IS_ERR(file))
		return ERR_CAST(file);

	*size = i_size_read(file_inode(file));
	btf = vmalloc(*size);
	error = btf ? read_all(file, btf, *size) : -ENOMEM;
	fput(file);
	if (!error)
		return btf;
	vfree(btf);
	return ERR_PTR(error);
}

static bool same_btf(const struct private_symbols *symbols)
{
	u8 digest[SHA256_DIGEST_SIZE], expected[SHA256_DIGEST_SIZE];
	size_t size;
	void *btf;

	btf = read_btf(btf_name(symbols), &size);
	if (IS_ERR(btf)) {
		pr_warn("%s stays off: /sys/kernel/btf/%s cannot be read: error %ld\n",
			symbols->purpose, btf_name(symbols), PTR_ERR(btf));
		return false;
	}
	sha256(btf, size, digest);
	vfree(btf);
	if (!hex2bin(expected, symbols->btf_sha256, sizeof(expected)) &&
	    !memcmp(digest, expected, sizeof(digest)))
		return true;
	pr_warn("%s stays off: %s was built for another %s; build it for this kernel\n",
		symbols->purpose, KBUILD_MODNAME, btf_name(symbols));
	return false;
}

static void update(const struct private_symbol *symbol, void *function)
{
	__static_call_update(symbol->key, symbol->trampoline, function);
}

/* Of the kernel itself, so it stays bound. */
static bool bind_of_kernel(const struct private_symbols *symbols,
			   const struct private_symbol *symbol)
{
	void *function;

	if (!symbol)
		return true;
	function = (void *)static_call(kallsyms_lookup)(symbol->name);
	if (!function) {
		pr_warn("%s stays off: the kernel has no %s\n", symbols->purpose,
			symbol->name);
		return false;
	}
	update(symbol, function);
	return true;
}

static u32 try_to_bind(const struct private_symbols *symbols)
{
	size_t i;

	if (!bind_of_kernel(symbols, exchange_rights_symbol()) ||
	    !bind_of_kernel(symbols, exchange_drain_symbol()))
		return EXCHRANGE_REASON_SYMBOL;
	if (!same_btf(symbols))
		return EXCHRANGE_REASON_BTF;

	/* All or nothing: what is bound already is never called. */
	for (i = 0; i < symbols->count; i++) {
		void *function = find_symbol(symbols, symbols->symbols[i].name);

		if (!function) {
			pr_warn("%s stays off: %s has no %s\n",
				symbols->purpose, symbols->module_name,
				symbols->symbols[i].name);
			return EXCHRANGE_REASON_SYMBOL;
		}
		update(&symbols->symbols[i], function);
	}
	return EXCHRANGE_REASON_NONE;
}

static DEFINE_MUTEX(bind_mutex);

/*
 * Nobody calls the functions while they change: no file system of the module is
 * mounted when it goes, and while it comes they are not bound.
 */
static void bind(struct private_symbols *symbols)
{
	mutex_lock(&bind_mutex);
	/* Pairs with private_symbols_get(): bound before it is said to be. */
	smp_store_release(&symbols->reason, try_to_bind(symbols));
	mutex_unlock(&bind_mutex);
}

static void unbind(struct private_symbols *symbols)
{
	size_t i;

	mutex_lock(&bind_mutex);
	WRITE_ONCE(symbols->reason, EXCHRANGE_REASON_FILE_SYSTEM);
	for (i = 0; i < symbols->count; i++)
		update(&symbols->symbols[i], NULL);
	mutex_unlock(&bind_mutex);
}

static int module_event(struct notifier_block *notifier, unsigned long event,
			void *data)
{
	struct private_symbols *symbols =
		container_of(notifier, struct private_symbols, notifier);
	const struct module *module = data;

	if (strcmp(module->name, symbols->module_name))
		return NOTIFY_DONE;
	/* COMING too: private_symbols_start() may have bound one that was going. */
	if (event == MODULE_STATE_LIVE)
		bind(symbols);
	else
		unbind(symbols);
	return NOTIFY_DONE;
}

/*
 * Binds @symbols now, if their module is loaded, and whenever it is loaded
 * later; never, where no symbol can be looked up.  May sleep.
 */
int private_symbols_start(struct private_symbols *symbols)
{
	int error;

	symbols->reason = EXCHRANGE_REASON_FILE_SYSTEM;
	if (symbols->untested)
		pr_warn("%s has not been tested with Linux %s\n", symbols->purpose,
			symbols->untested);
	error = find_kallsyms_lookup();
	if (error) {
		pr_warn("%s stays off: this kernel has no kprobes, or no kallsyms: error %d\n",
			symbols->purpose, error);
		symbols->reason = EXCHRANGE_REASON_LOOKUP;
		return 0;
	}

	symbols->notifier.notifier_call = module_event;
	error = register_module_notifier(&symbols->notifier);
	if (error)
		return error;
	if (symbols->built_in || find_symbol(symbols, symbols->symbols[0].name))
		bind(symbols);
	return 0;
}

void private_symbols_stop(struct private_symbols *symbols)
{
	if (symbols->reason != EXCHRANGE_REASON_LOOKUP)
		unregister_module_notifier(&symbols->notifier);
}

static bool is_theirs(const struct private_symbols *symbols,
		      const struct file_system_type *type)
{
	if (symbols->built_in)
		return !type->owner && !strcmp(type->name, symbols->module_name);
	return type->owner && !strcmp(type->owner->name, symbols->module_name);
}

/*
 * EXCHRANGE_REASON_NONE: the functions may be called, and the module of @type, of a
 * file system that the caller holds, stays until private_symbols_put(@type).
 * Else why they may not.
 */
u32 private_symbols_get(struct private_symbols *symbols,
			const struct file_system_type *type)
{
	/* Pairs with bind(). */
	u32 reason = smp_load_acquire(&symbols->reason);

	if (reason != EXCHRANGE_REASON_NONE)
		return reason;
	if (!is_theirs(symbols, type) || !try_module_get(type->owner))
		return EXCHRANGE_REASON_FILE_SYSTEM;
	return EXCHRANGE_REASON_NONE;
}

void private_symbols_put(const struct file_system_type *type)
{
	module_put(type->owner);
}

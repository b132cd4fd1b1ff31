// SPDX-License-Identifier: GPL-2.0
/*
 * Files on overlayfs, whose layers are on the mount point: exchanged, sampled, staged, watched and
 * held as the real ones are; what the overlay shows of them afterwards; lower layers do not
 * change; where it is refused, and why.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scripts.h"

/* In the folder of scripts.h. */
#define LAYERS "lowerdir=lower,upperdir=upper,workdir=work"
#define FOLDER "overlay"

static const char *layer(const char *name)
{
	static char paths[8][256];
	static unsigned int next;
	char *path = paths[next++ % COUNT(paths)];

	snprintf(path, sizeof(paths[0]), "%s/" FOLDER "/%s", mount_point, name);
	return path;
}

/* Once: no test changes what is in it. */
static int make_lower(void)
{
	static bool made;
	int error;

	if (made)
		return 0;
	error = run("umount -lq %s; true", layer("merged")) || enter_folder(FOLDER) ||
		run("cd %s/" FOLDER " && mkdir lower merged && printf 'the first\\n' >lower/file"
		    " && seq 20000 >lower/long && chmod 666 lower/* && cp -r lower before", mount_point);
	made = !error;
	return error;
}

static int make_overlay(const char *options)
{
	return make_lower() ||
	       run("cd %s/" FOLDER " && { umount -lq merged; rm -rf upper work && mkdir upper work"
		   " && mount -t overlay -o %s overlay merged; }", mount_point, options);
}

static int set_up(void **state)
{
	(void)state;
	return make_overlay(LAYERS);
}

static int take_down(void **state)
{
	(void)state;
	/* A lower layer is never changed. */
	return run("cd %s/" FOLDER " && umount merged && diff -r lower before", mount_point);
}

static int exchange_whole(int file1, int file2)
{
	const struct exchrange_range range = {
		.file1_fd = file1, .file2_fd = file2, .flags = EXCHRANGE_TO_EOF,
	};

	return device_exchange(&range);
}

static int make_text(const char *path, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
	return fd;
}

static bool holds(int fd, const char *text)
{
	char got[256];
	ssize_t length = pread(fd, got, sizeof(got), 0);

	return length == (ssize_t)strlen(text) && !memcmp(got, text, length);
}

static struct exchrange_query query_of(int fd)
{
	struct exchrange_query query = { .fd = fd };

	assert_int_equal(exchrange_query(device, &query), 0);
	return query;
}

/* --- exchanges ----------------------------------------------------------------------------------- */

/* As the layer below, whether it has been copied up or not. */
static void test_query(void **state)
{
	int below = make_text(layer("upper/x"), "x"), file = open_path(layer("merged/file"), O_RDONLY);
	struct exchrange_query its = query_of(below), ours = query_of(file);

	(void)state;
	assert_int_equal(ours.alignment, its.alignment);
	assert_true(ours.backend != EXCHRANGE_BACKEND_NONE);
	assert_true(ours.features & EXCHRANGE_FEATURE_VECTOR);
	close(file);
	file = open_path(layer("merged/file"), O_RDWR);
	assert_int_equal(query_of(file).backend, ours.backend);
	close(file);
	close(below);
}

/* Sizes and contents, in all the ways that there are to see them. */
static void test_what_is_seen(void **state)
{
	int file = open_path(layer("merged/long"), O_RDWR), new = make_text(layer("merged/new"), "a new one\n");
	struct stat st;
	char *mapping;
	int left;

	(void)state;
	mapping = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, file, 0);
	assert_memory_equal(mapping, "1\n2\n3\n", 6);
	assert_int_equal(exchange_whole(new, file), 0);
	assert_true(holds(file, "a new one\n"));
	assert_memory_equal(mapping, "a new one\n", 10);
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(st.st_size, 10);
	assert_int_equal(lseek(file, 0, SEEK_END), 10);
	/* Of the overlay's inode itself: bytes from here to the end. */
	assert_int_equal(lseek(file, 0, SEEK_SET), 0);
	assert_int_equal(ioctl(file, FIONREAD, &left), 0);
	assert_int_equal(left, 10);
	munmap(mapping, BLOCK);
	check("cmp merged/long upper/long && cmp merged/new before/long && printf 'appended\\n' >>merged/long"
	      " && printf 'a new one\\nappended\\n' | cmp - merged/long && cmp merged/long upper/long"
	      " && test $(stat -c %s merged/new) = $(stat -c %s before/long)"
	      " && test \"$(stat -c '%y %z' merged/long)\" = \"$(stat -c '%y %z' upper/long)\"");
	close(file);
	close(new);
}

static void test_dry_run(void **state)
{
	int file = open_path(layer("merged/file"), O_RDWR), new = make_text(layer("merged/new"), "new\n");
	const struct exchrange_range range = {
		.file1_fd = new, .file2_fd = file, .flags = EXCHRANGE_TO_EOF | EXCHRANGE_DRY_RUN,
	};

	(void)state;
	assert_int_equal(device_exchange(&range), 0);
	assert_true(holds(file, "the first\n"));
	assert_true(holds(new, "new\n"));
	close(file);
	close(new);
}

/* A name below, or on another mount of the layers, is another mount. */
static void test_two_mounts(void **state)
{
	int file = open_path(layer("merged/file"), O_RDWR), below = make_text(layer("upper/below"), "below\n");

	(void)state;
	assert_int_equal(exchange_whole(file, below), EXDEV);
	assert_int_equal(exchange_whole(below, file), EXDEV);
	close(file);
	close(below);
}

static void test_vector(void **state)
{
	int file = open_path(layer("merged/file"), O_RDWR), longer = open_path(layer("merged/long"), O_RDWR);
	int new = make_text(layer("merged/new"), "new\n"), same = open_path(layer("merged/new"), O_RDWR);
	struct exchrange_pair pairs[] = {
		{ .file1_fd = new, .file2_fd = file, .flags = EXCHRANGE_TO_EOF },
		{ .file1_fd = longer, .file2_fd = longer, .file1_offset = 0, .file2_offset = BLOCK, .length = BLOCK },
	};
	struct exchrange_vector vector = {
		.pairs = (uintptr_t)pairs, .count = 2, .pair_size = sizeof(pairs[0]),
	};

	(void)state;
	assert_int_equal(exchrange_exchange_vector(device, &vector), 0);
	assert_true(holds(file, "new\n"));
	assert_true(holds(same, "the first\n"));
	check("{ dd if=before/long bs=4096 count=1 skip=1; dd if=before/long bs=4096 count=1; dd if=before/long bs=4096 skip=2; }"
	      " 2>/dev/null | cmp - merged/long");
	/* The second pair is wrong. */
	pairs[1].length = 1;
	assert_int_equal(exchrange_exchange_vector(device, &vector), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(vector.refused, 1);
	assert_true(holds(file, "new\n"));
	close(file);
	close(longer);
	close(new);
	close(same);
}

/* --- samples, and the library's way ------------------------------------------------------------- */

static void test_commit(void **state)
{
	int file, new = make_text(layer("merged/new"), "new\n");
	struct exchrange_commit commit = { .file1_fd = new, .flags = EXCHRANGE_TO_EOF };
	struct exchrange_commit stale;

	(void)state;
	/* Before anybody has opened it for writing. */
	file = open_path(layer("merged/file"), O_RDONLY);
	commit.file2_fd = file;
	assert_int_equal(device_start_commit(&commit), 0);
	close(file);
	stale = commit;
	file = open_path(layer("merged/file"), O_RDWR);
	commit.file2_fd = file;
	stale.file2_fd = file;
	assert_int_equal(device_commit(&commit), 0);
	assert_true(holds(file, "new\n"));
	wait_for_another_timestamp();
	assert_int_equal(device_commit(&stale), EBUSY);
	assert_true(holds(file, "new\n"));
	close(file);
	close(new);
}

static const struct script {
	const char	*name;
	const char	*script;
} scripts[] = {
	{ "swap", "echo new >merged/new && exchrange swap merged/new merged/file && echo new | cmp - merged/file && cmp merged/new before/file" },
	{ "write", "echo new | exchrange write merged/file && echo new | cmp - merged/file && cmp merged/file upper/file" },
	{ "write, durable", "echo new | exchrange write --dsync merged/file && echo new | cmp - merged/file" },
	{ "edit", "EDITOR='echo edited >' exchrange edit merged/file && echo edited | cmp - merged/file" },
	{ "start-commit and write", "t=$(exchrange start-commit merged/file) && echo new | exchrange write --if-unchanged-since $t merged/file"
	  " && echo new | cmp - merged/file && ! echo newer | exchrange write --if-unchanged-since $t merged/file 2>/dev/null && echo new | cmp - merged/file" },
	{ "a file that is mounted by itself", "mount --bind merged/file merged/file && echo new | exchrange write merged/file; s=$?;"
	  " umount merged/file; test $s = 0 && echo new | cmp - merged/file" },
	{ "nobody saves a file that is mounted by itself", "mount --bind merged/file merged/file && echo new | " AS_NOBODY "exchrange write merged/file; s=$?;"
	  " umount merged/file; test $s = 0 && echo new | cmp - merged/file" },
	{ "set-id bits go", "chmod 6777 merged/file && echo new >merged/new && chmod 666 merged/new && " AS_NOBODY "exchrange swap merged/new merged/file"
	  " && test $(stat -c %a merged/file) = 777 && test $(stat -c %a upper/file) = 777" },
	{ "a held file", "exchrange hold merged/file -- sh -c '! (echo x >>merged/file) 2>/dev/null && ! (: >merged/file) 2>/dev/null'"
	  " && echo x >>merged/file && exchrange hold merged/file -- sh -c '! (echo x >>merged/file) 2>/dev/null && ! (echo x >>upper/file) 2>/dev/null'" },
	{ "a file that is held below", "echo x >>merged/file && exchrange hold upper/file -- sh -c '! (echo x >>merged/file) 2>/dev/null'"
	  " && exchrange hold upper/file -- exchrange query merged/file | grep -q held" },
	{ "a sample by who may only read copies nothing up", "umount merged && echo x >lower/ro && chmod 644 lower/ro && cp -p lower/ro before"
	  " && mount -t overlay -o " LAYERS " overlay merged && ! " AS_NOBODY "exchrange start-commit merged/ro 2>/dev/null && test ! -e upper/ro"
	  " && exchrange start-commit merged/ro && test -e upper/ro" },
	{ "a user's overlay", "umount merged && chown -R 65534:65534 upper work lower && " AS_NOBODY "unshare -Urm sh -c '"
	  "mount -t overlay -o " LAYERS ",userxattr overlay merged && echo new | exchrange write --dsync merged/file && echo new | cmp - merged/file"
	  " && exchrange swap merged/file merged/long && cmp merged/file before/long && exchrange hold merged/long -- true'"
	  " && echo new | cmp - upper/long && chown -R 0:0 lower && mount -t overlay -o " LAYERS " overlay merged" },
	{ "an upper layer with other owners", "umount merged && rmdir upper && mkdir -p idm/upper idm/work idmm && ln -s idm/upper upper"
	  " && mount --bind -o 'X-mount.idmap=u:0:0:1 u:1000:3000:1 g:0:0:1 g:1001:3001:1' idm idmm"
	  " && mount -t overlay -o lowerdir=lower,upperdir=idmm/upper,workdir=idmm/work overlay merged && umount -l idmm"
	  " && chown 3000:3001 merged/file && chmod 600 merged/file && echo new | setpriv --reuid 3000 --regid 3001 --clear-groups exchrange write merged/file"
	  " && echo new | cmp - merged/file && test \"$(stat -c %u:%g merged/file upper/file | xargs)\" = '3000:3001 1000:1001'" },
	{ "a directory of the lower layer", "mkdir lower/d before/d && echo x >lower/d/f && echo x >before/d/f && umount merged"
	  " && mount -t overlay -o " LAYERS " overlay merged && echo new | exchrange write merged/d/f && echo new | cmp - merged/d/f" },
};

static void test_script(void **state)
{
	const struct script *script = *state;

	assert_int_equal(set_up(NULL), 0);
	check(script->script);
	assert_int_equal(take_down(NULL), 0);
}

/* --- kinds of overlays ------------------------------------------------------------------------------ */

static const struct overlay {
	const char	*name;
	const char	*options;
	const char	*before;
} overlays[] = {
	{ "metacopy", LAYERS ",metacopy=on,redirect_dir=on", "chmod 600 merged/file" },
	{ "index", LAYERS ",index=on", "true" },
	{ "nfs_export", LAYERS ",index=on,nfs_export=on,redirect_dir=nofollow", "true" },
	{ "xino", LAYERS ",xino=on", "true" },
	{ "volatile", LAYERS ",volatile", "true" },
	{ "userxattr", LAYERS ",userxattr", "true" },
	{ "metacopy of what was opened", LAYERS ",metacopy=on", "exec 3<merged/file && chmod 600 merged/file" },
	{ "a lower layer on another file system", LAYERS, "umount merged && mkdir -p shm && mount -t tmpfs none shm && cp -r lower shm"
	  " && mount -t overlay -o lowerdir=shm/lower,upperdir=upper,workdir=work overlay merged && umount -l shm" },
	/* The middle one has the names, the last one the data. */
	{ "a data-only lower layer", LAYERS, "umount merged && mkdir names work2"
	  " && mount -t overlay -o lowerdir=lower,upperdir=names,workdir=work2,metacopy=on,redirect_dir=on overlay merged"
	  " && chmod 640 merged/file merged/long && umount merged && for i in file long; do setfattr -n trusted.overlay.redirect -v /$i names/$i || exit; done"
	  " && mount -t overlay -o lowerdir=names::lower,upperdir=upper,workdir=work,metacopy=on,redirect_dir=on overlay merged"
	  " && cmp merged/long before/long" },
	{ "a renamed directory", LAYERS ",redirect_dir=on",
	  "mkdir merged/x && mv merged/file merged/x && mv merged/x merged/y && cp merged/y/file merged/file" },
};

static void test_overlay(void **state)
{
	const struct overlay *overlay = *state;

	assert_int_equal(make_overlay(overlay->options), 0);
	check(overlay->before);
	check("echo new | exchrange write --dsync merged/file && echo new | cmp - merged/file && cmp merged/file upper/file"
	      " && test $(stat -c %s merged/file) = 4 && exchrange swap merged/long merged/file && cmp merged/file before/long");
	assert_int_equal(take_down(NULL), 0);
}

static void test_refused(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(run("umount %s", layer("merged")), 0);
	check("mkdir -p shm && mount -t tmpfs none shm && mkdir shm/upper shm/work"
	      " && mount -t overlay -o lowerdir=lower,upperdir=shm/upper,workdir=shm/work overlay merged");
	fd = open_path(layer("merged/file"), O_RDONLY);
	assert_int_equal(query_of(fd).reason, EXCHRANGE_REASON_OVERLAY_UPPER);
	close(fd);
	assert_complains("exchrange query merged/file", 1, "upper layer", "upperdir");
	check("umount merged shm && mount -t overlay -o lowerdir=lower:before overlay merged");
	fd = open_path(layer("merged/file"), O_RDONLY);
	assert_int_equal(query_of(fd).reason, EXCHRANGE_REASON_OVERLAY_READ_ONLY);
	close(fd);
}

/* --- watches and events ---------------------------------------------------------------------------- */

static bool is_readable(const struct exchrange_watcher *watcher)
{
	__u64 count;

	assert_int_equal(exchrange_watch_wait(watcher, 0, &count), 0);
	return count;
}

/* By the overlay, below, and since before it was copied up. */
static void test_watches(void **state)
{
	struct exchrange_watcher early, above, below;
	int lower = open_path(layer("merged/file"), O_RDONLY), file, upper;
	int new = make_text(layer("merged/new"), "new\n");

	(void)state;
	assert_int_equal(exchrange_watch_open(device, lower, &early), 0);
	file = open_path(layer("merged/file"), O_RDWR);
	upper = open_path(layer("upper/file"), O_RDONLY);
	assert_int_equal(exchrange_watch_open(device, file, &above), 0);
	assert_int_equal(exchrange_watch_open(device, upper, &below), 0);
	assert_int_equal(exchange_whole(new, file), 0);
	assert_true(is_readable(&early));
	assert_true(is_readable(&above));
	assert_true(is_readable(&below));
	assert_int_equal(above.page->count, 1);
	assert_int_equal(below.page->sequence, above.page->sequence);
	exchrange_watch_close(&early);
	exchrange_watch_close(&above);
	exchrange_watch_close(&below);
	close(lower);
	close(file);
	close(upper);
	close(new);
}

static unsigned int count_events(int watch, uint32_t mask)
{
	char events[4096] __attribute__((aligned(8)));
	ssize_t size = read(watch, events, sizeof(events)), at = 0;
	unsigned int count = 0;

	while (at < size) {
		const struct inotify_event *event = (const void *)(events + at);

		count += (event->mask & mask) != 0;
		at += sizeof(*event) + event->len;
	}
	return count;
}

static void test_events(void **state)
{
	int file = open_path(layer("merged/file"), O_RDWR), new = make_text(layer("merged/new"), "new\n");
	int above = inotify_init1(IN_NONBLOCK), below = inotify_init1(IN_NONBLOCK);

	(void)state;
	assert_true(inotify_add_watch(above, layer("merged/file"), IN_MODIFY | IN_CLOSE_WRITE) >= 0);
	assert_true(inotify_add_watch(below, layer("upper/file"), IN_MODIFY | IN_CLOSE_WRITE) >= 0);
	assert_int_equal(exchange_whole(new, file), 0);
	assert_int_equal(count_events(above, IN_MODIFY | IN_CLOSE_WRITE), 1);
	assert_int_equal(count_events(below, IN_MODIFY | IN_CLOSE_WRITE), 1);
	close(above);
	close(below);
	close(file);
	close(new);
}

/* --- what happens meanwhile --------------------------------------------------------------------------- */

/* Either order, and never a torn file: all lines of one version. */
#define WHOLE "grep -c . merged/file >/dev/null && test $(sort -u merged/file | wc -l) = 1"
#define LINES(word) "yes " word " | head -n 3000"

static const struct script races[] = {
	{ "it is copied up", "for i in $ROUNDS; do rm -f lower/r$i; " LINES("old") " >lower/r$i; cp lower/r$i before; done; umount merged;"
	  " mount -t overlay -o " LAYERS " overlay merged;"
	  " for i in $ROUNDS; do chmod 640 merged/r$i & " LINES("new") " | exchrange write merged/r$i || exit; wait;"
	  " test $(sort -u merged/r$i) = new && test $(stat -c %a merged/r$i) = 640 || exit; done" },
	{ "it is opened for the first time", "for i in $ROUNDS; do rm -f lower/o$i; " LINES("old") " >lower/o$i; cp lower/o$i before; done; umount merged;"
	  " mount -t overlay -o " LAYERS " overlay merged;"
	  " for i in $ROUNDS; do : >>merged/o$i & cat merged/o$i >seen & " LINES("new") " | exchrange write merged/o$i || exit; wait;"
	  " test $(sort -u merged/o$i) = new && test $(sort -u seen | wc -l) = 1 && cmp merged/o$i upper/o$i || exit; done" },
	{ "its mode changes", LINES("new") " >merged/n; for i in $ROUNDS; do chmod 6$((i % 8))7 merged/file & exchrange swap merged/n merged/file; wait;"
	  " test \"$(stat -c '%a %s' merged/file)\" = \"$(stat -c '%a %s' upper/file)\" && test $(stat -c %a merged/file) = 6$((i % 8))7 || exit; done" },
	{ "two save it", "for i in $ROUNDS; do " LINES("a$i") " | exchrange write merged/file & " LINES("b$i") " | exchrange write merged/file; wait; "
	  WHOLE " || exit; done" },
	{ "it is unlinked", "for i in $ROUNDS; do " LINES("old") " >merged/u; " LINES("new") " >merged/n; rm merged/u & exchrange swap merged/n merged/u 2>/dev/null; wait;"
	  " test ! -e merged/u && test $(sort -u merged/n | wc -l) = 1 || exit; done" },
	{ "it is renamed over", "for i in $ROUNDS; do " LINES("old") " >merged/file; " LINES("new") " >merged/n; " LINES("third") " >merged/t; mv merged/t merged/file &"
	  " exchrange swap merged/n merged/file; wait; " WHOLE " && test $(sort -u merged/n | wc -l) = 1 || exit; done" },
	{ "it is appended to", LINES("x") " >merged/file; for i in $ROUNDS; do " LINES("y") " >merged/n; echo z >>merged/file & exchrange swap merged/n merged/file; wait;"
	  " test $(cat merged/n merged/file | grep -c z) = 1 && test $(stat -c %s merged/file) = $(stat -c %s upper/file) || exit; " LINES("x") " >merged/file; done" },
};

/* -------------------------------------------------------------------------------------------------------- */

static struct any_row rows[COUNT(scripts) + COUNT(races) + COUNT(overlays)];
#define TEST(name)	cmocka_unit_test_setup_teardown(name, set_up, take_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest others[] = {
		TEST(test_query),
		TEST(test_what_is_seen),
		TEST(test_dry_run),
		TEST(test_two_mounts),
		TEST(test_vector),
		TEST(test_commit),
		TEST(test_watches),
		TEST(test_events),
		TEST(test_refused),
	};
	static const struct table table = {
		.group		= "overlayfs",
		.rows		= rows,
		.row_size	= sizeof(rows[0]),
		.row_count	= COUNT(rows),
		.test		= test_any_row,
		.others		= others,
		.other_count	= COUNT(others),
	};
	struct any_row *end = rows;

	end = ADD_ROWS(end, scripts, test_script);
	end = ADD_ROWS(end, races, test_script);
	ADD_ROWS(end, overlays, test_overlay);
	start(argc, argv);
	umask(022);
	setenv("ROUNDS", test_share() < 10 ? "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20" : "1 2 3", 1);
	if (run("modprobe overlay"))
		return skip_all("the kernel has no overlayfs");
	if (make_overlay(LAYERS))
		return 1;
	if (overlay_is_left_out(layer("merged/file")))
		return skip_all("not tested with this kernel's overlayfs");
	return run_table(&table);
}

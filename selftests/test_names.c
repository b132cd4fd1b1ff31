// SPDX-License-Identifier: GPL-2.0
/*
 * A name is looked up once, by the kernel: what is saved is the file that was named, or
 * none, wherever it lies and whatever its path is as a text.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scripts.h"

static int make_folder(void **state)
{
	(void)state;
	return enter_folder("names");
}

/* What an editor does to its file, as a word for EDITOR. */
#define EDITED	"EDITOR=\"sh -c 'echo edited >\\\"\\$1\\\"' x\""

/* As in a build root or a rescue system: the root and /dev, and this folder as /w. */
#define WITHOUT_PROC							\
	"r=$(mktemp -d) && mount --bind / $r && mount --bind /dev $r/dev && mkdir -p /w"	\
	" && mount --bind . $r/w && in_root() { chroot $r sh -c \"cd /w && $1\"; }"	\
	" && leave() { umount $r/w $r/dev $r; rmdir $r; } && "

static void test_without_proc(void **state)
{
	(void)state;
	check("ln f link && ln -s f soft && ln -s later dangling && stat -c %i f >before; " WITHOUT_PROC
	      "in_root 'test ! -e /proc/self && echo one | exchrange write f' && echo one | cmp - link"
	      " && in_root 'echo two | exchrange write soft' && echo two | cmp - link && test -L soft"
	      " && in_root 'echo three | exchrange write --dsync new' && echo three | cmp - new"
	      " && in_root 'echo four | exchrange write dangling' && echo four | cmp - later"
	      " && in_root 'exchrange swap new f && exchrange start-commit f' && echo three | cmp - link; s=$?;"
	      " leave; stat -c %i f | cmp - before && exit $s");
}

static void test_edit_without_proc(void **state)
{
	(void)state;
	check("printf '#!/bin/sh\\nfor f do echo edited >\"$f\"; done\\n' >ed && chmod +x ed && ln f link; " WITHOUT_PROC
	      "in_root 'EDITOR=/w/ed exchrange edit f new' && echo edited | cmp - link && echo edited | cmp - new;"
	      " s=$?; leave; ls -A; test \"$(ls -A | wc -l)\" = 4 && exit $s");
}

static void test_fallback_without_proc(void **state)
{
	(void)state;
	check("mount -t tmpfs t . && cd . && cd $PWD && echo old >f; " WITHOUT_PROC
	      "in_root 'echo new | exchrange write --fallback=rename f' && echo new | cmp - f; s=$?; leave;"
	      " cd / && umount $OLDPWD && exit $s");
}

/*
 * A process with a mount namespace of its own, whose root is $p from here: there the device
 * of this file system is mounted where nothing is outside.
 */
#define ELSEWHERE							\
	"d=$(findmnt -n -o SOURCE -T . | sed 's/\\[.*//') && t=$(mktemp -d) && cat >$t/in <<END\n"	\
	"mount --make-rprivate / && mkdir -p /run/only && mount -t tmpfs t /run/only && mkdir /run/only/data\n"	\
	"mount $d /run/only/data || exit\n"				\
	"echo \\$\\$ >$t/pid; exec sleep 100\n"				\
	"END\n"								\
	"unshare -m sh $t/in & u=$!; " UNTIL("test -s $t/pid")	\
	"p=/proc/$(cat $t/pid)/root/run/only/data/names; "

static void test_in_another_mount_namespace(void **state)
{
	(void)state;
	check("i=$(stat -c %i f); " ELSEWHERE
	      "echo one | exchrange write $p/f && echo one | cmp - f && test $i = $(stat -c %i f)"
	      " && echo two | exchrange write $p/new && echo two | cmp - new"
	      " && exchrange swap $p/new $p/f && echo two | cmp - f"
	      " && " EDITED " exchrange edit $p/f && echo edited | cmp - f; s=$?; kill $u; wait $u;"
	      " test \"$(ls -A | wc -l)\" = 2 && exit $s");
}

/* The same path is another file here and there. */
static void test_fallback_in_another_mount_namespace(void **state)
{
	(void)state;
	check("t=$(mktemp -d); mkdir -p /run/app; echo outside >/run/app/site.conf\n"
	      "cat >$t/in <<END\n"
	      "mount --make-rprivate / && mount -t tmpfs t /run/app && echo inside >/run/app/site.conf\n"
	      "echo \\$\\$ >$t/pid; exec sleep 100\n"
	      "END\n"
	      "unshare -m sh $t/in & u=$!; " UNTIL("test -s $t/pid")
	      "p=/proc/$(cat $t/pid)/root/run/app/site.conf; echo inside | cmp - $p"
	      " && echo new | exchrange write --fallback=rename $p"
	      " && echo new | cmp - $p && echo outside | cmp - /run/app/site.conf"
	      " && test $(ls -A ${p%/*} | wc -l) = 1 && test $(ls -A /run/app | wc -l) = 1; s=$?;"
	      " kill $u; wait $u; rm -r /run/app; exit $s");
}

/* Of the directory that is ours; what was mounted over it since has the same names. */
#define BELOW								\
	"mkdir -p d/sub && echo below >d/sub/f && cd d/sub && mount -t tmpfs t $PWD/.."	\
	" && mkdir ../../d/sub && over=$(cd ../.. && pwd)/d/sub && echo above >$over/f && "

static void test_below_a_mount(void **state)
{
	(void)state;
	check(BELOW "echo one | exchrange write f && echo one | cmp - f && echo above | cmp - $over/f"
	      " && echo two | exchrange write new && echo two | cmp - new && test ! -e $over/new"
	      " && " EDITED " exchrange edit f && echo edited | cmp - f && echo above | cmp - $over/f; s=$?;"
	      " ls -A >/tmp/here; cd ../..; umount d; printf 'f\\nnew\\n' | cmp - /tmp/here && exit $s");
}

static void test_fallback_below_a_mount(void **state)
{
	(void)state;
	check("mount -t tmpfs t . && cd $PWD && " BELOW
	      "echo new | exchrange write --fallback=rename f && echo new | cmp - f && echo above | cmp - $over/f"
	      " && echo new | exchrange write --fallback=rename --dsync later && test ! -e $over/later; s=$?;"
	      " cd ../..; umount d; cd ..; umount names; exit $s");
}

/* Longer than a path may be: known by no text at all. */
static void test_deeper_than_a_path(void **state)
{
	(void)state;
	check("n=$(printf %0200d 0); i=0; while [ $i -lt 25 ]; do mkdir $n && cd -P $n || exit; i=$((i + 1)); done;"
	      " echo old >f && ln f link && echo one | exchrange write f && echo one | cmp - link"
	      " && echo two | exchrange write --dsync new && echo two | cmp - new"
	      " && " EDITED " exchrange edit f && echo edited | cmp - link && test $(ls -A | wc -l) = 3");
}

/* The directory is the one that the path led to when it began. */
static void test_a_directory_that_is_replaced(void **state)
{
	(void)state;
	check("mkdir d && echo old >d/f;"
	      " { " BEGUN "mv d e; mkdir d; echo other >d/f; echo new; } | exchrange write d/f"
	      " && echo new | cmp - e/f && echo other | cmp - d/f"
	      " && { " BEGUN "mv d d1; ln -s e d; echo made; } | exchrange write d/made"
	      " && echo made | cmp - d1/made && test ! -e e/made");
}

/* Whatever becomes of its other name. */
static void test_a_mounted_file_whose_other_name_goes(void **state)
{
	(void)state;
	check("touch target && mount --bind f target && { " BEGUN "mv f moved; echo other >f; echo new; } |"
	      " exchrange write target; s=$?; echo new | cmp - target; umount target; echo other | cmp - f && echo new | cmp - moved && exit $s");
	check("mv -f moved f && mount --bind f target && { " BEGUN "rm f; echo newer; } | exchrange write target; s=$?; echo newer | cmp - target;"
	      " umount target; test ! -e f && exit $s");
}

/*
 * Without the device it is found by the name that it has on another mount.  Where that is
 * another file's by then, or nothing's, it is not what was named.
 */
static void test_a_mounted_file_without_the_device(void **state)
{
	(void)state;
	if (!kind->alone)
		skip();
	assert_int_equal(rename("/dev/exchrange", "/dev/away"), 0);
	assert_complains("touch target && mount --bind f target && cp f want && { " BEGUN "mv f moved; echo other >f; echo new; } |"
			 " exchrange write target; s=$?; cmp target want; umount target; echo other | cmp - f && cmp moved want && exit $s", 1,
			 "target: is mounted by itself", "");
	assert_complains("mount --bind f target && { " BEGUN "mv f moved; echo new; } | exchrange write target; s=$?; umount target;"
			 " test ! -e f && echo other | cmp - moved && exit $s", 1, "target: is mounted by itself", "");
}

static int bring_back(void **state)
{
	(void)state;
	rename("/dev/away", "/dev/exchrange");
	return 0;
}

/* A link that takes the place of the file meanwhile is not followed. */
static void test_a_link_that_comes_meanwhile(void **state)
{
	(void)state;
	check("echo precious >other && { " BEGUN "ln -sf other f; echo new; } | exchrange write f 2>said; test $? = 1"
	      " && echo precious | cmp - other && test -L f && rm f"
	      " && { " BEGUN "ln -s other f; echo new; } | exchrange write f 2>>said; test $? = 1"
	      " && echo precious | cmp - other");
}

/* A link of procfs leads to the file, whatever its text says. */
static void test_by_a_descriptor(void **state)
{
	(void)state;
	check("ln f link && echo one | exchrange write /proc/self/fd/7 7<>f && echo one | cmp - link"
	      " && echo two | exchrange write /dev/fd/7 7<f && echo two | cmp - link"
	      " && mkdir stage && exec 7<f && rm f && echo decoy >'f (deleted)'"
	      " && echo nameless | exchrange write /proc/self/fd/7 && echo nameless | cmp - link"
	      " && echo three | exchrange write --staging stage /proc/self/fd/7 && echo three | cmp - link"
	      " && echo decoy | cmp - 'f (deleted)'");
}

/* Where a link in the middle leads is the kernel's business, and no rule of ours. */
static void test_a_link_of_another_in_the_middle(void **state)
{
	(void)state;
	check("mkdir -m 1777 sticky && mkdir d && cp f d && ln -s ../d sticky/way && chown -h 65534 sticky/way"
	      " && sh -c 'echo plain >sticky/way/f' && echo new | exchrange write sticky/way/f && echo new | cmp - d/f"
	      " && echo made | exchrange write sticky/way/made && echo made | cmp - d/made");
}

/* A file that would get a name here has no second one anywhere. */
static void test_a_staging_file_gets_no_name(void **state)
{
	struct exchrange_update_options create = { EXCHRANGE_UPDATE_CREATE, 0600 };
	struct exchrange_update *update;
	char link[40];

	(void)state;
	update = exchrange_update_begin(device, path_of("names/f"), &create);
	assert_non_null(update);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", exchrange_update_fd(update));
	assert_int_equal(linkat(AT_FDCWD, link, AT_FDCWD, path_of("names/stolen"),
				AT_SYMLINK_FOLLOW), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(linkat(exchrange_update_fd(update), "", AT_FDCWD,
				path_of("names/stolen"), AT_EMPTY_PATH), -1);
	/* And yet the update makes the file where it is removed meanwhile. */
	assert_int_equal(write(exchrange_update_fd(update), "new\n", 4), 4);
	assert_int_equal(unlink(path_of("names/f")), 0);
	assert_int_equal(exchrange_update_commit(update, 0), 0);
	check("echo new | cmp - f && test $(stat -c %a f) = 600");
	exchrange_update_drop(update);
}

/* One that comes meanwhile gets a staging file of its kind, and that has no name either. */
static void test_a_file_that_comes_and_is_another_kind(void **state)
{
	struct exchrange_update_options create = { EXCHRANGE_UPDATE_CREATE, 0600 };
	struct exchrange_update *update;
	char link[40];

	(void)state;
	assert_int_equal(unlink(path_of("names/f")), 0);
	update = exchrange_update_begin(device, path_of("names/f"), &create);
	assert_non_null(update);
	assert_int_equal(write(exchrange_update_fd(update), "new\n", 4), 4);
	check(is_btrfs() ? "touch f && chattr +C f && echo theirs >f" : "echo theirs >f");
	assert_int_equal(exchrange_update_commit(update, 0), 0);
	check("echo new | cmp - f");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", exchrange_update_fd(update));
	assert_int_equal(linkat(AT_FDCWD, link, AT_FDCWD, path_of("names/stolen"),
				AT_SYMLINK_FOLLOW), -1);
	exchrange_update_drop(update);
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_without_proc),
		TEST(test_edit_without_proc),
		TEST(test_fallback_without_proc),
		TEST(test_in_another_mount_namespace),
		TEST(test_fallback_in_another_mount_namespace),
		TEST(test_below_a_mount),
		TEST(test_fallback_below_a_mount),
		TEST(test_deeper_than_a_path),
		TEST(test_a_directory_that_is_replaced),
		TEST(test_a_mounted_file_whose_other_name_goes),
		cmocka_unit_test_setup_teardown(test_a_mounted_file_without_the_device, make_folder, bring_back),
		TEST(test_a_link_that_comes_meanwhile),
		TEST(test_by_a_descriptor),
		TEST(test_a_link_of_another_in_the_middle),
		TEST(test_a_staging_file_gets_no_name),
		TEST(test_a_file_that_comes_and_is_another_kind),
	};

	start(argc, argv);
	return run_as_ktap("names", tests, NULL, NULL);
}

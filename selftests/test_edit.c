// SPDX-License-Identifier: GPL-2.0
/*
 * edit: where the private copy lies and who can come near it, and what editors and those
 * who start them are like.
 */
#include <stdio.h>
#include <string.h>

#include "scripts.h"

static int make_folder(void **state)
{
	(void)state;
	return enter_folder("edit") ||
	       run("cd %s/edit && printf '#!/bin/sh\\nfor f do echo edited >\"$f\"; done\\n' >/tmp/ed && chmod 755 /tmp/ed"
		   " && chmod 755 .", mount_point);
}

#define NOTHING_LEFT	"test -z \"$(ls -Ad .exchrange-* */.exchrange-* /var/tmp/exchrange-edit-* 2>/dev/null)\""

/* --- the private copy ---------------------------------------------------------------- */

/*
 * An editor that says where its file is, and then does what the user 33, to whom $1 belongs,
 * can do: another directory for the one below $1 that the copy is in.
 */
#define AN_ATTACK							\
	"cat >/tmp/attacked <<'END'\n#!/bin/sh\n"			\
	"echo \"$1\" >/tmp/where\n"					\
	"case $1 in $HIS/*) rest=${1#$HIS/}; first=${rest%%/*};\n"	\
	"    setpriv --reuid 33 --regid 33 --clear-groups sh -c \"cd $HIS && mv $first away"	\
	" && mkdir -p $(dirname \"$rest\") && echo evil >$rest\"; esac\n"	\
	"END\nchmod 755 /tmp/attacked; export EDITOR=/tmp/attacked TMPDIR=; rm -f /tmp/where\n"

static void test_a_tmpdir_of_others(void **state)
{
	(void)state;
	check(AN_ATTACK
	      "mkdir his tmp tmp/mine; cp f his; chown 34 his; chown 33 tmp; ln -s $PWD/his tmp/link; export HIS=$PWD/tmp;"
	      " for t in $HIS $HIS/mine $HIS/link; do echo old >his/f; TMPDIR=$t exchrange edit his/f;"
	      " echo old | cmp - his/f && grep ^/var/tmp/exchrange-edit- /tmp/where || exit 1; done; " NOTHING_LEFT);
}

/* What lies in a directory of another user can be taken away with all that is in it. */
static void test_a_parent_of_others(void **state)
{
	(void)state;
	check(AN_ATTACK
	      "mkdir -p home/conf/more; cp f home/conf; cp f home/conf/more; chown 33 home; export HIS=$PWD/home;"
	      " for d in home/conf home/conf/more; do cp f $d; exchrange edit $d/f; ls home; cmp f $d/f"
	      " && grep ^/var/tmp/exchrange-edit- /tmp/where || exit 1; done; test ! -e home/away && " NOTHING_LEFT);
}

/* A group's directory, and one where everybody makes files. */
static void test_a_directory_that_others_share(void **state)
{
	(void)state;
	check("mkdir group all sticky; chmod 775 group; chmod 777 all; chmod 1777 sticky;"
	      " for d in group all sticky .; do echo old >$d/f; EDITOR='echo edited >$1; echo >/tmp/where' TMPDIR= exchrange edit $d/f"
	      " && echo edited | cmp - $d/f && case $d in group|all) grep ^/var/tmp/ /tmp/where ;;"
	      " *) grep \"^$(cd $d; pwd)/.exchrange-edit-\" /tmp/where ;; esac || exit 1; done; " NOTHING_LEFT);
}

static void test_nobody_else_can_read_the_copy(void **state)
{
	(void)state;
	check("setfacl -d -m u:65534:rwx,g::rwx,o::rwx . && echo secret >g && chmod 600 g"
	      " && EDITOR='cp $1 /tmp/seen; ls -l; stat -c \"%a %n\" $(dirname $1) $1; ! " AS_NOBODY "cat $1 && ! "
	      AS_NOBODY "ls $(dirname $1); #' TMPDIR= exchrange edit g >said 2>&1; cat said;"
	      " echo secret | cmp - /tmp/seen && ! grep -q '^secret\\|ended with status' said && grep -q '^700 ' said");
}

/* What counts is the file in our directory, whatever its path leads to by then. */
static void test_the_copy_is_found_by_its_directory(void **state)
{
	(void)state;
	check("cat >/tmp/moved <<'END'\n#!/bin/sh\n"
	      "d=$(dirname \"$1\"); echo edited >\"$1\"; mv \"$d\" \"$d.away\"; mkdir \"$d\"; echo other >\"$1\"\n"
	      "END\nchmod 755 /tmp/moved; EDITOR=/tmp/moved TMPDIR= exchrange edit f 2>said; cat said; ! grep -q other f");
}

static void test_no_safe_place(void **state)
{
	(void)state;
	assert_complains("chown 33 /var/tmp; chmod 700 /var/tmp; mkdir d; cp f d; chown 33 d; TMPDIR= EDITOR=/tmp/ed exchrange edit d/f;"
			 " s=$?; chown 0 /var/tmp; chmod 1777 /var/tmp; cmp f d/f && exit $s", 1,
			 "d/f: there is no place for a private copy", "/var/tmp");
}

/* --- what the editor is like --------------------------------------------------------- */

static void test_an_editor_that_leaves_folders(void **state)
{
	(void)state;
	check("cat >/tmp/leaves <<'END'\n#!/bin/sh\n"
	      "d=$(dirname \"$1\"); mkdir -p $d/.undo/a/b \"$d/x y\"; echo u >$d/.undo/a/b/1; ln -s / $d/root; ln -s ../f $d/.#f\n"
	      "mkfifo $d/fifo; chmod 500 $d/.undo/a; echo edited >\"$1\"\n"
	      "END\nchmod 755 /tmp/leaves; EDITOR=/tmp/leaves exchrange edit f && echo edited | cmp - f && test -d /etc && " NOTHING_LEFT);
}

/* Nothing is removed that is only mounted there, and it is said that it stays. */
static void test_an_editor_that_mounts_something(void **state)
{
	(void)state;
	check("mkdir precious; echo p >precious/p; cat >/tmp/mounts <<'END'\n#!/bin/sh\n"
	      "d=$(dirname \"$1\"); mkdir $d/m; mount --bind precious $d/m; echo edited >\"$1\"\n"
	      "END\nchmod 755 /tmp/mounts; EDITOR=/tmp/mounts exchrange edit f 2>said; echo edited | cmp - f"
	      " && echo p | cmp - precious/p && grep 'could not be removed' said && umount .exchrange-edit-*/m && rm -r .exchrange-edit-*");
}

static void test_an_editor_that_returns_at_once(void **state)
{
	(void)state;
	check("cp f want; EDITOR='(sleep 3; echo late >$1) >/dev/null 2>&1 & #' exchrange edit f 2>said && cmp f want"
	      " && grep -q 'f: was not changed; an editor that returns at once must be told to wait' said"
	      " && EDITOR='sleep 4; #' exchrange edit f 2>said && grep -qx 'exchrange: f: was not changed' said; sleep 1; cmp f want && " NOTHING_LEFT);
}

/* One that still writes to the copy when it has ended. */
static void test_an_editor_that_still_writes(void **state)
{
	(void)state;
	check("mkdir d; cp f d; chown 33 d; cp f want; EDITOR='head -c 60M /dev/zero >$1; (while echo more; do :; done >>$1) & echo $! >/tmp/pid; #'"
	      " TMPDIR=/dev/shm exchrange edit d/f 2>said; s=$?; kill $(cat /tmp/pid); cat said; rm -rf /dev/shm/exchrange-edit-*;"
	      " test $s = 1 && cmp d/f want && grep -q 'the editor still changes the copy' said");
}

static void test_an_editor_inside_an_editor(void **state)
{
	(void)state;
	check("export EDITOR='exchrange edit'; echo old >inner;"
	      " printf '#!/bin/sh\\nEXCHRANGE_EDITOR=/tmp/ed exchrange edit inner new && echo edited >\"$1\"\\n' >/tmp/ide; chmod 755 /tmp/ide;"
	      " EXCHRANGE_EDITOR=/tmp/ide exchrange edit f && for f in f inner new; do echo edited | cmp - $f || exit; done");
	/* One and the same editor, for two files, is no loop. */
	check("echo old >inner; printf '#!/bin/sh\\ncase $1 in */f) exchrange edit inner;; esac; echo twice >\"$1\"\\n' >/tmp/again;"
	      " chmod 755 /tmp/again; EDITOR=/tmp/again exchrange edit f && echo twice | cmp - f && echo twice | cmp - inner");
}

static void test_a_loop_is_refused(void **state)
{
	(void)state;
	assert_complains("EDITOR='exchrange edit' timeout 60 exchrange edit f new", 1,
			 "the editor is 'exchrange edit' itself", "EXCHRANGE_EDITOR");
	/* Also where there is no back end, and no copy. */
	assert_complains("echo x >/dev/shm/loop; EDITOR='exchrange edit' timeout 60 exchrange edit /dev/shm/loop; s=$?;"
			 " echo x | cmp - /dev/shm/loop && rm /dev/shm/loop && exit $s", 1,
			 "the editor is 'exchrange edit' itself", "EXCHRANGE_EDITOR");
	check(NOTHING_LEFT);
}

/* --- who starts it ------------------------------------------------------------------- */

static void test_children_that_nobody_waits_for(void **state)
{
	(void)state;
	check("EDITOR=/tmp/ed perl -e '$SIG{CHLD} = \"IGNORE\"; exec @ARGV' exchrange edit f && echo edited | cmp - f"
	      " && { EDITOR=false perl -e '$SIG{CHLD} = \"IGNORE\"; exec @ARGV' exchrange edit f 2>said; test $? = 1; }"
	      " && grep -q 'ended with status 1' said");
}

/* Signals and limits are for the editor what they were. */
static void test_what_the_editor_inherits(void **state)
{
	(void)state;
	check("cat >/tmp/looks <<'END'\n#!/bin/sh\n"
	      "grep SigIgn /proc/self/status >/tmp/seen; ulimit -S -n >>/tmp/seen; ls /proc/self/fd | wc -l >>/tmp/seen\n"
	      "END\nchmod 755 /tmp/looks; ulimit -S -n 256; /tmp/looks; mv /tmp/seen /tmp/want; EDITOR=/tmp/looks exchrange edit f"
	      " && cmp /tmp/want /tmp/seen"
	      " && (trap '' INT QUIT; /tmp/looks; mv /tmp/seen /tmp/want; EDITOR=/tmp/looks exchrange edit f) && cmp /tmp/want /tmp/seen");
}

/* As git, crontab and kubectl have it, in places without a back end. */
static void test_where_there_is_no_back_end(void **state)
{
	(void)state;
	check("d=$(mktemp -d /dev/shm/XXXXXX); cd $d; echo old >crontab; ln crontab link; ln -s crontab soft; echo old >-rf;"
	      " export EXCHRANGE_EDITOR=/tmp/ed EDITOR='exchrange edit'; sh -c \"$EDITOR soft\" 2>said"
	      " && echo edited | cmp - link && test -L soft && grep -q 'soft: has no back end here' said"
	      " && sh -c \"$EDITOR --dsync -- -rf\" && echo edited | cmp - ./-rf && sh -c \"$EDITOR new\" && echo edited | cmp - new"
	      " && { EXCHRANGE_EDITOR=false exchrange edit crontab; test $? = 1; } && test $(ls -A | wc -l) = 6 && rm -r $d");
	check("export EXCHRANGE_EDITOR='for f do echo both >$f; done; #' && cp f g && echo old >/dev/shm/g && exchrange edit g /dev/shm/g"
	      " && echo both | cmp - g && echo both | cmp - /dev/shm/g && rm /dev/shm/g");
}

/* More files than descriptors would be enough for. */
static void test_many_files(void **state)
{
	(void)state;
	check("mkdir d && cd d && for i in $(seq 600); do echo $i >f$i; done && ulimit -n 1024"
	      " && EDITOR='for f do echo edited >>$f; done; #' exchrange edit f* && test $(cat f* | grep -c edited) = 600"
	      " && test $(ls -A | wc -l) = 600"
	      " && ulimit -n 100 && { EDITOR=/tmp/ed exchrange edit f* 2>said; test $? = 1; }"
	      " && grep -q 'a process may have 100 files open' said && test $(ls -A | wc -l) = 601");
}

/* --- large ---------------------------------------------------------------------------- */

/* 100 GiB of holes, which nobody reads. */
static void test_a_sparse_file(void **state)
{
	(void)state;
	check("truncate -s 100G image && echo begin | dd of=image conv=notrunc 2>/dev/null && echo end >>image"
	      " && EDITOR=true timeout 30 exchrange edit image"
	      " && EDITOR='echo more >>$1; #' timeout 30 exchrange edit image && test \"$(tail -c 9 image)\" = \"$(printf 'end\\nmore')\""
	      " && test $(stat -c %s image) = 107374182409 && test $(stat -c %b image) -lt 1000 && rm image");
	/* The same where blocks cannot be shared. */
	check("mkdir his && chown 33 his && truncate -s 100G his/image && echo end >>his/image"
	      " && EDITOR='echo more >>$1; #' TMPDIR=/dev/shm timeout 60 exchrange edit his/image && test $(stat -c %b his/image) -lt 1000"
	      " && test \"$(tail -c 9 his/image)\" = \"$(printf 'end\\nmore')\"");
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_a_tmpdir_of_others),
		TEST(test_a_parent_of_others),
		TEST(test_a_directory_that_others_share),
		TEST(test_nobody_else_can_read_the_copy),
		TEST(test_the_copy_is_found_by_its_directory),
		TEST(test_no_safe_place),
		TEST(test_an_editor_that_leaves_folders),
		TEST(test_an_editor_that_mounts_something),
		TEST(test_an_editor_that_returns_at_once),
		TEST(test_an_editor_that_still_writes),
		TEST(test_an_editor_inside_an_editor),
		TEST(test_a_loop_is_refused),
		TEST(test_children_that_nobody_waits_for),
		TEST(test_what_the_editor_inherits),
		TEST(test_where_there_is_no_back_end),
		TEST(test_many_files),
		TEST(test_a_sparse_file),
	};

	start(argc, argv);
	return run_as_ktap("edit", tests, NULL, NULL);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A save gives nobody more than `>` of the shell would: ACLs and their masks, files that
 * others have planted, attributes that come meanwhile, and what a new file gets.
 */
#include "scripts.h"

static int make_folder(void **state)
{
	(void)state;
	return enter_folder("rights");
}

/* A file system that has ACLs and no back end, on which the rest of the script works. */
#define ON_TMPFS	"mount -t tmpfs t . && cd \"$PWD\" && chmod 1777 . && ( "
#define END		" ); s=$?; cd ..; umount rights; exit $s"
/* As on a file system that has no unnamed files, which no program here can make. */
#define WITHOUT_TMPFILE	"h=$PWD; cd / && strace -qq -o /dev/null -P . -e inject=openat:error=EOPNOTSUPP "
#define CAN(who, file)	"setpriv --reuid " who " --regid " who " --clear-groups cat " file " >/dev/null 2>&1"

/* --- the fallback ------------------------------------------------------------------ */

/* The bits of the group are the mask beside an ACL, and not what the group may do. */
static void test_fallback_keeps_the_acl(void **state)
{
	(void)state;
	check(ON_TMPFS "echo secret >f && chgrp 60 f && chmod 600 f && setfacl -m u:65534:rw,g::---,o::--- f"
	      " && getfacl -n f >before && ! " CAN("60", "f") " && echo new | exchrange write --fallback=rename f"
	      " && echo new | cmp - f && getfacl -n f | cmp - before && ! " CAN("60", "f") END);
}

/* What the directory would give a new file is not given to this one. */
static void test_fallback_takes_no_acl_from_the_directory(void **state)
{
	(void)state;
	check(ON_TMPFS "mkdir d && setfacl -d -m u:65534:rw d && echo secret >d/f && setfacl -b d/f && chmod 640 d/f"
	      " && getfacl -n d/f >before && echo new | exchrange write --fallback=rename d/f"
	      " && getfacl -n d/f | cmp - before && ! " CAN("65534", "d/f") END);
}

static void test_fallback_makes_a_file_as_the_shell_does(void **state)
{
	(void)state;
	check(ON_TMPFS "umask 027 && mkdir d && chgrp 60 d && chmod 2770 d && setfacl -d -m u:65534:r,o::--- d"
	      " && for d in . d; do : >$d/usual && echo x | (" WITHOUT_TMPFILE "exchrange write --fallback=rename $h/$d/made)"
	      " && echo x | cmp - $d/made && getfacl -n $d/usual | tail -n +2 >want && getfacl -n $d/made | tail -n +2 | cmp - want || exit 1;"
	      " done" END);
}

/* Who may not write to the file may not replace it, though the directory is his. */
static void test_fallback_asks_for_the_file(void **state)
{
	(void)state;
	check(ON_TMPFS "mkdir d && echo root >d/f && chmod 644 d/f && chown 65534 d && chmod 777 d"
	      " && ! echo mine | " AS_NOBODY "exchrange write --fallback=rename d/f 2>said"
	      " && grep -q 'd/f: permission denied' said && echo root | cmp - d/f && test $(ls -A d | wc -l) = 1"
	      /* Nor who may not give it its owner back. */
	      " && chmod 666 d/f && ! echo mine | " AS_NOBODY "exchrange write --fallback=rename d/f 2>said"
	      " && grep -q 'd/f: was not replaced' said && echo root | cmp - d/f && test $(ls -A d | wc -l) = 1" END);
}

/* --- files that others have made ---------------------------------------------------- */

/* The kernel's own rule for `>`; $p is put back. */
#define PROTECTED							\
	"p=$(cat /proc/sys/fs/protected_regular); protect() { echo $1 >/proc/sys/fs/protected_regular; };"	\
	" mkdir -m 1777 tmp && mkdir group && chmod 1775 group && chgrp 65534 group"	\
	" && " AS_NOBODY "sh -c 'umask 0; echo his >tmp/report; echo his >group/report' && "

static void test_a_planted_file(void **state)
{
	(void)state;
	check(PROTECTED "protect 1 && ! sh -c 'echo secret >tmp/report' 2>/dev/null"
	      " && ! echo secret | exchrange write tmp/report 2>said && echo his | cmp - tmp/report"
	      " && grep -q 'tmp/report: was made by another user' said"
	      " && sh -c 'echo open >group/report' && echo new | exchrange write group/report && echo new | cmp - group/report"
	      " && protect 2 && ! sh -c 'echo secret >group/report' 2>/dev/null"
	      " && ! echo secret | exchrange write group/report 2>said && echo new | cmp - group/report"
	      " && ! EDITOR='sh -c \"echo secret >\\$1\" sh' exchrange edit tmp/report 2>said && echo his | cmp - tmp/report"
	      /* Where the kernel allows it, so do we; and its owner may. */
	      " && " AS_NOBODY "sh -c 'echo mine | exchrange write tmp/report' && echo mine | cmp - tmp/report"
	      " && protect 0 && echo root | exchrange write tmp/report && echo root | cmp - tmp/report;"
	      " s=$?; protect $p; exit $s");
}

static void test_a_planted_file_that_comes_meanwhile(void **state)
{
	(void)state;
	check(PROTECTED "protect 1 && rm tmp/report"
	      " && ! { " BEGUN AS_NOBODY "sh -c 'umask 0; echo his >tmp/report'; echo secret; } |"
	      " exchrange write tmp/report 2>said && echo his | cmp - tmp/report"
	      " && ! echo secret | exchrange write --fallback=rename tmp/report 2>said && echo his | cmp - tmp/report"
	      " && mount -t tmpfs t tmp && chmod 1777 tmp && " AS_NOBODY "sh -c 'umask 0; echo his >tmp/report'"
	      " && ! echo secret | exchrange write --fallback=rename tmp/report 2>said && echo his | cmp - tmp/report;"
	      " s=$?; protect $p; umount tmp; exit $s");
}

/* --- what a new file gets ----------------------------------------------------------- */

/* From its directory, and nothing from that of the staging file. */
static void test_a_new_file_is_of_its_directory(void **state)
{
	(void)state;
	check("umask 022 && mkdir -m 700 stage www && setfacl -d -m u:33:rwx,o::rwx stage && chgrp 60 www && chmod 2775 www"
	      " && setfacl -d -m u:65534:rw,o::--- www && : >www/usual && mkdir plain && : >plain/usual"
	      " && for d in www plain; do echo x | exchrange write --staging stage $d/made"
	      " && getfacl -n $d/usual | tail -n +2 >want && getfacl -n $d/made | tail -n +2 | cmp - want"
	      " && echo x | cmp - $d/made || exit 1; done");
}

static void test_a_new_file_is_of_its_project(void **state)
{
	(void)state;
	if (is_btrfs())
		skip();
	check("mkdir stage p && xfs_io -r -c 'chproj 42' -c 'chattr +P' p"
	      " && echo x | exchrange write --staging stage p/made && xfs_io -c lsproj p/made | grep -qx 'projid = 42'");
}

/* One that is removed meanwhile, and so is made anew. */
static void test_a_file_that_is_made_again(void **state)
{
	(void)state;
	check("umask 022 && mkdir stage www && setfacl -d -m u:33:rwx stage && chgrp 60 www && chmod 2775 www"
	      " && : >www/usual && chmod 600 f && cp -p f www/f"
	      " && { " BEGUN "rm www/f; echo new; } | exchrange write --staging stage www/f && echo new | cmp - www/f"
	      " && getfacl -n www/usual | tail -n +2 >want && getfacl -n www/f | tail -n +2 | cmp - want");
}

/* --- changes meanwhile --------------------------------------------------------------- */

static void test_append_only_meanwhile(void **state)
{
	(void)state;
	check("seq 1000 >log && cp log want && { { " BEGUN "chattr +a log; echo gone; } | exchrange write log 2>said;"
	      " test $? = 1; } && chattr -a log && cmp log want && grep -q 'log: is immutable or append-only' said"
	      " && { { " BEGUN "chattr +i log; echo gone; } | exchrange write log 2>said; test $? = 1; } && chattr -i log"
	      " && cmp log want"
	      " && { EDITOR='chattr +a log; echo gone >' exchrange edit log 2>said; test $? = 1; } && chattr -a log"
	      " && cmp log want && grep -q 'the edit is kept' said && rm -r .exchrange-edit-*");
}

/* The right to write to it goes meanwhile: a descriptor of before is no way around that. */
static void test_rights_that_go_meanwhile(void **state)
{
	(void)state;
	check("chmod 666 f && cp f want"
	      " && { { " BEGUN "chmod 644 f; echo new; } | " AS_NOBODY "exchrange write f 2>said; test $? = 1; }"
	      " && cmp f want && grep -q 'f: permission denied' said");
}

/* The contents are what they were: that is no change to be asked about. */
static void test_attributes_that_change_while_it_is_edited(void **state)
{
	(void)state;
	check("EDITOR='chmod g+w f; ln f backup; setfattr -n user.note -v x f; echo edited >' exchrange edit f"
	      " && echo edited | cmp - f && test f -ef backup && test -z \"$(ls -A | grep exchrange)\"");
	/* Whatever its times say then. */
	assert_complains("EDITOR='touch -r f time; echo theirs >f; touch -r time f; echo mine >' exchrange edit f",
			 1, "f: somebody else has changed it meanwhile", "the edit is kept in");
	check("echo theirs | cmp - f");
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_fallback_keeps_the_acl),
		TEST(test_fallback_takes_no_acl_from_the_directory),
		TEST(test_fallback_makes_a_file_as_the_shell_does),
		TEST(test_fallback_asks_for_the_file),
		TEST(test_a_planted_file),
		TEST(test_a_planted_file_that_comes_meanwhile),
		TEST(test_a_new_file_is_of_its_directory),
		TEST(test_a_new_file_is_of_its_project),
		TEST(test_a_file_that_is_made_again),
		TEST(test_append_only_meanwhile),
		TEST(test_rights_that_go_meanwhile),
		TEST(test_attributes_that_change_while_it_is_edited),
	};

	start(argc, argv);
	return run_as_ktap("rights", tests, NULL, NULL);
}

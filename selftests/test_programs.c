// SPDX-License-Identifier: GPL-2.0
/*
 * People's own programs: vim with the plugin, nano and git by way of the editor, sponge's
 * place taken, a capability, completion by bash and zsh.  For a guest that has them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scripts.h"

#define PLUGIN	"/usr/libexec/exchrange/vim"

static int make_folder(void **state)
{
	(void)state;
	return enter_folder("programs") ||
	       run("cd %s/programs && printf 'one\\ntwo\\n' >f && ln f link && setfattr -n user.note -v kept f"
		   " && setfacl -m u:33:r f", mount_point);
}

/* vim in batch mode, with the plugin and nothing else, these commands, and what it says. */
#define VIM	"vim -N -u NONE -i NONE -n -es -V1 --cmd 'set rtp^=" PLUGIN "' --cmd 'runtime plugin/exchrange.vim' "

static void test_vim_saves_in_place(void **state)
{
	(void)state;
	check("stat -c '%i %h' f >before && " VIM "-c '%s/two/three/' -c 'w' -c 'q' f >said 2>&1; cat said;"
	      " printf 'one\\nthree\\n' | cmp - f && test f -ef link && stat -c '%i %h' f | cmp - before"
	      " && getfattr -n user.note f | grep -q kept && getfacl -c f | grep -q '^user:.*:r--'"
	      " && grep -q 'written by exchrange' said && test \"$(ls -A | sort | xargs)\" = 'before f link said'");
}

static void test_vim_saves_twice_and_takes_no_notice_of_itself(void **state)
{
	(void)state;
	check(VIM "-c 'normal ggOthree' -c 'w' -c 'checktime' -c 'normal ggOfour' -c 'w' -c 'checktime'"
	      " -c 'call writefile([&modified, getline(1)], \"state\")' -c 'qall' f >said 2>&1; cat said;"
	      " printf 'four\\nthree\\none\\ntwo\\n' | cmp - f && printf '0\\nfour\\n' | cmp - state"
	      " && ! grep -qi 'W1[0-9]\\|changed since editing' said");
}

static void test_vim_keeps_its_formats(void **state)
{
	(void)state;
	check("printf 'caf\\351\\r\\nend' >dos && cp dos wanted && printf '\\r\\nmore' >>wanted && "
	      VIM "--cmd 'set encoding=utf-8 fileencodings=latin1 nofixendofline' -c 'normal Gomore' -c 'w' -c 'q' dos;"
	      " cmp dos wanted");
}

static void test_vim_autocommands_run(void **state)
{
	(void)state;
	check(VIM "-c 'autocmd BufWritePre * %s/one/ONE/' -c 'autocmd BufWritePost * call writefile([\"post\"], \"post\")'"
	      " -c 'w' -c 'q' f; printf 'ONE\\ntwo\\n' | cmp - f && echo post | cmp - post");
}

static void test_vim_creates_a_file(void **state)
{
	(void)state;
	check(VIM "-c 'normal inew' -c 'wq' new; echo new | cmp - new");
}

static void test_vim_does_not_overwrite_a_change(void **state)
{
	(void)state;
	check(VIM "-c 'normal ggOmine' -c 'call system(\"echo theirs >f\")' -c 'w' -c 'call writefile([&modified], \"state\")'"
	      " -c 'qall!' f >said 2>&1; cat said; echo theirs | cmp - f && echo 1 | cmp - state"
	      " && grep -q 'has changed since it was read' said");
	check(VIM "-c 'normal ggOmine' -c 'call system(\"echo others >f\")' -c 'w!' -c 'qall!' f;"
	      " printf 'mine\\ntheirs\\n' | cmp - f");
}

/* A chmod or a new link leaves the contents what they were read as. */
static void test_vim_saves_over_a_change_of_attributes(void **state)
{
	(void)state;
	check(VIM "-c 'normal Gothree' -c 'w' -c 'call system(\"chmod +x f; ln f more\")' -c 'normal Gofour' -c 'w' -c 'q' f >said 2>&1; cat said;"
	      " printf 'one\\ntwo\\nthree\\nfour\\n' | cmp - f && test f -ef more && test -x f && test $(grep -c 'written by exchrange' said) = 2");
	/* With its times put back, other contents are a change. */
	check(VIM "-c 'normal Gomine' -c 'call system(\"touch -r f t; echo xxxxxxxxxxxxxxxxxx >f; touch -r t f\")' -c 'w' -c 'qall!' f >said 2>&1;"
	      " cat said; grep -q 'has changed since it was read' said && echo xxxxxxxxxxxxxxxxxx | cmp - f");
}

static void test_vim_and_names_that_it_would_expand(void **state)
{
	(void)state;
	check("for n in '~tilde' '~root' '$HOME' 'per%cent#1' 'br[ack]et' '*'; do echo old >\"$n\" && i=$(stat -c %i \"$n\") && "
	      VIM "-c 'call setline(1,\"new\")' -c 'w' -c 'qa!' -- \"./$n\" >said 2>&1; cat said; echo new | cmp - \"$n\""
	      " && test $i = $(stat -c %i \"$n\") && grep -q 'written by exchrange' said && rm \"$n\" || exit 1; done; ls -A; test \"$(ls -A | wc -l)\" = 3");
}

static void test_vim_falls_back_with_one_warning(void **state)
{
	(void)state;
	check("echo old >/dev/shm/plain && " VIM "-c 'normal ggOnew' -c 'w' -c 'normal ggOnewer' -c 'w' -c 'q' /dev/shm/plain"
	      " >said 2>&1; cat said; printf 'newer\\nnew\\nold\\n' | cmp - /dev/shm/plain"
	      " && test $(grep -c \"vim's own way\" said) = 1 && grep -q 'no back end for tmpfs' said");
}

static void test_vim_other_names_and_ranges_are_its_own(void **state)
{
	(void)state;
	check(VIM "-c '1w part' -c 'w other' -c 'q' f; echo one | cmp - part && cmp f other");
}

/* A config file that is mounted by itself, where rename cannot work. */
static void test_vim_and_a_mounted_file(void **state)
{
	(void)state;
	check("touch /tmp/mounted && mount --bind f /tmp/mounted && " VIM "-c '%s/two/three/' -c 'w' -c 'q' /tmp/mounted >said 2>&1;"
	      " cat said; umount /tmp/mounted; printf 'one\\nthree\\n' | cmp - f && grep -q 'written by exchrange' said");
}

static void test_watchers_of_vim(void **state)
{
	(void)state;
	check("inotifywait -q -m --format %e f >events & watcher=$!; " WATCHES("$watcher") VIM "-c 'normal ggOnew' -c 'w' -c 'q' f;"
	      UNTIL("grep -qx MODIFY events") "sleep 1; kill $watcher; cat events; grep -qx MODIFY events && ! grep -qE 'MOVE|DELETE|IGNORED' events");
}

static void test_git_with_edit(void **state)
{
	(void)state;
	check("export HOME=$PWD EXCHRANGE_EDITOR='sed -i 1s/^/message/' GIT_EDITOR='exchrange edit'"
	      " && git init -q && git config user.name me && git config user.email me@localhost"
	      " && git add f && git commit -q && test \"$(git log --format=%s)\" = message"
	      " && EXCHRANGE_EDITOR=false; ! git commit -q --amend 2>/dev/null && test \"$(git log --format=%s)\" = message");
}

/* On a terminal, by its keys: a line, save, leave. */
static void test_nano_with_edit(void **state)
{
	(void)state;
	check("{ sleep 4; printf 'zero\\r'; sleep 2; printf '\\017'; sleep 1; printf '\\r'; sleep 2; printf '\\030'; sleep 2; }"
	      " | TERM=vt100 EDITOR=nano script -qec 'exchrange edit f' /dev/null >screen;"
	      " printf 'zero\\none\\ntwo\\n' | cmp - f && test f -ef link");
}

static void test_vim_with_edit(void **state)
{
	(void)state;
	check("EDITOR='vim -N -u NONE -i NONE -es -c \"normal ggOzero\" -c wq' exchrange edit f;"
	      " printf 'zero\\none\\ntwo\\n' | cmp - f && test f -ef link && test $(ls -A | wc -l) = 2");
}

/* As sponge does, and the links stay. */
static void test_in_the_place_of_sponge(void **state)
{
	(void)state;
	check("cp f g && sort -r f | exchrange write f && sort -r g | sponge g && cmp f g && test f -ef link");
}

static void test_capabilities_go(void **state)
{
	(void)state;
	check("cp /bin/true tool && setcap cap_net_raw+ep tool && getcap tool | grep -q net_raw"
	      " && exchrange write --from /bin/false tool && test -z \"$(getcap tool)\" && ! ./tool");
}

/* bash-completion finds ours where make install has put it. */
static void test_bash_completion_is_found(void **state)
{
	(void)state;
	check("bash -c '. /usr/share/bash-completion/bash_completion; _comp_load exchrange;"
	      " complete -p exchrange' | grep -q -e '-F _exchrange exchrange'");
}

/* What zsh offers is what the help tells; test_install sees it offered. */
static void test_zsh_completion(void **state)
{
	(void)state;
	check("for s in $(exchrange --help | sed -n 's/^  \\([a-z-]*\\) .*/\\1/p'); do"
	      " for o in $(exchrange $s --help | grep -o '^  --[a-z0-9-]*'); do"
	      " sed -n \"/^\\t$s)$/,/;;/p\" /usr/local/share/zsh/site-functions/_exchrange >part;"
	      " [ $o = --staging ] && o=staging; grep -q -e \"$o\" part || { echo $s $o; exit 1; }; done; done"
	      " && zsh -n /usr/local/share/zsh/site-functions/_exchrange");
}

#define TEST(name)	cmocka_unit_test_setup(name, make_folder)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_vim_saves_in_place),
		TEST(test_vim_saves_twice_and_takes_no_notice_of_itself),
		TEST(test_vim_keeps_its_formats),
		TEST(test_vim_autocommands_run),
		TEST(test_vim_creates_a_file),
		TEST(test_vim_does_not_overwrite_a_change),
		TEST(test_vim_saves_over_a_change_of_attributes),
		TEST(test_vim_and_names_that_it_would_expand),
		TEST(test_vim_falls_back_with_one_warning),
		TEST(test_vim_other_names_and_ranges_are_its_own),
		TEST(test_vim_and_a_mounted_file),
		TEST(test_watchers_of_vim),
		TEST(test_git_with_edit),
		TEST(test_nano_with_edit),
		TEST(test_vim_with_edit),
		TEST(test_in_the_place_of_sponge),
		TEST(test_capabilities_go),
		TEST(test_bash_completion_is_found),
		TEST(test_zsh_completion),
	};

	start(argc, argv);
	return run_as_ktap("programs", tests, NULL, NULL);
}

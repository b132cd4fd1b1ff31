# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # the scripts that source this use them
#
# Where things lie, which guests there are, and how these scripts speak.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cache=${EXCHRANGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/exchrange}
default_kernel=6.12

say()
{
	printf '%s\n' "$*" >&2
}

die()
{
	say "${0##*/}: $*"
	exit 125
}

# Sets what differs between the guests: $suite, $packages.
choose_guest()
{
	packages=(
		linux-image-amd64 linux-headers-amd64
		gcc make libc6-dev libcmocka-dev libjson-c-dev libmount-dev pkgconf
		kmod busybox-static procps e2fsprogs xfsprogs btrfs-progs
	)
	case $1 in
	6.12)
		suite=trixie
		packages+=(
			acl attr fio inotify-tools mandoc quota sparse sqlite3
			strace xfslibs-dev
		)
		;;
	6.1)
		suite=bookworm
		;;
	*)
		die "there is no guest with kernel $1: take 6.12 (Debian 13) or 6.1 (Debian 12)"
		;;
	esac
}

# Runs a command that needs root's rights over the guest's files: as root, or
# in a user namespace where mmdebstrap set the files up in one.
as_guest_root()
{
	if [ "$EUID" = 0 ]; then
		"$@"
	else
		mmdebstrap --unshare-helper "$@"
	fi
}

# Says what is done, does it, and says how long it took.  What the command
# prints goes to the log, and comes to light where it fails.
step()
{
	local what=$1 log=$2 start=$SECONDS
	shift 2
	say "guest $kernel: $what ..."
	if ! "$@" >"$log" 2>&1 </dev/null; then
		tail -n 40 "$log" >&2
		die "$what: failed; all of it is in $log"
	fi
	say "guest $kernel: $what: $((SECONDS - start)) s"
}

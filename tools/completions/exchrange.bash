# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# bash completion of exchrange(1).  The subcommands and options are those that the
# command's own help tells.

_exchrange_files()
{
	compopt -o filenames
	mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}

_exchrange_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

# What stands at the beginning of the help's lines.
_exchrange_listed()
{
	exchrange "$@" --help 2>/dev/null | sed -n 's/^  \(-*[a-z][a-z0-9-]*\).*/\1/p'
}

_exchrange()
{
	local current=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]} i
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		_exchrange_words "$(_exchrange_listed) --help --version" "$current"
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [ "${COMP_WORDS[i]}" = -- ]; then
			_exchrange_files -f "$current"
			return
		fi
	done

	# "=" is a word of its own.
	if [ "$current" = = ]; then
		current=
	elif [ "$option" = = ]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $option in
	--staging) _exchrange_files -d "$current" ;;
	--from) _exchrange_files -f "$current" ;;
	--fallback) _exchrange_words rename "$current" ;;
	--exec) mapfile -t COMPREPLY < <(compgen -c -- "$current") ;;
	--if-unchanged-since | --length | --offset1 | --offset2) ;;
	*)
		case $current in
		-*) _exchrange_words "$(_exchrange_listed "${COMP_WORDS[1]}")" "$current" ;;
		*) if [ "${COMP_WORDS[1]}" = apply ]; then
				_exchrange_files -d "$current"
			else
				_exchrange_files -f "$current"
			fi ;;
		esac
		;;
	esac
}

complete -F _exchrange exchrange

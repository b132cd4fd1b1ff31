# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# KTAP for the tests that are scripts.  The plan comes first, and how many tests there are is
# known at the end: until then the results are kept.  On a terminal, and for selftests/check,
# the line of the test that runs shows how far it is.

tap_results=
tap_count=0
tap_failed=0
tap_skipped=0

# tap_result RESULT NAME
tap_result()
{
	tap_count=$((tap_count + 1))
	tap_results+="$1 $tap_count - $2"$'\n'
	[ ! -t 2 ] && [ -z "${EXCHRANGE_PROGRESS:-}" ] ||
		printf '\r\033[K  %d, %d failed: %s\r' "$tap_count" "$tap_failed" "$2" >&2
}

# check NAME COMMAND [ARG...]: the test NAME passes if COMMAND succeeds.
check()
{
	local name=$1 output
	shift
	if output=$("$@" 2>&1); then
		tap_result ok "$name"
	else
		tap_failed=$((tap_failed + 1))
		tap_results+="# ${output//$'\n'/$'\n'# }"$'\n'
		tap_result "not ok" "$name"
	fi
}

# skip NAME REASON
skip()
{
	tap_skipped=$((tap_skipped + 1))
	tap_result ok "$1 # SKIP $2"
}

# Prints the results; exits with 1 if a test failed, with 4 if all were skipped.
finish()
{
	[ ! -t 2 ] || printf '\r\033[K' >&2
	printf 'KTAP version 1\n1..%d\n%s' "$tap_count" "$tap_results"
	[ "$tap_failed" -eq 0 ] || exit 1
	[ "$tap_skipped" -lt "$tap_count" ] || exit 4
	exit 0
}

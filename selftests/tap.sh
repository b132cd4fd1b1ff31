# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# TAP for the tests that are scripts.

tap_count=0
tap_failed=0

# check NAME COMMAND [ARG...]: the test NAME passes if COMMAND succeeds.
check()
{
	local name=$1 output
	shift
	tap_count=$((tap_count + 1))
	if output=$("$@" 2>&1); then
		echo "ok $tap_count - $name"
	else
		echo "not ok $tap_count - $name"
		echo "# ${output//$'\n'/$'\n'# }"
		tap_failed=$((tap_failed + 1))
	fi
}

# The plan comes last here; exits with 1 if a test failed.
finish()
{
	echo "1..$tap_count"
	[ "$tap_failed" -eq 0 ]
	exit
}

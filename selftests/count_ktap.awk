# SPDX-License-Identifier: GPL-2.0
#
# count_ktap.awk: counts the tests in KTAP: "PASSED FAILED SKIPPED".  A test with subtests is not
# counted beside them, but where there was none since all was skipped; that it failed though none of
# them did is a failure, and so is that there are not so many results as were planned, which is
# said on standard error.

# All tests of this depth should be there.
function finish(depth,	bad_plan)
{
	bad_plan = depth in planned && planned[depth] != seen[depth]
	if (bad_plan) {
		print "# " seen[depth] " results of " planned[depth] " planned" >"/dev/stderr"
		bad++
		bad_below[depth]++
	}
	delete planned[depth]
	return bad_plan
}

function result(depth, verdict)
{
	seen[depth]++
	if (has_subtests[depth + 1]) {
		finish(depth + 1)
		if (verdict == "bad" && !bad_below[depth + 1])
			bad++
		if (verdict == "skip" && !seen[depth + 1])
			skipped++
	} else if (verdict == "bad") {
		bad++
	} else if (verdict == "skip") {
		skipped++
	} else {
		good++
	}
	if (verdict == "bad" || bad_below[depth + 1])
		bad_below[depth]++
	has_subtests[depth + 1] = bad_below[depth + 1] = 0
}

{
	match($0, /^ */)
	depth = RLENGTH / 2
	line = substr($0, RLENGTH + 1)
}

line ~ /^K?TAP version / {
	finish(depth)
	has_subtests[depth] = 1
}

line ~ /^1\.\.[0-9]/ {
	planned[depth] = substr(line, 4) + 0
	seen[depth] = 0
}

# Some report what they skipped as not ok.
line ~ /^(not )?ok .*# SKIP/ {
	result(depth, "skip")
	next
}

line ~ /^ok / {
	result(depth, "good")
}

line ~ /^not ok / {
	result(depth, "bad")
}

# Where it ends in the middle of a subtest, that is one failure.
END {
	for (depth = 9; depth >= 0; depth--)
		if (finish(depth))
			break
	print good + 0, bad + 0, skipped + 0
}

#!/bin/sh
# Prints what each step of `make test` passed and failed, and the sum as the
# last line. A step that left no count failed. usage: summary.sh COUNTS STEPS
set -u
counts=$1
steps=$2
[ -f "$counts" ] || : >"$counts"
awk -v steps="$steps" '
  { passed[$1] += $2; failed[$1] += $3; seen[$1] = 1 }
  END {
    n = split(steps, name, " ")
    for (i = 1; i <= n; i++) {
      s = name[i]
      if (!seen[s]) failed[s] = 1
      printf "%-12s %6d passed %6d failed\n", s, passed[s], failed[s]
      p += passed[s]
      f += failed[s]
    }
    printf "%d passed, %d failed\n", p, f
    exit f > 0
  }' "$counts"

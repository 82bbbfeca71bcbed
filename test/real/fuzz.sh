#!/bin/sh
# Runs every fuzz target of the module for a moment. usage: fuzz.sh TIME COUNTS
# Targets are found by their names, so that a new one needs no line anywhere.
set -u
time=$1
counts=$2
passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for dir in $(go list -f '{{.Dir}}' ./...); do
  for target in $(grep -hso '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | cut -c6-); do
    if go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir" >"$log" 2>&1; then
      passed=$((passed + 1))
      echo "ok   $target"
    else
      failed=$((failed + 1))
      echo "FAIL $target in $dir"
      cat "$log"
    fi
  done
done
echo "$passed fuzz targets passed, $failed failed"
echo "fuzz $passed $failed" >>"$counts"
[ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]

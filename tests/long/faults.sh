#!/bin/sh
# Every allocation and every submission of every case of tests/graph/faults fails once, in parts
# that can be stopped and gone on with, and taken in parallel:
#   faults.sh [CASE...]      from 0 on; all of them by default
# A part that has passed is remembered, for this very program, in long/faults of the build folder.
# FAULTS_PARTS is the number of parts of a case (16), STARDIT_JOBS how many are taken at a time (1).
set -u
build=${STARDIT_BUILD_DIR:?}
parts=${FAULTS_PARTS:-16}
program=$build/tests/graph/faults
folder=$build/long/faults
mkdir -p "$folder" || exit 99
make -C "$build" tests/graph/faults >"$folder/make.log" 2>&1 ||
    { tail -n 5 "$folder/make.log" >&2; exit 99; }
mark=$(cksum <"$program" | tr ' ' -)

# take CASE PART: says nothing where it has passed before.
if [ "${1-}" = take ]; then
    name=$2-$3-of-$parts
    [ ! -e "$folder/$name.$mark" ] || exit 0
    if "${STARDIT_SOURCE_DIR:?}/tests/run" "$program" all "$2" "$3" "$parts" \
        >"$folder/$name.log" 2>&1; then
        : >"$folder/$name.$mark"
    else
        echo "failed: case $2, part $3 of $parts: $folder/$name.log"
    fi
    exit 0
fi

[ $# -gt 0 ] || set -- 0 1 2 3 4 5 6 7
for case; do
    count=$parts
    [ "$case" -lt 7 ] || count=1 # opening, which has no parts
    for part in $(seq 0 $((count - 1))); do
        echo "$case $part"
    done
done >"$folder/wanted"
STARDIT_TEST_TIMEOUT=${STARDIT_TEST_TIMEOUT:-7200} \
    xargs -P "${STARDIT_JOBS:-1}" -L 1 "$0" take <"$folder/wanted"
passed=0 failed=0
while read -r case part; do
    if [ -e "$folder/$case-$part-of-$parts.$mark" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done <"$folder/wanted"
# shellcheck disable=SC2046  # names without spaces
calls=$(while read -r case part; do
    sed -n 's/^  \([0-9]*\) of [0-9]* failed.*/\1/p' "$folder/$case-$part-of-$parts.log"
done <"$folder/wanted" | awk '{ sum += $1 } END { print sum + 0 }')
echo "check-faults: $calls calls failed once, $passed parts passed, $failed failed"
[ $failed -eq 0 ]

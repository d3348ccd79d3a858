#!/bin/sh
# What takes too long for `make check`, one after the other, for `make check-long`:
#   all.sh [PART...]      asan, tsan, valgrind, fuzz, faults, signals, sizes, serve; all of them by default
# Each ends with a line that counts; the last line here counts the parts. A part whose tool is not
# here is skipped. Exit 0: none failed.
set -u
here=${STARDIT_SOURCE_DIR:?}/tests/long
[ $# -gt 0 ] || set -- asan tsan valgrind fuzz faults signals sizes serve
passed=0 failed=0 skipped=0
for part; do
    case $part in
        asan | tsan | valgrind) "$here/sanitize.sh" "$part" ;;
        *) "$here/$part.sh" ;;
    esac
    case $? in
        0) passed=$((passed + 1)) ;;
        77) skipped=$((skipped + 1)) ;;
        *)
            failed=$((failed + 1))
            echo "check-long: $part failed" >&2
            ;;
    esac
done
echo "check-long: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]

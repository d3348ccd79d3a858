#!/bin/sh
# bench/before-after over two programs whose figures are known.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
command -v python3 >/dev/null || { echo "no python3"; exit 77; }
compare=$source/bench/before-after

# program FOLDER FIRST SECOND...: prints these rates, one a run, in a table of two lines.
program() {
    mkdir -p "$tmp/$1" && printf '%s\n' "$2" "$3" "$4" >"$tmp/$1/rates"
    cat >"$tmp/$1/stardit-bench" <<'END'
#!/bin/sh
folder=$(dirname "$0")
rate=$(sed -n 1p "$folder/rates")
sed -i 1d "$folder/rates"
echo "best of 5, $1"
echo "2 workers     $rate tasks/s"
echo "8 workers     7 tasks/s 0.5"
END
    chmod +x "$tmp/$1/stardit-bench"
}
program before 100 200 400
program after 300 200 600
passes "$compare" --pairs 3 "$tmp/before" "$tmp/after" sched
grep -qE '^workers tasks/s line 1 number 2 +200 +300 +1\.500  1\.000 \.\. 3\.000$' "$tmp/out" ||
    fail "medians or quartiles: $(cat "$tmp/out")"
[ "$(wc -l <"$tmp/out")" -eq 3 ] || fail "numbers that do not change are shown: $(cat "$tmp/out")"

refuses 1 "$compare" "$tmp/before" "$tmp/nowhere" sched
says "$tmp/nowhere/stardit-bench: No such file"
printf '#!/bin/sh\necho "no such benchmark" >&2; exit 2\n' >"$tmp/before/stardit-bench"
refuses 1 "$compare" "$tmp/before" "$tmp/after" sched
says 'ended with 2: no such benchmark'
finish

#!/bin/sh
# stardit-simulate --sweep: a row for each value, which is what one run with that value gives; CSV and a plot; a
# value that fails beside others; values that hold commas; more devices than this StarPU simulates.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
module=$build/tests/simulation/.libs/forgetful.so
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
unset STARPU_SCHED STARPU_SCHED_LIB
step="$simulate --model wan-1.3b --num-frames 5 --width 128 --height 128 --layers 2"
run="$simulate --model $demo --height 32 --width 32 --num-frames 5 --num-inference-steps 2 --prompts 2"

# cell ROW COLUMN: of the table or of a CSV file.
cell() { awk -v row="$1" -v column="$2" 'NR == row { print $column }' "$tmp/out"; }
field() { awk -F, -v row="$2" -v column="$3" 'NR == row { print $column }' "$1"; }

# shellcheck disable=SC2086
{
    passes $step --sweep devices=1..3 --csv "$tmp/s.csv" --svg "$tmp/s.svg"
    cat "$tmp/out"
    [ "$(wc -l <"$tmp/out")" -eq 4 ] || fail "not a row for each of 3 values"
    last=$(cell 4 2)
    [ "$(cell 1 1) $(cell 2 1) $(cell 3 1) $(cell 4 1)" = "devices 1 2 3" ] || fail "$(cat "$tmp/out")"
    [ "$(head -1 "$tmp/s.csv")" = devices,step_s,computing_s,exposed_s,received_gb,memory_gb,tasks ] ||
        fail "$(cat "$tmp/s.csv")"
    awk -v a="$(field "$tmp/s.csv" 4 2)" -v b="$last" 'BEGIN { exit !(a > 0.99999 * b && a < 1.00001 * b) }' ||
        fail "$last in the table, $(field "$tmp/s.csv" 4 2) in the CSV"
    # three points on a line, with axes
    [ "$(grep -c '<circle' "$tmp/s.svg")" -eq 3 ] || fail "not 3 points"
    grep -q '>devices</text>' "$tmp/s.svg" && grep -q '>step, s</text>' "$tmp/s.svg" || fail "no labels of axes"
    grep -q '>3</text>' "$tmp/s.svg" || fail "no ticks"
    passes $step --devices 3 --stats "$tmp/one.json"
    awk -v a="$("$tool" json "$tmp/one.json" step seconds)" -v b="$(field "$tmp/s.csv" 4 2)" \
        'BEGIN { exit !(a > 0.9999999 * b && a < 1.0000001 * b) }' || fail "by itself $(cat "$tmp/one.json")"

    # whole runs, of policies: names are bars
    passes $run --devices 2 --sweep "scheduler=pipedit,static,$module" --csv "$tmp/r.csv" --svg "$tmp/r.svg"
    cat "$tmp/out"
    [ "$(head -1 "$tmp/r.csv")" = scheduler,total_s,video_s,step_s,ratio,hidden_percent,peak_gb ] ||
        fail "$(cat "$tmp/r.csv")"
    [ "$(grep -c 'fill="#4c78a8"' "$tmp/r.svg")" -eq 3 ] || fail "not 3 bars"
    awk -F, 'NR > 1 && !($5 >= 1 && $2 > 0 && $7 > 0) { exit 1 }' "$tmp/r.csv" || fail "$(cat "$tmp/r.csv")"
    passes $run --devices 2 --scheduler static
    awk -v a="$(awk '/^Total:/ { print $2 }' "$tmp/out")" -v b="$(field "$tmp/r.csv" 3 2)" \
        'BEGIN { exit !(a - b < 1e-4 && b - a < 1e-4) }' || fail "static: by itself $(grep Total "$tmp/out")"

    # values with commas; a link's speed; chunks
    passes $step --sweep "device-speed=1,1;1,0.5" --devices 2 --csv "$tmp/v.csv"
    grep -q '^"1,0.5",' "$tmp/v.csv" || fail "$(cat "$tmp/v.csv")"
    passes $step --devices 2 --sweep link-gbps=1,10
    awk -v a="$(cell 2 2)" -v b="$(cell 3 2)" 'BEGIN { exit !(a > b) }' || fail "no slower over a slow link"
    passes $step --devices 2 --strategy pipesp --sweep chunk-heads=1,2,auto

    $step --sweep strategy=ulysses,rings >"$tmp/out" 2>"$tmp/err"
    [ $? -eq 1 ] || fail "a value that failed, and exit 0"
    grep -q '^rings  *failed$' "$tmp/out" && [ "$(cell 2 2)" != failed ] || fail "$(cat "$tmp/out")"
    grep -q '^stardit-simulate: --strategy rings: unknown strategy' "$tmp/err" || fail "$(cat "$tmp/err")"
    # as many GPUs as StarPU has room for
    passes $step --sweep devices=2,16,33,64 --csv "$tmp/d.csv"
    cat "$tmp/out"
    rows=$(($(wc -l <"$tmp/out") - 1))
    [ $rows -eq 4 ] || grep -q 'left out from [0-9]* on' "$tmp/err" || fail "$(cat "$tmp/err")"
    [ $rows -ge 1 ] && awk -F, 'NR > 1 && !($2 > 0 && $5 > 0) { exit 1 }' "$tmp/d.csv" || fail "$(cat "$tmp/d.csv")"
    refuses 2 $step --devices 65

    refuses 2 $step --sweep devices
    refuses 2 $step --sweep devices=
    refuses 2 $step --sweep nothing=1
    refuses 2 $step --sweep fast-forward=1
    refuses 2 $step --sweep sweep=1
    refuses 2 $step --sweep devices=1..
    refuses 2 $step --csv "$tmp/x.csv"
    refuses 2 $step --sweep devices=1 --stats "$tmp/x.json"
    refuses 2 $step --sweep devices=1 --csv "$tmp/none/x.csv"
}
finish

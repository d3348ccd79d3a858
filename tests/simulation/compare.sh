#!/bin/sh
# PipeDiT's plans beside ours: what is taken to last as long as it did once lasts as long in full, and a table of
# published times.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
unset STARPU_SCHED STARPU_SCHED_LIB
size="--model $demo --height 128 --width 128 --num-frames 9 --devices 3 --platform $source/platforms/h100x8"

# plan NUMBER FIELD INDEX: of the last comparison.
plan() { "$tool" json "$tmp/compare.json" plans "$1" "$2" "$3"; }
# near WHAT A B PERCENT
near() {
    echo "$1: $2 s, in full $3 s"
    awk -v a="$2" -v b="$3" -v p="$4" 'BEGIN { exit !(a > (1 - p / 100) * b && a < (1 + p / 100) * b) }' ||
        fail "$1: $2 s, in full $3 s"
}
# full OPTIONS...: seconds of all videos, in full.
full() {
    # shellcheck disable=SC2086
    passes "$simulate" $size --prompts 4 --num-inference-steps 24 --streams 1 --stats "$tmp/full.json" "$@" || return
    "$tool" json "$tmp/full.json" total_seconds
}

# shellcheck disable=SC2086
passes "$simulate" $size --prompts 4 --compare 12,24 --ablation --stats "$tmp/compare.json"
grep -o '"plan": *"[^"]*"' "$tmp/compare.json" | cut -d'"' -f4 | tr '\n' ';' | grep -q "^offload;dedivae, pipesp;dedivae, pipesp, aco;dedivae;" ||
    fail "plans in another order: $(cat "$tmp/compare.json")"
near "dedivae, 24 steps" "$(plan 3 seconds 1)" \
    "$(full --strategy ulysses --dit-devices 0-1 --vae-devices 2)" 1
near "dedivae and aco, 24 steps" "$(plan 2 seconds 1)" \
    "$(full --strategy pipesp --dit-devices 0-1 --vae-devices 2 --aco static)" 1
for p in 1 2 3 4; do
    awk -v few="$(plan $p seconds 0)" -v many="$(plan $p seconds 1)" -v bound="$(plan $p bound_seconds 1)" \
        'BEGIN { exit !(few < many && many >= bound) }' || fail "plan $p: $(cat "$tmp/compare.json")"
done
# The same command, the same numbers, to the last digit.
for _ in 1 2; do
    # shellcheck disable=SC2086
    passes "$simulate" $size --prompts 4 --compare 12,24 --ablation --stats "$tmp/again.json"
    sed -n '/"plans"/,$p' "$tmp/again.json" >"$tmp/plans"
    sed -n '/"plans"/,$p' "$tmp/compare.json" | cmp - "$tmp/plans" || fail "other times: $(cat "$tmp/compare.json" "$tmp/again.json")"
done
# Their framework's ways show in their plans alone.
ours=$(plan 4 seconds 1) theirs=$(plan 3 seconds 1)
# shellcheck disable=SC2086
passes "$simulate" $size --prompts 4 --compare 12,24 --ablation --their-step 2 --stats "$tmp/compare.json"
awk -v a="$theirs" -v b="$(plan 3 seconds 1)" 'BEGIN { exit !(b > 1.5 * a) }' ||
    fail "steps of twice the time: $theirs s, then $(plan 3 seconds 1) s"
near "ours, whatever theirs are" "$(plan 4 seconds 1)" "$ours" 1e-6

# Halves are as half of the devices with half of the prompts; plans lead from theirs to ours.
# shellcheck disable=SC2086
passes "$simulate" $size --devices 4 --prompts 4 --compare 24 --ingredients --stats "$tmp/compare.json"
grep -o '"plan": *"[^"]*"' "$tmp/compare.json" | cut -d'"' -f4 | tr '\n' ';' |
    grep -q ";as theirs;as theirs, streams;pipesp, decode everywhere;halves, pipesp, decode everywhere;$" ||
    fail "plans in another order: $(cat "$tmp/compare.json")"
halves=$(plan 6 seconds 0)
# shellcheck disable=SC2086
passes "$simulate" $size --devices 2 --prompts 2 --compare 24 --stats "$tmp/compare.json"
near "halves, 24 steps" "$halves" "$(plan 3 seconds 0)" 0.2

# A step from two layers and one more of each kind is the step of a whole run: of both kinds of a family's layers,
# with help and without.
# step MODEL PLAN RUN_OPTIONS: beside the last comparison's plan.
cells=0
step() {
    # shellcheck disable=SC2086
    passes "$simulate" $shape $1 --prompts 1 --num-inference-steps 4 --stats "$tmp/full.json" $3 || return
    near "$1, plan $2, a step" "$("$tool" json "$tmp/compare.json" plans "$2" step_seconds)" \
        "$("$tool" json "$tmp/full.json" step_seconds)" 1
    cells=$((cells + 1))
}
shape="--height 576 --width 1024 --num-frames 5 --devices 3 --platform $source/platforms/a6000x8"
for model in "--model open-sora-plan-1.3 --layers 16 --forwards 1" "--model hunyuan-13b --layers 6"; do
    # shellcheck disable=SC2086
    passes "$simulate" $shape $model --prompts 1 --compare 4 --stats "$tmp/compare.json"
    step "$model" 1 "--strategy ulysses --dit-devices 0-1 --vae-devices 2"
    step "$model" 2 "--strategy pipesp --dit-devices 0-1 --vae-devices 2 --aco static"
    step "$model" 3 "--strategy pipesp"
done
# With guidance, ours take the negative prompt as long as it is.
guided="--model open-sora-plan-1.3 --layers 8"
# shellcheck disable=SC2086
passes "$simulate" $shape $guided --prompts 1 --compare 4 --stats "$tmp/compare.json"
step "$guided" 3 "--strategy pipesp"
[ $cells -eq 7 ] || fail "$cells steps were compared"

# A table.
cat >"$tmp/table.txt" <<END
# a comment
system X Y --model $demo --platform $source/platforms/h100x8 --devices 3
row X Y 128 128 9 2 1.5 0.5
row X Y 128 128 9 4 2.5 -
row X Y 128 128 9 8 2.5 2 3 2.5 2
END
passes "$simulate" --table "$tmp/table.txt" --csv "$tmp/table.csv"
for line in "X     Y      baseline         3 " "X     Y      optimised        2 " "X     Y      aco              1 " \
    "8 published numbers of 3 rows: median error" "ours: [0-9.]* times as fast .* of 3 rows.*(X Y 128x128x9, [248] steps); slower than the baseline in 0"; do
    grep -q "^$line" "$tmp/out" || fail "no '$line': $(cat "$tmp/out")"
done
grep -q "^of which" "$tmp/out" && fail "ingredients that nobody asked for"
[ "$(wc -l <"$tmp/table.csv")" = 4 ] && grep -q '^X,Y,128,128,9,4,2.5,[0-9.]*,,[0-9.]*,[0-9.]*,"' "$tmp/table.csv" ||
    fail "table.csv: $(cat "$tmp/table.csv")"
grep -q '^ *dedivae  *3 ' "$tmp/out" && grep -q '^ *aco  *2 ' "$tmp/out" || fail "no ablation: $(cat "$tmp/out")"
cp "$tmp/table.csv" "$tmp/once.csv"
passes "$simulate" --table "$tmp/table.txt" --csv "$tmp/table.csv"
cmp "$tmp/once.csv" "$tmp/table.csv" ||
    fail "another table the second time: $(cat "$tmp/once.csv" "$tmp/table.csv")"
# Where ours is slower than the baseline, the table says so and fails.
sed 's/--devices 3/& --their-step 0.05 --their-offload 0.01 --their-decode 0.01/' "$tmp/table.txt" >"$tmp/slow.txt"
"$simulate" --table "$tmp/slow.txt" >"$tmp/out" 2>"$tmp/err" && fail "slower than the baseline, and fine: $(cat "$tmp/out")"
says "ours takes longer than the baseline: X Y 128x128x9, 2 steps"
for table in "$source"/tables/*.txt; do # whole, by its form
    grep -v -e '^#' -e '^system' "$table" | awk 'NF != 9 && NF != 12 { exit 1 }' || fail "$table: a row of another form"
done
passes "$simulate" --table "$tmp/table.txt" --ingredients
grep -q "^of which without framework [0-9.]*, streams [0-9.]*, decode everywhere [0-9.]* times$" "$tmp/out" ||
    fail "no ingredients: $(cat "$tmp/out")"
cat >"$tmp/table.txt" <<END
system X one --model $demo --platform $source/platforms/h800x8 --devices 1 --prompts 1 --baseline --their-step 2
row X one 128 128 9 2 1.5 -
END
passes "$simulate" --table "$tmp/table.txt" --csv "$tmp/table.csv"
grep -q '^X,one,128,128,9,2,1.5,[0-9.]*,,,,""$' "$tmp/table.csv" && ! grep -qi nan "$tmp/out" ||
    fail "a baseline alone: $(cat "$tmp/out" "$tmp/table.csv")"
echo 'row X Y 1 1 1 1 1 1' >"$tmp/table.txt"
refuses 1 "$simulate" --table "$tmp/table.txt"
says "table.txt:1: 'system MODEL GPU OPTIONS'"
refuses 1 "$simulate" --table "$tmp/none.txt"
says "No such file"
refuses 2 "$simulate" --prompts 1 --compare 10,x
says "numbers of steps"
refuses 2 "$simulate" --prompts 1 --compare 10 --strategy ring
says "plans of its own"
refuses 2 "$simulate" --prompts 1 --compare 10 --devices 1
says "two groups need two at least"
refuses 2 "$simulate" --prompts 1 --ingredients
says "goes with --compare"
refuses 2 "$simulate" --prompts 1 --compare 10 --baseline --ablation
says "has one plan"
refuses 2 "$simulate" --prompts 1 --compare 10 --sweep devices=2,3
says "not --sweep"
refuses 2 "$simulate" --prompts 1 --their-step 2
says "goes with --compare"
finish

#!/bin/sh
# Unequal GPUs: on the platform mixed, splits that follow speed reach nine tenths of the sum of all speeds, each the
# speed of such a GPU by itself; what equal splits reach is printed beside.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
mixed=$source/platforms/mixed/platform.txt

# seconds OPTIONS...: of a step.
seconds() {
    passes "$simulate" --model wan-14b --width 832 --height 480 --num-frames 33 --layers 2 --stats "$tmp/s.json" "$@" &&
        "$tool" json "$tmp/s.json" step seconds
}
sum=0
for kind in a6000 l40 half; do
    awk -v kind=$kind '$1 == "kind" { on = $2 == kind } /^fabric/ { on = 1 } /^(switch|bridge)/ { next }
        on { print }' "$mixed" | sed 's/^devices .*/devices 1/' >"$tmp/$kind.txt"
    alone=$(seconds --platform "$tmp/$kind.txt" --strategy single)
    count=$(awk -v kind=$kind '$1 == "kind" { on = $2 == kind } on && $1 == "devices" { print $2 }' "$mixed")
    sum=$(awk -v s="$sum" -v n="$count" -v t="$alone" 'BEGIN { print s + n / t }')
done
for split in speed equal; do
    eval "$split=$(seconds --platform "$mixed" --split $split --strategy ulysses)"
done
awk -v sum="$sum" -v speed="$speed" -v equal="$equal" 'BEGIN {
    printf "of the sum of speeds: by speed %.1f%%, in equal parts %.1f%%\n", 100 / sum / speed, 100 / sum / equal
    exit !(1 / sum / speed >= 0.9 && 1 / sum / speed <= 1 && equal > speed) }' ||
    fail "steps of $speed s by speed and $equal s equally, $sum a second would be all"
finish

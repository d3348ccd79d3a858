#!/bin/sh
# stardit-simulate: its command line, and that a predicted step is never below its bounds, that it moves what
# the strategies' formulas say, and that PipeSP hides exchanges that Ulysses does not.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi

options() {
    grep -o -e '--[a-z][a-z-]*' | sort -u
}
passes "$simulate" --version
passes "$simulate" --help
grep -o -e '^  --[a-z-]*' "$tmp/out" | options >"$tmp/help"
grep -e '^\.B' "$source/man/stardit-simulate.1" | sed 's/\\-/-/g' | options >"$tmp/man"
diff "$tmp/help" "$tmp/man" >"$tmp/diff" || fail "man page: $(cat "$tmp/diff")"

refuses 2 "$simulate" --no-such-option
refuses 2 "$simulate" --height 100
says "multiple of 16"
refuses 2 "$simulate" --strategy rings
says "unknown strategy"
refuses 2 "$simulate" --devices 3 --strategy usp --ulysses-degree 2
says "does not divide"
refuses 1 "$simulate" --platform "$tmp/none"
echo "gpus 8" >"$tmp/platform.txt"
refuses 1 "$simulate" --platform "$tmp"
says "platform.txt:1: unknown name 'gpus'"
echo "devices 7.5" >"$tmp/platform.txt"
refuses 1 "$simulate" --platform "$tmp"
says "platform.txt:1: devices must be a whole number"
printf 'devices 8 # %0500d\n' 1 >"$tmp/platform.txt"
refuses 1 "$simulate" --platform "$tmp"
says "platform.txt:1: longer than 398 characters"
printf 'devices 8\0 9\n' >"$tmp/platform.txt"
for file in "$tmp/platform.txt" /dev/zero; do # which has no end
    refuses 1 "$simulate" --platform "$file"
    says "$file:1: not a text file (it holds a zero byte)"
done

# value WORD FIELD: of the line that begins with WORD.
value() {
    awk -v word="$1" -v field="$2" '$1 == word { print $field }' "$tmp/out"
}
# less A B
less() {
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }'
}

# A link so slow that exchanges matter; one forward, so that no other one hides them.
for strategy in single ulysses ring pipesp; do
    passes "$simulate" --platform "$source/platforms/nvswitch-8" --link-gbps 50 --forwards 1 \
        --model wan-14b --num-frames 17 --layers 4 --strategy $strategy || continue
    step=$(value Step: 2) computing=$(value computing 2) wire=$(value exchanging 7)
    exposed=$(value exposed 2)
    echo "$strategy: step $step s, computing $computing s, links $wire s, exposed $exposed s"
    less "$step" "$computing" && fail "$strategy: a step below its computing"
    less "$step" "$wire" && fail "$strategy: a step below its transfers"
    [ "$(value received 11)" = 1.000000 ] || fail "$strategy: $(grep received "$tmp/out")"
    eval "$strategy=\$exposed"
done
# What a GPU is predicted to hold, beside what StarPU has allocated there at most.
for strategy in single ulysses ring usp pipesp; do
    for streams in 1 2; do
        devices=8
        [ $strategy != single ] || devices=1
        passes "$simulate" --model wan-1.3b --num-frames 81 --devices $devices --memory-gb 80 --layers 2 \
            --strategy $strategy --streams $streams || continue
        predicted=$(value memory 10) held=$(value memory 2)
        echo "$strategy, $streams streams: $held GB held, $predicted GB predicted"
        awk -v p="$predicted" -v h="$held" 'BEGIN { exit !(p > 0.85 * h && p < 1.15 * h) }' ||
            fail "$strategy, $streams streams: $held GB held, $predicted GB predicted"
    done
done
less "$pipesp" "$ulysses" || fail "pipesp exposes $pipesp s, ulysses $ulysses s"
# The table of docs/gpu.md.
rows=0
rate=$(sed -n 's/.*at 6 handles \([0-9]*\) on two cores, by which.*/\1/p' "$source/docs/gpu.md")
grep -e '^| wan-' -e '^| hunyuan-' "$source/docs/gpu.md" | tr -d '|' >"$tmp/table"
while read -r model height width devices tile tasks inserted received held step; do
    rows=$((rows + 1))
    frames=81
    [ "$model" != hunyuan-13b ] || frames=129
    passes "$simulate" --model "$model" --height "$height" --width "$width" --num-frames $frames \
        --devices "$devices" --memory-gb 80 --strategy ulysses
    grep -q "tiles of $tile tokens" "$tmp/out" || fail "$model on $devices: tiles of other sizes than $tile"
    awk -v t="$tasks" -v s="$inserted" -v r="$rate" 'BEGIN { exit !(sprintf("%.3f", t / r) == s) }' ||
        fail "docs/gpu.md: $tasks tasks are not inserted in $inserted s, at $rate a second"
    [ "$(value tasks 2) $(value received 2) $(value memory 2) $(value Step: 2)" = \
        "$tasks $received $held $step" ] ||
        fail "docs/gpu.md has $tasks tasks, $received and $held GB, $step s: $(cat "$tmp/out")"
    # HunyuanVideo: what modulates tokens of text is counted on each device, and is where they are.
    awk -v p="$(value memory 10)" -v h="$held" 'BEGIN { exit !(p > 0.95 * h && p < 1.35 * h) }' ||
        fail "$model on $devices: $held GB held, $(value memory 10) GB predicted"
done <"$tmp/table"
[ $rows -eq 18 ] || fail "docs/gpu.md: $rows rows"
# Of a model with two kinds of layers, some layers say what all of them take.
for layers in 16 32; do
    passes "$simulate" --model open-sora-plan-1.3 --height 480 --width 640 --num-frames 93 --devices 1 \
        --memory-gb 80 --layers $layers
    echo "open-sora-plan-1.3 by $layers of its layers: $(value Step: 2) s, $(value memory 2) GB held," \
        "$(value memory 10) GB predicted"
    awk -v p="$(value memory 10)" -v h="$(value memory 2)" 'BEGIN { exit !(p > 0.95 * h && p < 1.15 * h) }' ||
        fail "open-sora-plan-1.3: $(value memory 2) GB held, $(value memory 10) GB predicted"
    eval "step_$layers=$(value Step: 2) held_$layers=$(value memory 2)"
done
awk -v a="$step_16" -v b="$step_32" -v c="$held_16" -v d="$held_32" \
    'BEGIN { exit !(a > 0.99 * b && a < 1.01 * b && c > 0.97 * d && c < 1.03 * d) }' ||
    fail "open-sora-plan-1.3: another time or memory by half of its layers"
# Unequal GPUs: splits that follow speed come near the sum of the speeds, equal ones wait for the slow.
for split in speed equal; do
    passes "$simulate" --model wan-1.3b --num-frames 17 --layers 2 --devices 3 --device-speed 1,1,0.5 \
        --strategy ulysses --tile-rows 128 --link-latency-us 1 --split $split || continue
    eval "unequal_$split=\$(value Step: 2)"
done
passes "$simulate" --model wan-1.3b --num-frames 17 --layers 2 --devices 1 --strategy single \
    --tile-rows 128
ideal=$(value Step: 2 | awk '{ print $1 / 2.5 }')
echo "speeds 1, 1, 0.5: by speed $unequal_speed s, equally $unequal_equal s, ideal $ideal s"
less "$unequal_speed" "$unequal_equal" || fail "a split by speed is slower than an equal one"
awk -v a="$unequal_speed" -v b="$ideal" 'BEGIN { exit !(a < 1.1 * b) }' ||
    fail "a split by speed takes $unequal_speed s, the ideal is $ideal s"

passes "$simulate" --model "$demo" --devices 2 --height 64 --width 64 --num-frames 17 \
    --trace "$tmp/trace.json"
grep -q '"name":"attention"' "$tmp/trace.json" || fail "no attention in the trace"
grep Machine: "$tmp/out" >"$tmp/machine"
passes "$simulate" --model "$demo" --devices 2 --height 64 --width 64 --num-frames 17 \
    --platform "$source/platforms/nvswitch-8"
grep -q -F -x -f "$tmp/machine" "$tmp/out" || fail "the default platform is not nvswitch-8"
finish

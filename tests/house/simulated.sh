#!/bin/sh
# The guests in simulated time: the family by the name of its size and by a checkpoint's config.json,
# with every strategy; the strategy with a published Wan. Bytes are what the formulas say.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/tests/house/simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi

# moves OPTIONS...: a step that moves what its formula says.
moves() {
    passes "$simulate" "$@" || return
    grep '^Step:' "$tmp/out" | awk '{ exit !($2 > 0) }' || fail "no step: $*"
    grep -q 'formula 1\.000000$' "$tmp/out" || fail "$*: $(grep received "$tmp/out")"
}

for strategy in single ulysses pipesp ring layers; do
    for devices in 1 3; do
        moves --model toy --devices $devices --strategy $strategy
    done
done
moves --model toy --devices 4 --strategy usp --ulysses-degree 2
grep -q '1 forward a step' "$tmp/out" || fail "not one forward a step: $(cat "$tmp/out")"
grep -q '^Model: *12 layers of 16 heads' "$tmp/out" || fail "not the toy: $(cat "$tmp/out")"
# Text that neither fills its tiles nor lets the video end with its own.
for strategy in pipesp ring layers; do
    moves --model toy --num-frames 5 --tile-rows 7 --max-sequence-length 10 --devices 3 \
        --strategy $strategy
done
moves --model wan-1.3b --num-frames 1 --devices 2 --strategy layers
mkdir "$tmp/toy" && "$build/tests/house/toy" "$tmp/toy" 1 || exit 99
for part in vae text_encoder; do
    ln -s "$(cd "$demo" && pwd)/$part" "$tmp/toy/$part"
done
moves --model "$tmp/toy" --devices 2 --strategy layers
refuses 2 "$simulate" --model "$tmp/toy" --devices 8 --strategy layers
says "has 6 layers"
finish

#!/bin/sh
# --plan auto compares what keeps to everything that was given, with it, and the first row is what runs; where nothing
# can keep to it, the one line says to what.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# plan WORDS OPTIONS...: every row has the words, and the plan has the first one's step and memory.
plan() {
    words=$1
    shift
    passes "$generate" --model "$demo" --token-ids 5,6,1 --dry-run --plan auto "$@"
    rows=$(grep -c '^ *[0-9]* .* aco .* streams ' "$tmp/out")
    [ "$rows" -gt 0 ] || fail "$*: no candidates"
    odd=$(grep '^ *[0-9]* .* aco .* streams ' "$tmp/out" | grep -v -e "$words" | head -1)
    [ -z "$odd" ] || fail "$*: not '$words' but: $odd"
    step=$(sed -n 's/^ *1 .* step \([^ ]* s\) .* memory \([^ ]*\) MB.*/\1/p' "$tmp/out")
    grep -q "predicted $step a step" "$tmp/out" || fail "$*: the first row is not the plan, $step: $(cat "$tmp/out")"
}
plan "ulysses  chunk 1 " --devices 2 --strategy ulysses --chunk-heads 1
plan "chunk 1 " --devices 2 --chunk-heads 1
plan "usp .* degree 2 .*together" --devices 2 --ulysses-degree 2
plan "usp .* degree 1 " --devices 2 --strategy usp --ulysses-degree 1
plan "usp .* degree 1 .*together" --devices 2 --ring-degree 2
plan "usp .* degree 2 .*together" --devices 4 --ring-degree 2
plan "pipefusion .* degree 0 " --devices 2 --strategy pipefusion --patches 2
plan "pipefusion .* degree 2 " --devices 4 --strategy pipefusion --ulysses-degree 2
plan "single " --devices 2 --strategy single
plan " 2+1 " --devices 3 --dit-devices 0-1 --vae-devices 2
plan "+" --devices 3 --text-encoder-group vae
plan "apart" --devices 4 --use-cfg-parallel

# none WORDS OPTIONS...: there is no such plan.
none() {
    words=$1
    shift
    refuses 2 "$generate" --model "$demo" --token-ids 5,6,1 --dry-run --plan auto "$@"
    says "no plan for [0-9] devices* keeps to $words\$"
}
none "--strategy pipefusion, --aco dynamic" --devices 3 --strategy pipefusion --aco dynamic
none "--ulysses-degree 3" --devices 2 --ulysses-degree 3
none "--dit-devices 0, --vae-devices 1, --use-cfg-parallel" --devices 2 --dit-devices 0 --vae-devices 1 --use-cfg-parallel
finish

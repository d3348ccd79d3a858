#!/bin/sh
# The examples of docs/ do what they say: the graph agrees with plain C, and the two videos have the
# bytes that stardit-generate writes for the same prompts.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

example=$build/tests/examples
passes "$example/graph"
cat "$tmp/out"
grep -q '^checksum ' "$tmp/out" || fail "no checksum"

if "$info" | grep -q "SentencePiece) yes"; then
    # A short checkpoint: the demo with other defaults.
    mkdir "$tmp/demo"
    ln -s "$demo"/* "$tmp/demo"
    rm "$tmp/demo/stardit.json"
    sed 's/"num_inference_steps": .*/"num_inference_steps": 2,/; s/"num_frames": .*/"num_frames": 5,/
        s/"fps": .*/"fps": 16,/' "$demo/stardit.json" >"$tmp/demo/stardit.json"
    passes "$example/generate" "$tmp/demo" "$tmp/1.y4m" "$tmp/2.y4m"
    cat "$tmp/out"
    passes "$generate" --model "$tmp/demo" --quiet --prompt "a red circle moving right over a blue background" \
        --output "$tmp/red.y4m"
    passes "$generate" --model "$tmp/demo" --quiet --prompt "a blue square moving up" \
        --output "$tmp/blue.y4m"
    same "$tmp/1.y4m" "$tmp/red.y4m"
    same "$tmp/2.y4m" "$tmp/blue.y4m"
    cmp -s "$tmp/1.y4m" "$tmp/2.y4m" && fail "two prompts, one video"

    # Failures end it with one line each: a file that is there already, no checkpoint.
    "$example/generate" "$tmp/demo" "$tmp/1.y4m" "$tmp/3.y4m" >"$tmp/out" 2>"$tmp/err" &&
        fail "replaced a video"
    grep -q '^video 0: .*1.y4m' "$tmp/err" || fail "not said: $(cat "$tmp/err")"
    [ -s "$tmp/3.y4m" ] || fail "the other video was given up"
    "$example/generate" "$tmp/none" "$tmp/4.y4m" "$tmp/5.y4m" >"$tmp/out" 2>"$tmp/err" &&
        fail "made videos without a checkpoint"
    grep -q '^SDT_ERROR_' "$tmp/err" || fail "not said: $(cat "$tmp/err")"
fi
finish

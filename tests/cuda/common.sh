# What the tests on a GPU share; sourced after tests/apps/common.sh. Leaves with 77 where there is no GPU.

"$build/tests/cuda/gpu" >"$tmp/gpu" || exit $?
near=$build/tests/cuda/near

# golden COMPONENT CASE TENSORS DTYPE: all tensors of a golden case are within their limits on cuda:0.
golden() {
    passes "$eval" --component "$1" --model "$golden/$2" --input "$golden/$2/io.safetensors" \
        --compare --devices cuda:0 --dtype "$4"
    sed "s/^/$1 $4: /" "$tmp/out"
    [ "$(grep -c ' ok$' "$tmp/out")" -eq "$3" ] || fail "$1 in $4: not $3 tensors ok"
}

# video NAME OPTIONS...: a small video of the demo checkpoint as $tmp/NAME.safetensors.
video() {
    name=$1
    shift
    passes "$generate" --model "$demo" --token-ids 17,5,33,208,1 --height 48 --width 80 \
        --num-frames 9 --num-inference-steps 2 --quiet --output "$tmp/$name.safetensors" "$@"
}

# like NAME OTHER LIMIT: the two videos differ by at most that relative L2.
like() {
    "$near" "$tmp/$1.safetensors" "$tmp/$2.safetensors" "$3" >"$tmp/out" 2>&1 ||
        fail "$1 is not like $2: $(cat "$tmp/out")"
    sed "s/^/$1 and $2: /" "$tmp/out"
}

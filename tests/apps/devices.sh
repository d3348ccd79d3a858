#!/bin/sh
# Lists of devices: what does not go together, or is not there, is refused in one line before a weight is
# read; and devices of both groups give the bits of any other placement.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

cd "$tmp" || exit 99
g="$generate --model $demo --token-ids 5,1 --output $tmp/v.safetensors --dry-run"

# each line: words that the message must have | options
while IFS='|' read -r words options; do
    case $words in '' | '#'*) continue ;; esac
    # shellcheck disable=SC2086
    refuses 2 $g $options
    says "$words"
done <<END
16: out of range|--devices 16
must be a list of devices|--devices gpu:0
must be a list of devices|--devices cuda:
must be a list of devices|--devices cpu:-1
must be a list of devices|--devices cuda:0,
is no range|--devices cuda:3-1
a list with kinds|--devices 0-3
numbered in their order|--devices cpu:1
numbered in their order|--devices cpu:1,0
named twice|--devices cuda:0,0
beside GPUs the only CPU device is cpu:0|--devices cuda:0,cpu:0-1
--devices, which is needed|--dit-devices 0 --vae-devices cuda:0
cuda:1 is not in --devices|--devices cuda:0 --dit-devices cuda:0 --vae-devices cuda:1
go together|--dit-devices cuda:0
groups name device 3|--devices 2 --dit-devices 0 --vae-devices 3
which compute in float32|--dtype bfloat16
which compute in float32|--devices 2 --dtype bfloat16
must be one of auto|--dtype float16
other devices|--dit-devices 0 --vae-devices 0 --aco static
END
refuses 2 "$info" --devices cpu:3
refuses 2 "$eval" --component vae --model "$golden/wan_vae" --input "$golden/wan_vae/io.safetensors" \
    --compare --dtype bfloat16
says "which compute in float32"
refuses 2 "$bench" runtime --devices 2
says "go with --case"

# One line also where GPUs are asked for and there are none, or not so many.
gpus=$("$info" | sed -n 's/^.*cuda:\([0-9]*\): .*/\1/p' | wc -l)
if [ "$gpus" -eq 0 ]; then
    for options in "--devices cuda:0" "--devices cuda:0,cpu:0" "--dit-devices cuda:0 --vae-devices cuda:0" \
        "--devices cuda:0-1 --vae-devices auto"; do
        # shellcheck disable=SC2086
        refuses 1 $g $options
        says "^stardit-generate: cuda:0: .*\(without CUDA\|no NVIDIA driver\|shows no GPU\|driver\)"
    done
    refuses 1 "$info" --devices cuda:0
    refuses 1 "$eval" --component vae --model "$golden/wan_vae" \
        --input "$golden/wan_vae/io.safetensors" --compare --devices cuda:0
    refuses 1 "$bench" runtime --case small --devices cuda:0
    passes "$info"
    [ "$(grep -c '^GPUs: *none: ' "$tmp/out")" -eq 1 ] || fail "stardit-info does not say why there is no GPU"
else
    refuses 2 $g --devices "cuda:$gpus"
    says "this machine has $gpus GPU"
fi

# What a plan and a run say of kinds and precision.
passes $g --devices cpu:0-2
grep -q 'precision *denoise in float32 on cpu, decode in float32 on cpu' "$tmp/out" ||
    fail "the plan does not tell the precision"
passes "$bench" runtime --case small --devices 2 --repeats 1
passes "$bench" runtime --case small-vae --repeats 1

run() {
    name=$1
    shift
    passes "$generate" --model "$demo" --prompt "a red ball" --prompt "a blue box" --num-frames 5 \
        --num-inference-steps 2 --output "$tmp/$name-%d.safetensors" --stats "$tmp/$name.json" "$@"
}
run one
run both --dit-devices 0 --vae-devices 0 --dtype float32
run shared --dit-devices cpu:0,1 --vae-devices cpu:1,2
for i in 1 2; do
    same "one-$i.safetensors" "both-$i.safetensors"
    same "one-$i.safetensors" "shared-$i.safetensors"
done
grep -q '"name": "cpu:2"' shared.json || fail "--stats does not name devices"
grep -q '"computed_on"' shared.json || fail "--stats does not tell kinds"
finish

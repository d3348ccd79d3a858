#!/bin/sh
# Help, versions and every kind of wrong command line: exit 2 (a wrong request too), one line on stderr,
# nothing written.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

for program in generate eval info bench; do
    passes "$build/stardit-$program" --help
    grep -q "^Usage: stardit-$program" "$tmp/out" || fail "stardit-$program --help"
    [ -s "$tmp/err" ] && fail "stardit-$program --help writes on stderr"
    awk 'length > 100 { exit 1 }' "$tmp/out" || fail "stardit-$program --help is too wide"
    passes "$build/stardit-$program" --version
    grep -q "^stardit-$program [0-9.]* (StarPU [0-9.]*)$" "$tmp/out" || fail "--version"
    refuses 2 "$build/stardit-$program" --no-such-option
done
passes "$bench" kernels --help
passes "$bench" runtime --help
passes "$bench" sched --help

cd "$tmp" || exit 99
g="$generate --model $demo --token-ids 5,1 --output $tmp/v.safetensors"
say=$tmp/words
echo "a prompt" >"$say"
: >"$tmp/there.safetensors"

# each line: words that the message must have | arguments behind "stardit-generate"
while IFS='|' read -r words arguments; do
    case $words in '' | '#'*) continue ;; esac
    # shellcheck disable=SC2086
    refuses 2 $generate $arguments
    says "$words"
done <<EOF
did you mean --num-inference-steps|--num-inference-step 4
did you mean --num-inference-steps|--steps 4
did you mean --guidance-scale|--guidance_scal=3
--transport mpi: must be one of starpu|--model $demo --token-ids 1 --output v.y4m --transport mpi
unexpected argument|model
--model is needed|--prompt x --output v.mp4
--prompt is needed|--model $demo --output v.y4m
--output is needed|--model $demo --prompt x
exclude one another|--model $demo --prompt x --token-ids 1 --output v.y4m
exclude one another|--model $demo --token-ids 1 --negative-prompt x --negative-prompt-embeds y --output v.y4m
--height x: must be an integer|--height x
--height 0: out of range|--height 0
--height 1e3: must be an integer|--height 1e3
--height needs a value|--height
--height needs a value|--height --width 64
--guidance-scale nan: must be a number|--guidance-scale nan
--guidance-scale -1: out of range|--guidance-scale -1
--seed -1: must be an integer|--seed -1
--seed 99999999999999999999: must be|--seed 99999999999999999999
--sampler heun: must be one of unipc|--sampler heun
schedule old is one of UniPC|--model $demo --token-ids 1 --output v.y4m --sampler euler --sampler-schedule old
schedule linear is one of euler|--model $demo --token-ids 1 --output v.y4m --sampler-schedule linear
--progress never: must be one of|--progress never
--force takes no value|--force=yes
compute in float32|--model $demo --prompt x --output v.y4m --dtype bfloat16
--latents is needed|--model $demo --num-inference-steps 0 --output v.y4m
exists already|--model $demo --token-ids 1 --output $tmp/there.safetensors
exists already|--model $demo --token-ids 1 --output v.y4m --stats $tmp/there.safetensors
exists already|--model $demo --token-ids 1 --output v.y4m --save-latent $tmp/there.safetensors
no folder|--model $demo --token-ids 1 --output v.y4m --trace $tmp/none/t.json
are one file|--model $demo --token-ids 1 --output v.safetensors --save-latent v.safetensors
must end in .png|--model $demo --token-ids 1 --output v.y4m --contact-sheet sheet.jpg
avi|--model $demo --token-ids 1 --output v.avi
none|--model $demo --token-ids 1 --output $tmp/none/v.y4m
multiple of 16|--model $demo --token-ids 1 --output v.y4m --height 100
4 k + 1|--model $demo --token-ids 1 --output v.y4m --num-frames 16
unknown strategy|--model $demo --token-ids 1 --output v.y4m --strategy rings
unknown scheduler|--model $demo --token-ids 1 --output v.y4m --scheduler fastest
16: out of range|--model $demo --token-ids 1 --output v.y4m --devices 16
workers per device|--model $demo --token-ids 1 --output v.y4m --devices 15 --workers-per-device 9
workers per device|--model $demo --token-ids 1 --output v.y4m --devices 2 --workers-per-device 1,40
3 numbers for 2 devices|--model $demo --token-ids 1 --output v.y4m --devices 2 --workers-per-device 2,1,1
whole numbers|--model $demo --token-ids 1 --output v.y4m --devices 2 --workers-per-device 1.5
numbers above 0|--model $demo --token-ids 1 --output v.y4m --devices 2 --workers-per-device 2,
2 numbers for 3 devices|--model $demo --token-ids 1 --output v.y4m --devices 3 --device-speed 1,0.5
numbers above 0|--model $demo --token-ids 1 --output v.y4m --devices 2 --device-speed 1,0
must be numbers|--model $demo --token-ids 1,x --output v.y4m
is not 0 to|--model $demo --token-ids 1,100000 --output v.y4m
must be one number of pixels|--model $demo --token-ids 1 --output v.y4m --tile-size 32x
tile|--model $demo --token-ids 1 --output v.y4m --tile-size 32 --tile-stride 48
EOF

while IFS='|' read -r words arguments; do
    # shellcheck disable=SC2086
    refuses 2 $eval $arguments
    says "$words"
done <<EOF
--component is needed|--input $golden/wan_dit/io.safetensors --compare
--input is needed|--component vae --compare
--component dit: must be one of|--component dit
--model is needed|--component vae --input $golden/wan_vae/io.safetensors --compare
nothing to|--component scheduler --input $golden/schedulers/io.safetensors
exists already|--component scheduler --input $golden/schedulers/io.safetensors --output $tmp/there.safetensors
out of range|--component vae --model x --input y --compare --devices 0
unknown strategy|--component vae --model x --input y --compare --strategy rings
EOF
refuses 2 "$info" --model "$demo" --height 50
refuses 2 "$info" --devices 99
refuses 2 "$bench"
refuses 2 "$bench" runtimes
refuses 2 "$bench" kernels --device gpu
refuses 2 "$bench" kernels linears
refuses 2 "$bench" runtime --layers 0
refuses 2 "$bench" sched --tasks 0
refuses 2 "$bench" sched --workers 3

# Underscores, "=", and the last of two count as users expect; --dry-run writes nothing.
passes "$generate" --model="$demo" --token_ids=5,1 --num_frames=5 --num-frames=9 --dry-run
grep -q "9 frames" "$tmp/out" || fail "the last --num-frames does not count"
passes $g --dry-run --stats "$tmp/s.json" --trace "$tmp/t.json"
passes "$generate" --model "$demo" --prompt "@$say" --dry-run
refuses 1 "$generate" --model "$demo" --prompt "@$tmp/none" --dry-run

rm -f "$tmp/out" "$tmp/err"
left=$(ls "$tmp")
[ "$left" = "there.safetensors
words" ] || fail "files were written: $left"
[ -s "$tmp/there.safetensors" ] && fail "a file was changed"
finish

#!/bin/sh
# HunyuanVideo's decoder in whole runs: the same bytes of the video on any devices, with one group and with
# two, with tiles in space and without; a decode that is stopped keeps the latent; NaN is named.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

model=$tmp/model
mkdir "$model" && golden=$(cd "$golden" && pwd) || exit 99
ln -s "$golden/hunyuan/model_index.json" "$golden/hunyuan/scheduler" "$model/"
ln -s "$golden/hunyuan_dit" "$model/transformer"
cp -r "$golden/hunyuan_vae" "$model/vae"
text="--prompt-embeds $golden/hunyuan/prompt.safetensors"
# 29 frames of 48x80 are 8 latents of 6x10, cut in time into 3 tiles.
size="$text --height 48 --width 80 --num-frames 29 --num-inference-steps 2 --quiet --force"

# run NAME BUSY OPTIONS...: compares with the first of that name; so many devices decoded.
run() {
    name=$1 busy=$2
    shift 2
    # shellcheck disable=SC2086
    passes "$generate" --model "$model" $size --output "$tmp/v.safetensors" --stats "$tmp/s.json" "$@" ||
        return
    [ -f "$tmp/$name.safetensors" ] || cp "$tmp/v.safetensors" "$tmp/$name.safetensors"
    same "$tmp/$name.safetensors" "$tmp/v.safetensors"
    d=0 decoding=0
    while [ "$("$tool" json "$tmp/s.json" device $d tasks 2>/dev/null)" ]; do
        [ "$("$tool" json "$tmp/s.json" device $d roles vae tasks 2>/dev/null || echo 0)" -lt 50 ] ||
            decoding=$((decoding + 1))
        d=$((d + 1))
    done
    [ $decoding -eq "$busy" ] || fail "$name $*: $decoding devices decoded, not $busy"
}

for tiling in "" "--tile-size 32 --tile-stride 24x16"; do
    name=whole all=3 uneven=2 # tiles; in space 36
    [ -z "$tiling" ] || name=tiled all=8 uneven=3
    # shellcheck disable=SC2086
    {
        run $name 1 --devices 1 --workers-per-device 2 $tiling
        run $name $uneven --devices 3 --workers-per-device 2,1,1 $tiling
        run $name $all --devices 8 $tiling
        run $name 3 --devices 3 --scheduler lws $tiling
        run $name 2 --dit-devices 0 --vae-devices 1,2 $tiling
        run $name 1 --dit-devices 0,1 --vae-devices 2 --aco dynamic $tiling
    }
done
cmp -s "$tmp/whole.safetensors" "$tmp/tiled.safetensors" && fail "tiles in space change nothing"

# Stopped while it decodes.
# shellcheck disable=SC2086
"$generate" --model "$model" $text --height 96 --width 96 --num-frames 237 \
    --num-inference-steps 1 --progress plain --output "$tmp/stop.y4m" 2>"$tmp/stop.err" </dev/null &
pid=$!
await grep -q '^decode ' "$tmp/stop.err"
kill -INT $pid
wait $pid
code=$?
[ $code -eq 1 ] && grep -q "stopped on request" "$tmp/stop.err" || fail "exit $code: $(cat "$tmp/stop.err")"
[ ! -e "$tmp/stop.y4m" ] || fail "a video was written"
[ -s "$tmp/stop.latent.safetensors" ] || fail "the latent was not kept"

# A weight that is no number.
chmod -R u+w "$model/vae"
tensor=decoder.up_blocks.1.resnets.0.norm1.weight
"$tool" poison "$golden/hunyuan_vae/diffusion_pytorch_model.safetensors" \
    "$model/vae/diffusion_pytorch_model.safetensors" $tensor nan || fail "cannot poison"
for more in "" "--devices 3" "--tile-size 32 --tile-stride 16"; do
    # shellcheck disable=SC2086
    "$generate" --model "$model" $size --output "$tmp/nan.y4m" $more 2>"$tmp/err" && fail "exit 0"
    grep -q "vae: tensor $tensor holds NaN" "$tmp/err" || fail "NaN: $(cat "$tmp/err")"
    [ ! -e "$tmp/nan.y4m" ] || fail "a video was written"
    rm -f "$tmp"/nan.*
done
finish

#!/bin/sh
# What a run writes lies in places of its own: two outputs in one place, by whatever names, and an output in the place
# of something that is read, are refused before anything runs, and nothing is lost.
STARDIT_BUILD_DIR=$(cd "${STARDIT_BUILD_DIR:-.}" && pwd) STARDIT_SOURCE_DIR=$(cd "${STARDIT_SOURCE_DIR:-.}" && pwd)
. "$STARDIT_SOURCE_DIR/tests/apps/common.sh"
cd "$tmp" || exit 99
simulate=$build/stardit-simulate
mkdir o in
ln -s o link
ln -s o/a.y4m dangling
size="--height 32 --width 32 --num-frames 5 --num-inference-steps 2 --quiet"
small="$size --token-ids 5,6,1"

# ---- two outputs ----
# pair SAYS OPTIONS...: refused by stardit-generate, and no file appears.
pair() {
    words=$1
    shift
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" $small "$@"
    says "$words"
    [ -z "$(ls o)" ] || fail "there is $(ls o) after $*"
}
pair "output and --stats are one file, o/a.y4m" --output o/a.y4m --stats o/a.y4m
pair "output o/a.y4m and --stats $tmp/o/a.y4m are one file" --output o/a.y4m --stats "$tmp/o/a.y4m"
pair "output o/a.y4m and --trace ./o//a.y4m are one file" --output o/a.y4m --trace ./o//a.y4m
pair "are one file" --output o/a.y4m --dot link/a.y4m
pair "are one file" --output dangling --stats o/a.y4m
pair "are one file" --output o/x.safetensors --save-latent o/../o/x.safetensors
pair "are one file" --output o/x.png --num-frames 1 --contact-sheet link/x.png
pair "trace o/t.json and --stats link/t.json are one file" --output o/a.y4m --stats link/t.json --trace o/t.json
pair "checkpoint-every o/a.state.safetensors are one file" --output o/a.y4m --checkpoint-every 1 \
    --save-latent link/a.state.safetensors
small=$size pair "output o/2.y4m and --stats link/2.y4m are one file" --prompt a --prompt b --output o/%d.y4m \
    --stats link/2.y4m

# ---- an output and an input ----
dit=in/transformer.safetensors vae=in/vae.safetensors
cp "$demo/transformer/diffusion_pytorch_model.safetensors" $dit
cp -r "$demo/vae" in/vae
printf 'a red circle' >in/prompt
"$tool" names "$dit" >before
# shellcheck disable=SC2086
kept() {
    words=$1
    shift
    refuses 2 "$@"
    says "$words"
    "$tool" names "$dit" | cmp -s - before && [ "$(cat in/prompt)" = "a red circle" ] || fail "an input is lost: $*"
}
own="$generate --model $demo $size --force --output o/a.y4m"
# shellcheck disable=SC2086
{
    kept "save-latent link/../in/transformer.safetensors: would replace what --transformer reads" \
        $own --token-ids 5,6,1 --transformer $dit --save-latent link/../in/transformer.safetensors
    kept "stats ./in/prompt: would replace what --prompt-file reads" \
        $own --prompt-file in/prompt --stats ./in/prompt
    kept "dot in/prompt: would replace what --prompt reads" $own --prompt @in/prompt --dot in/prompt
    kept "would replace what --lora reads" $own --token-ids 5,6,1 --lora $dit --save-latent $dit
    kept "trace in/vae/config.json: would replace a file of the folder that --vae reads" \
        $own --token-ids 5,6,1 --vae in/vae --trace in/vae/config.json
    # A video beside a checkpoint is nobody's loss.
    passes "$generate" --model "$demo" $small --vae in/vae --output in/vae/v.y4m
    passes "$generate" --model "$demo" $small --vae in/vae --output in/vae/v.y4m --force
}
# ---- other programs ----
cp "$(ls "$golden"/schedulers/*.safetensors | head -1)" in/t.safetensors
refuses 2 "$eval" --component scheduler --input in/t.safetensors --output o/x --stats link/x
says "output o/x and --stats link/x are one file"
refuses 2 "$eval" --component scheduler --input in/t.safetensors --output link/../in/t.safetensors --force
says "would replace what --input reads"
if [ -x "$simulate" ]; then
    refuses 2 "$simulate" --model wan-1.3b --trace o/x --stats link/x
    says "stats link/x and --trace o/x are one file"
    refuses 2 "$simulate" --model wan-1.3b --dot o/x --trace "$tmp/o/x"
    says "are one file"
    refuses 2 "$simulate" --model wan-1.3b --sweep devices=1,2 --csv o/x --svg link/x
    says "csv o/x and --svg link/x are one file"
    cp "$source/platforms/nvswitch-8/platform.txt" in/platform.txt
    refuses 2 "$simulate" --model wan-1.3b --platform in --stats in/platform.txt
    says "stats in/platform.txt: would replace what --platform reads"
fi
[ -z "$(ls o)" ] || fail "there is $(ls o)"

# ---- standard output has one name, which not every option takes ----
for option in trace dot save-latent; do
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" $small --output o/a.y4m --$option -
    says "$option -: is not written to standard output"
done
refuses 2 "$eval" --component scheduler --input in/t.safetensors --output -
says "output -: is not written to standard output"
refuses 2 "$info" --platform -
says "platform -: is not written to standard output"
refuses 2 "$bench" policies --gantt -
says "gantt -"
if [ -x "$simulate" ]; then
    for option in trace dot; do
        refuses 2 "$simulate" --model wan-1.3b --$option -
        says "$option -: is not written to standard output"
    done
    for option in csv svg; do
        refuses 2 "$simulate" --model wan-1.3b --sweep devices=1,2 --$option -
        says "$option -: is not written to standard output"
    done
fi
[ ! -e ./- ] || fail "a file is named -"
finish

#!/bin/sh
# --lora: a LoRA gives the bits of the checkpoint into which it was merged, whatever type that is stored in, on any
# devices, twice in one run and after a state; several add up; what does not fit is refused by name.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
weights=diffusion_pytorch_model.safetensors
dit=$demo/transformer/$weights
one="--token-ids 5,6,7,1 --height 32 --width 32 --num-frames 5 --num-inference-steps 2 --quiet --force"

# video NAME OPTIONS...: a short one of the demo's.
video() {
    name=$1
    shift
    # shellcheck disable=SC2086
    passes "$generate" --model "$demo" $one --output "$tmp/$name.y4m" "$@"
}
differ() { ! cmp -s "$1" "$2" || fail "$1 and $2 are alike"; }

video plain
for type in F32 BF16 F16 F64; do
    "$tool" store "$dit" "$tmp/$type.safetensors" $type || exit 99
    # F64 is rounded to float32 when it is read, and so is what is merged.
    into=$type
    [ $type != F64 ] || into=F32
    "$tool" lora "$tmp/$type.safetensors" "$tmp/lora.safetensors" "$tmp/merged.safetensors" $into || exit 99
    video merged --transformer "$tmp/merged.safetensors"
    video lora --transformer "$tmp/$type.safetensors" --lora "$tmp/lora.safetensors:0.5"
    same "$tmp/merged.y4m" "$tmp/lora.y4m"
    differ "$tmp/plain.y4m" "$tmp/lora.y4m"
done
"$tool" lora "$tmp/F32.safetensors" "$tmp/lora.safetensors" "$tmp/merged.safetensors" F32 || exit 99
lora="--transformer $tmp/F32.safetensors --lora $tmp/lora.safetensors:0.5"
video merged --transformer "$tmp/merged.safetensors"
# shellcheck disable=SC2086
for options in "--devices 3" "--devices 2 --workers-per-device 2 --strategy ulysses" \
    "--devices 3 --dit-devices 0-1 --vae-devices 2" "--lora $tmp/lora.safetensors:-0.5 $lora"; do
    video lora $lora $options
    same "$tmp/merged.y4m" "$tmp/lora.y4m"
done
video twice --transformer "$tmp/F32.safetensors" --lora "$tmp/lora.safetensors:0.25" --lora "$tmp/lora.safetensors:0.25"
differ "$tmp/twice.y4m" "$tmp/plain.y4m"
video far --lora "$tmp/lora.safetensors"
differ "$tmp/far.y4m" "$tmp/merged.y4m"
video none --lora "$tmp/lora.safetensors:0"
same "$tmp/none.y4m" "$tmp/plain.y4m"

# Names of the original repository.
"$tool" names "$tmp/lora.safetensors" | sed 's/.*/& &/
s/ transformer\./ diffusion_model./
s/attn1\([^ ]*\)$/self_attn\1/; s/attn2\([^ ]*\)$/cross_attn\1/
s/to_\([qkv]\)\([^ ]*\)$/\1\2/; s/to_out\.0\([^ ]*\)$/o\1/
s/norm2\([^ ]*\)$/norm3\1/; s/ffn\.net\.0\.proj\([^ ]*\)$/ffn.0\1/; s/ffn\.net\.2\([^ ]*\)$/ffn.2\1/
s/lora_A\([^ ]*\)$/lora_down\1/; s/lora_B\([^ ]*\)$/lora_up\1/' >"$tmp/map"
grep -q ' diffusion_model.blocks.0.self_attn.q.lora_down.weight' "$tmp/map" || fail "the original's names"
"$tool" rename "$tmp/original.safetensors" "$tmp/lora.safetensors" <"$tmp/map" || exit 99
video lora --transformer "$tmp/F32.safetensors" --lora "$tmp/original.safetensors:0.5"
same "$tmp/merged.y4m" "$tmp/lora.y4m"

# The same settings in the file's metadata, as diffusers keeps them, or beside it, as PEFT does.
mkdir "$tmp/peft" && cp "$tmp/lora.safetensors" "$tmp/peft/adapter_model.safetensors" || exit 99
echo '{"peft_type": "LORA", "r": 4, "lora_alpha": 2, "alpha_pattern": {}}' >"$tmp/peft/adapter_config.json"
"$tool" names "$tmp/lora.safetensors" | grep -q '[.]diff' || fail "no whole differences"
video lora --transformer "$tmp/F32.safetensors" --lora "$tmp/peft/adapter_model.safetensors"
differ "$tmp/merged.y4m" "$tmp/lora.y4m" # differences do not count by alpha
passes "$info" "$tmp/peft/adapter_model.safetensors"
grep -q '^Settings:     of PEFT: times 0.5 for rank 4' "$tmp/out" || fail "stardit-info: $(cat "$tmp/out")"
echo '{"lora_alpha": 4}' >"$tmp/peft/adapter_config.json"
video lora --transformer "$tmp/F32.safetensors" --lora "$tmp/peft/adapter_model.safetensors:0.5"
same "$tmp/merged.y4m" "$tmp/lora.y4m"
# A folder, by diffusers' or PEFT's name of the file in it.
video lora --transformer "$tmp/F32.safetensors" --lora "$tmp/peft:0.5"
same "$tmp/merged.y4m" "$tmp/lora.y4m"
mkdir "$tmp/folder" && cp "$tmp/lora.safetensors" "$tmp/folder/pytorch_lora_weights.safetensors" || exit 99
video lora --transformer "$tmp/F32.safetensors" --lora "$tmp/folder:0.5"
same "$tmp/merged.y4m" "$tmp/lora.y4m"
passes "$info" "$tmp/folder"
grep -q -e "--lora $tmp/folder/pytorch_lora_weights.safetensors" "$tmp/out" || fail "stardit-info: $(cat "$tmp/out")"
echo '{"lora_alpha": -4}' >"$tmp/peft/adapter_config.json"
refuses 1 "$generate" --model "$demo" --token-ids 1 --lora "$tmp/peft/adapter_model.safetensors" --output "$tmp/x.y4m"
says "peft/adapter_config.json: lora_alpha is no number above 0"

# What is not finite in one is found there.
bad=transformer.blocks.0.attn1.to_k.lora_A.weight
"$tool" poison "$tmp/lora.safetensors" "$tmp/bad.safetensors" $bad nan || exit 99
# shellcheck disable=SC2086
refuses 1 "$generate" --model "$demo" $one --lora "$tmp/bad.safetensors" --output "$tmp/bad.y4m"
says "bad.safetensors: tensor $bad holds NaN"
rm -f "$tmp"/bad.*

# A state is of the checkpoint with its LoRAs, and says which those were.
mkdir -p "$tmp/nan/vae"
for part in "$demo"/*; do [ "${part##*/}" = vae ] || ln -s "$part" "$tmp/nan/"; done
ln -s "$demo/vae/config.json" "$tmp/nan/vae/"
"$tool" poison "$demo/vae/$weights" "$tmp/nan/vae/$weights" decoder.mid_block.resnets.0.conv2.bias nan
# shellcheck disable=SC2086
"$generate" --model "$tmp/nan" $one $lora --checkpoint-every 1 --output "$tmp/s.y4m" 2>"$tmp/err" </dev/null &&
    fail "a decoder of NaN gave a video"
state=$tmp/s.state.safetensors
"$generate" --resume "$state" --output "$tmp/s.y4m" 2>"$tmp/err" </dev/null && fail "NaN"
says "goes on after step 2 of 2"
refuses 2 "$generate" --resume "$state" --quiet --output "$tmp/s.y4m" --model "$tmp/nan"
says "the checkpoint is '.*--model and --lora must be those that it began with"
refuses 2 "$generate" --resume "$state" --quiet --output "$tmp/s.y4m" --lora "$tmp/lora.safetensors:0.4"
says "the checkpoint is"

# ---- what does not fit ---------------------------------------------------------------------------

try() {
    # shellcheck disable=SC2086
    refuses "$1" "$generate" --model "$demo" $one --output "$tmp/x.y4m" --lora "$2"
    says "$3"
}
try 1 "$dit" "tensor '.*' is none of a LoRA that is read"
try 1 "$tmp/nowhere" "^stardit-generate: --lora $tmp/nowhere: No such file or directory; a .safetensors file or its"
mkdir "$tmp/empty"
try 1 "$tmp/empty" "empty: a folder with neither pytorch_lora_weights.safetensors nor adapter_model.safetensors; name the"
try 2 "$tmp/lora.safetensors:much" "the strength must be a number"
try 2 "$tmp/lora.safetensors:" "the strength must be a number"
try 2 "$tmp/lora.safetensors:1e9" "-100 to 100"
try 2 ":0.5" "names no file"
echo "transformer.blocks.0.attn1.to_q.lora_A.weight transformer.blocks.9.attn1.to_q.lora_A.weight" |
    "$tool" rename "$tmp/alien.safetensors" "$tmp/lora.safetensors" || exit 99
try 1 "$tmp/alien.safetensors" "alien.safetensors: tensor 'transformer.blocks.9.attn1.to_q.lora_A.weight' "
refuses 2 "$generate" --model wan-1.3b --prompt x --dry-run --lora "$tmp/lora.safetensors"
says "wan-1.3b is a size"

passes "$info" "$tmp/lora.safetensors"
grep -q "^Holds:        a LoRA: [0-9]* pairs of rank 4, [0-9]* whole differences, 0 values of alpha" "$tmp/out" ||
    fail "stardit-info: $(cat "$tmp/out")"
grep -q -e "--lora $tmp/lora.safetensors" "$tmp/out" || fail "stardit-info does not say how to use it"
finish

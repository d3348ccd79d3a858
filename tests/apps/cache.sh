#!/bin/sh
# Where checkpoints lie: the folders that hf downloads to, by every variable that says so, revisions, variants,
# and messages that name what was searched.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

unset HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE XDG_CACHE_HOME
export HOME="$tmp/nobody"
new=1111111111111111111111111111111111111111
old=2222222222222222222222222222222222222222
hub=$tmp/hub
repository=$hub/models--org--demo
mkdir -p "$repository/refs/refs/pr" "$repository/snapshots/$old"
ln -s "$demo" "$repository/snapshots/$new"
for part in "$demo"/*; do ln -s "$part" "$repository/snapshots/$old/"; done
printf %s $new >"$repository/refs/main"
printf %s $old >"$repository/refs/v1.0"
printf %s $old >"$repository/refs/refs/pr/7"
mkdir -p "$tmp/xdg/huggingface" "$tmp/home" "$tmp/user/.cache/huggingface"
ln -s "$hub" "$tmp/xdg/huggingface/hub"
ln -s "$hub" "$tmp/home/hub"
ln -s "$hub" "$tmp/user/.cache/huggingface/hub"

g="$generate --token-ids 5,1 --height 32 --width 32 --num-frames 5 --num-inference-steps 1 --dry-run"

for place in "HF_HUB_CACHE=$hub" "HUGGINGFACE_HUB_CACHE=$hub" "HF_HOME=$tmp/home" "XDG_CACHE_HOME=$tmp/xdg" \
    "HOME=$tmp/user" "HF_HUB_CACHE=$hub HF_HOME=/nowhere" "HF_HOME=$tmp/home XDG_CACHE_HOME=/nowhere"; do
    # shellcheck disable=SC2086
    passes env $place $g --model org/demo
    # shellcheck disable=SC2086
    refuses 1 env $place $g --model org/absent
    says "neither a folder nor in $tmp/.*hub (.*; download it with: hf download org/absent"
done
# The first that is set is the one, as for hf.
refuses 1 env HF_HUB_CACHE="$tmp/none" HF_HOME="$tmp/home" $g --model org/demo
says "$tmp/none"
refuses 1 env -u HOME $g --model org/demo
says "HF_HUB_CACHE, HF_HOME and HOME"

export HF_HUB_CACHE="$hub"
# finds FOLDER OPTIONS...: the snapshot that is taken, seen by stardit-info's and the plan's name of it.
finds() {
    wanted=$1
    shift
    # shellcheck disable=SC2086
    passes $g "$@"
    grep -q "$wanted" "$tmp/out" || fail "$*: not $wanted: $(head -3 "$tmp/out")"
}
finds $new --model org/demo
finds $new --model org/demo --revision main
finds $old --model org/demo@v1.0
finds $old --model org/demo --revision v1.0
finds $old --model org/demo@refs/pr/7
finds $old --model org/demo --revision $old
finds $old --model org/demo@2222222
passes "$info" --model org/demo@v1.0
refuses 1 $g --model org/demo@v2
says "has no snapshot of v2; download it with: hf download org/demo --revision v2"
refuses 1 $g --model org/demo@../../x
refuses 1 $g --model org/demo@
refuses 2 $g --model org/demo@v1.0 --revision main
says "names one already"
refuses 2 $g --model "$demo" --revision main
says "is there as it is"
rm "$repository/refs/main"
touch -d yesterday "$repository/snapshots/$old"
finds $new --model org/demo

# What an interrupted download leaves: links to blobs that are not there, or not whole.
mkdir -p "$hub/models--org--half/snapshots/$new/transformer" "$hub/models--org--half/blobs"
for part in "$demo"/*; do
    [ "${part##*/}" = transformer ] || ln -s "$part" "$hub/models--org--half/snapshots/$new/"
done
cp "$demo/transformer/config.json" "$hub/models--org--half/snapshots/$new/transformer/"
ln -s ../../../blobs/abc "$hub/models--org--half/snapshots/$new/transformer/diffusion_pytorch_model.safetensors"
: >"$hub/models--org--half/blobs/abc.incomplete"
refuses 1 $g --model org/half
says "No such file.*; where the download was interrupted, hf download goes on with it"

# What is given beside a model is blamed by itself, and on no download.
mkdir "$tmp/empty"
for option in transformer vae text-encoder; do
    refuses 1 $g --model org/demo --$option org/demo
    says "--$option org/demo: No such file or directory; a file or a folder works, and org/name with --model\$"
    refuses 1 $g --model org/demo --$option "$tmp/empty"
    ! grep -q download "$tmp/err" || fail "$(cat "$tmp/err")"
done

# What is no name of the cache is told what one is like.
for name in hf://org/demo https://huggingface.co/org/demo org/demo@ org/demo/transformer demo ''; do
    refuses 1 "$generate" --model "$name" --token-ids 5,1 --dry-run
    says "'$name': no such file or folder; of the Hugging Face cache, org/name or org/name@revision would work"
done
refuses 2 "$generate" --model org/demo --revision= --token-ids 5,1 --dry-run
says "revision '': must be a branch, a tag or a commit"

# Variants: the one that is asked for, else the plain files, else a refusal.
mkdir -p "$tmp/m/transformer"
for part in "$demo"/*; do [ "${part##*/}" = transformer ] || ln -s "$part" "$tmp/m/"; done
weights=diffusion_pytorch_model
ln -s "$demo/transformer/config.json" "$tmp/m/transformer/"
cp "$demo/transformer/$weights.safetensors" "$tmp/m/transformer/"
"$tool" poison "$demo/transformer/$weights.safetensors" "$tmp/m/transformer/$weights.fp16.safetensors" \
    scale_shift_table nan
run="$generate --model $tmp/m --token-ids 5,1 --height 32 --width 32 --num-frames 5 --num-inference-steps 1 --quiet"
passes $run --output "$tmp/plain.y4m"
refuses 1 $run --output "$tmp/variant.y4m" --variant fp16
says "scale_shift_table holds NaN"
refuses 1 $run --output "$tmp/variant.y4m" --variant bf16
says "no component has files of the variant bf16"
refuses 2 $run --output "$tmp/variant.y4m" --variant ../x
cp "$demo/transformer/$weights.safetensors" "$tmp/m/transformer/$weights.bf16.safetensors"
passes $run --output "$tmp/variant.y4m" --variant bf16
same "$tmp/variant.y4m" "$tmp/plain.y4m"
rm "$tmp/m/transformer/$weights.safetensors"
refuses 1 $run --output "$tmp/none.y4m"
says "name a variant"
passes $run --output "$tmp/again.y4m" --variant bf16
finish

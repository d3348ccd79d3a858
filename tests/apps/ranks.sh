#!/bin/sh
# Several ranks (mpirun) make the bytes of one process: uneven shares, every strategy that promises bits, a branch
# of guidance per rank, the decoder on another rank, several families. What goes between ranks is what the plan says;
# weights are loaded where they are read; what ranks cannot do is refused in a line.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# A process that thinks it is one of several, whatever it was built with.
"$info" | grep -q 'MPI yes' || {
    refuses 2 env OMPI_COMM_WORLD_SIZE=2 "$generate" --model "$demo" --prompt x --output "$tmp/v.mp4"
    says 'built without MPI'
    [ $failures -eq 0 ] || exit 1
    echo "built without MPI"
    exit 77
}
mpirun --version 2>/dev/null | grep -q 'Open MPI' || { echo "no mpirun of Open MPI"; exit 77; }
# As root in a container; more ranks than cores; over shared memory.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun="mpirun --oversubscribe --bind-to none --mca btl vader,self --mca mpi_yield_when_idle 1 -np"

text="--token-ids 17,5,33,208,1"
size="--height 48 --width 80 --num-frames 9 --num-inference-steps 3 --quiet --force --workers-per-device 1"

# one NAME OPTIONS...: in one process.
one() {
    name=$1
    shift
    # shellcheck disable=SC2086
    passes "$generate" --model "${model-$demo}" ${text-} $size --output "$tmp/$name.safetensors" \
        --stats "$tmp/$name.json" "$@"
}
# ranks N NAME OPTIONS...: by N ranks; the bytes of NAME.
counted=0
ranks() {
    n=$1 name=$2
    shift 2
    rm -f "$tmp/v.safetensors" "$tmp/v.json"
    # shellcheck disable=SC2086
    passes $mpirun "$n" "$generate" --model "${model-$demo}" ${text-} $size --output "$tmp/v.safetensors" \
        --stats "$tmp/v.json" "$@" || return
    cmp -s "$tmp/v.safetensors" "$tmp/$name.safetensors" || fail "other bytes: $n ranks, $*"
    [ "$(value ranks messages)" -gt 0 ] || fail "$n ranks, $*: nothing was sent"
    for d in $(seq 0 $(($(value device) - 1))); do
        [ "$(value device "$d" tasks)" -gt 0 ] || fail "$n ranks, $*: device $d has no task"
    done
    counted=$((counted + 1))
}
value() { "$tool" json "$tmp/v.json" "$@" 2>/dev/null || echo 0; }
# steps: bytes between ranks in all steps. What a tile starts from is read by the first step's tasks, and as much
# comes back at the end by tasks of another role.
steps() {
    sum=0
    for role in project attention exchange denoise; do
        sum=$((sum + $(value ranks roles $role bytes)))
    done
    echo $((sum - $(value ranks roles io bytes)))
}
# planned: each rank has one device, so between ranks goes what goes between devices.
planned() {
    want=$(printf '%.0f' "$(value plan exchanged_bytes)")
    [ "$(steps)" -eq "$want" ] || fail "$(steps) bytes in the steps, and the plan says $want: $*"
}

one first --strategy single
one usp --devices 4 --strategy usp --ulysses-degree 2
# Two devices on each rank, one on each, and shares that do not come out even.
ranks 2 first --devices 2 --strategy ulysses
[ "$(value ranks count)" -eq 2 ] && [ "$(value devices)" -eq 4 ] || fail "not 4 devices at 2 ranks"
ranks 4 first --devices 1 --strategy ulysses && planned "4 ranks, ulysses"
[ "$(value ranks roles exchange messages)" -eq 1152 ] || fail "not 1152 pieces: 2 x 3 steps, 4 layers, 4 x 12"
ranks 3 first --devices 1 --strategy ulysses && planned "3 ranks, ulysses"
ranks 3 first --devices 1 --strategy pipesp --scheduler lws && planned "3 ranks, pipesp"
ranks 2 first --devices 2 --strategy pipesp --device-speed 1,2,1,3
ranks 4 usp --devices 1 --strategy usp --ulysses-degree 2 && planned "4 ranks, usp"
# A branch per rank, and Ulysses inside: 6 messages a step.
ranks 2 first --devices 1 --use-cfg-parallel && planned "a branch per rank"
ranks 2 first --devices 2 --use-cfg-parallel --strategy ulysses
[ "$(value ranks roles exchange messages)" -eq 0 ] || fail "heads are exchanged between branches"
# Weights are loaded at the ranks that read them: the decoder's at one, the transformer's at the other.
one apart --dit-devices 0 --vae-devices 1
same "$tmp/apart.safetensors" "$tmp/first.safetensors"
ranks 2 first --devices 1 --dit-devices 1 --vae-devices 0
ranks 2 first --devices 1 --dit-devices 0 --vae-devices 1
loads=$(value host roles io tasks)
[ "$loads" -eq "$("$tool" json "$tmp/apart.json" host roles io tasks)" ] ||
    fail "$loads tasks load and collect at two ranks, others in one process"
ranks 2 first --devices 2 --dit-devices 0,2,3 --vae-devices 1 --text-encoder-group vae

# ---- other families, and more than one video ----------------------------------------------------------------

# Half of Open-Sora-Plan's layers see every fourth token; the solver adds noise.
mkdir "$tmp/m" && cp -r "$golden/opensora/." "$tmp/m" && chmod -R u+w "$tmp/m" && mkdir "$tmp/m/vae" || exit 99
cp "$golden/wfvae/config.json" "$golden/wfvae/diffusion_pytorch_model.safetensors" "$tmp/m/vae" || exit 99
cp -r "$demo/tokenizer" "$tmp/m" || exit 99
model=$tmp/m
one opensora --strategy single
ranks 3 opensora --devices 1 --strategy pipesp
# HunyuanVideo: text joins self attention, and what a step makes of its time comes from the host.
mkdir "$tmp/h" && here=$(cd "$golden" && pwd) || exit 99
ln -s "$here/hunyuan/model_index.json" "$here/hunyuan/scheduler" "$tmp/h/" || exit 99
ln -s "$here/hunyuan_dit" "$tmp/h/transformer" && ln -s "$here/hunyuan_vae" "$tmp/h/vae" || exit 99
model=$tmp/h text="--prompt-embeds $golden/hunyuan/prompt.safetensors"
one hunyuan --strategy single
ranks 3 hunyuan --devices 1 --strategy ulysses
unset model
text=
# Layers over the ranks, with keys of the step before, or a block behind another.
one stale --devices 2 --strategy pipefusion --token-ids 17,5,1 --num-inference-steps 8
ranks 2 stale --devices 1 --strategy pipefusion --token-ids 17,5,1 --num-inference-steps 8
one blocks --devices 2 --strategy dualparal --token-ids 17,5,1 --num-frames 33
ranks 2 blocks --devices 1 --strategy dualparal --token-ids 17,5,1 --num-frames 33 && planned "blocks"
# Two videos, decoded elsewhere while the next one is denoised; one goes on from a state.
printf 'a red circle\na blue square\n' >"$tmp/prompts"
one both-%d --prompt-file "$tmp/prompts"
passes $mpirun 2 "$generate" --model "$demo" $size --devices 1 --dit-devices 0 --vae-devices 1 \
    --prompt-file "$tmp/prompts" --output "$tmp/two-%d.safetensors" --save-latent "$tmp/latent-%d.safetensors"
for r in 1 2; do
    same "$tmp/two-$r.safetensors" "$tmp/both-$r.safetensors"
    [ -s "$tmp/latent-$r.safetensors" ] || fail "no latent of video $r"
done

echo "$counted runs on several ranks"

# ---- what cannot be -----------------------------------------------------------------------------------------

# refused WORDS N OPTIONS...: exit 2 and one line of ours with them; mpirun has more to say.
refused() {
    words=$1 n=$2
    shift 2
    # shellcheck disable=SC2086
    $mpirun "$n" "$generate" --model "$demo" --token-ids 17,5,1 $size --output "$tmp/no.safetensors" "$@" \
        >"$tmp/out" 2>"$tmp/err" </dev/null
    code=$?
    count_refused=$((count_refused + 1))
    [ $code -eq 2 ] && [ "$(grep -c '^stardit-generate' "$tmp/err")" -eq 1 ] ||
        fail "exit $code, $(grep -c '^stardit-generate' "$tmp/err") lines: $*"
    says "$words"
    [ ! -e "$tmp/no.safetensors" ] || fail "$*: there is a video"
}
refused 'aco does not go with several ranks' 2 --dit-devices 0 --vae-devices 1 --aco static
refused 'transport nccl does not go with several ranks' 2 --transport nccl
refused 'a video each, do not go with several ranks' 3 --dit-devices 0 --vae-devices 1-2
refused '\--plan auto: does not go with several ranks' 2 --plan auto
refused '\--trace: does not go with several ranks' 2 --trace "$tmp/t.json"
refused '\--checkpoint-every: does not go with several ranks' 2 --checkpoint-every 1
refused 'a number names one, 0 to 1' 2 --dit-devices cpu:0 --vae-devices cpu:1
refused '2 numbers for 4 devices' 2 --devices 2 --device-speed 1,2
refused 'at most 64 in all work' 5 --devices 15
refused '48x80 would work' 2 --height 49
# One rank has other options, or another checkpoint.
# differs CODE WORDS OPTIONS...: of rank 1.
differs() {
    wanted=$1 words=$2
    shift 2
    common="--model $demo --token-ids 17,5,1 $size --output $tmp/no.safetensors"
    # shellcheck disable=SC2086
    $mpirun 1 "$generate" $common : -np 1 "$generate" $common "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    code=$?
    count_refused=$((count_refused + 1))
    [ $code -eq "$wanted" ] && [ "$(grep -c '^stardit-generate' "$tmp/err")" -eq 1 ] || fail "exit $code: $*"
    says "$words"
    says 'rank 1 ('
}
cp -r "$demo" "$tmp/other" && chmod -R u+w "$tmp/other" || exit 99
weights=$tmp/other/transformer/diffusion_pytorch_model.safetensors
printf '\1' | dd of="$weights" bs=1 seek=$(($(wc -c <"$weights") - 9)) conv=notrunc 2>/dev/null || exit 99
differs 2 'checkpoint differs from rank 0' --model "$tmp/other"
differs 2 'guidance-scale differs from rank 0' --guidance-scale 4
differs 2 'the plan (devices, groups, chunks) differs' --scheduler lws
differs 1 'nowhere' --model "$tmp/nowhere"
finish

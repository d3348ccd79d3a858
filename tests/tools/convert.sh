#!/bin/sh
# tools/convert-open-sora-plan.py: pickles of a tiny model, in the layout of the published ones, become a
# folder whose video is that of the folder they were made from. Needs python with torch.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
python=${PYTHON:-python3}
"$python" -c "import torch" 2>/dev/null || { echo "skipped: no $python with torch"; exit 77; }
convert="$source/tools/convert-open-sora-plan.py"

mkdir "$tmp/m" && cp -r "$golden/opensora/." "$tmp/m" && chmod -R u+w "$tmp/m" || exit 99
mkdir "$tmp/m/vae" && cp "$golden/wfvae/config.json" "$golden/wfvae/diffusion_pytorch_model.safetensors" \
    "$tmp/m/vae" && cp -r "$demo/tokenizer" "$tmp/m" || exit 99

# As published: averaged weights with a prefix beside others, an encoder beside the decoder; mT5 whole.
cat >"$tmp/make.py" <<'PY'
import json
import os
import shutil
import sys
import torch

def read(path):
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header, data = json.loads(f.read(size)), f.read()
    header.pop("__metadata__", None)
    return {name: torch.frombuffer(bytearray(data[t["data_offsets"][0]:t["data_offsets"][1]]),
                                   dtype=torch.float32).reshape(t["shape"]) for name, t in header.items()}

model, out = sys.argv[1:]
os.makedirs(out + "/vae")
os.makedirs(out + "/mt5")
vae = read(model + "/vae/diffusion_pytorch_model.safetensors")
ema = {"module." + name: t for name, t in vae.items()}
ema["module.encoder.conv_in.weight"] = ema["module.decoder.inverse_wavelet_transform_in.x"] = torch.ones(2)
torch.save({"ema_state_dict": ema, "state_dict": {"gen_model": {n: 0 * t for n, t in vae.items()}}},
           out + "/vae/merged.ckpt")
shutil.copy(model + "/vae/config.json", out + "/vae")
text = read(model + "/text_encoder/model.safetensors")
text["encoder.embed_tokens.weight"] = text["shared.weight"]
text["decoder.block.0.layer.0.SelfAttention.q.weight"] = text["lm_head.weight"] = torch.ones(3, 3)
torch.save(text, out + "/mt5/pytorch_model.bin")
shutil.copy(model + "/text_encoder/config.json", out + "/mt5")
shutil.copy(model + "/tokenizer/spiece.model", out + "/mt5")
PY
"$python" "$tmp/make.py" "$tmp/m" "$tmp/published" || exit 99

passes "$python" "$convert" --transformer "$tmp/m/transformer" --vae "$tmp/published/vae" \
    --text-encoder "$tmp/published/mt5" "$tmp/converted"
for model in m converted; do
    passes "$generate" --model "$tmp/$model" --token-ids 17,5,33,1 --guidance-scale 1 --height 32 --width 48 \
        --num-frames 5 --num-inference-steps 2 --quiet --output "$tmp/$model.safetensors"
done
same "$tmp/m.safetensors" "$tmp/converted.safetensors"
[ -s "$tmp/converted/tokenizer/spiece.model" ] || fail "no tokenizer"

# A .ckpt by name, and another type.
passes "$python" "$convert" --transformer "$tmp/m/transformer" --vae "$tmp/published/vae/merged.ckpt" \
    --text-encoder "$tmp/published/mt5" --dtype bf16 "$tmp/half"
passes "$info" --model "$tmp/half"
[ "$(wc -c <"$tmp/half/text_encoder/model.safetensors")" -lt \
    "$(wc -c <"$tmp/converted/text_encoder/model.safetensors")" ] || fail "bf16 takes no less room"

# What is missing or another model's is said in one line, and a folder that is there is not written over.
run() {
    "$python" "$convert" "$@" "$tmp/none" >"$tmp/out" 2>"$tmp/err" && fail "$*: was converted"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "$*: $(cat "$tmp/err")"
    rm -rf "$tmp/none"
}
run --transformer "$demo/transformer" --vae "$tmp/published/vae" --text-encoder "$tmp/published/mt5"
says "OpenSoraT2V_v1_3 is needed"
run --transformer "$tmp/m/transformer" --vae "$demo/vae" --text-encoder "$tmp/published/mt5"
says "WFVAEModel is needed"
run --transformer "$tmp/m/transformer" --vae "$tmp/published/vae" --text-encoder "$tmp/m/text_encoder"
says "no pytorch_model.bin"
"$python" "$convert" --transformer "$tmp/m/transformer" --vae "$tmp/published/vae" \
    --text-encoder "$tmp/published/mt5" "$tmp/converted" 2>"$tmp/err" && fail "written over"
says "holds a model already"
finish

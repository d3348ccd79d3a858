#!/usr/bin/env python3
"""Open-Sora-Plan 1.3 as it is published -> the folder that stardit reads.

    tools/convert-open-sora-plan.py --transformer DIR --vae DIR|FILE.ckpt --text-encoder DIR OUTPUT

What is published lies in two repositories: the transformer (any93x640x640) and the decoder (vae) in
Open-Sora-Plan's, the text encoder and its tokenizer in mT5-XXL's. The decoder and the encoder are
pickles of torch, which stardit does not read. Only tensors are unpickled (weights_only), nothing of a
file is run. Written are safetensors files, a tensor at a time, and the configurations beside them:

    OUTPUT/model_index.json             class OpenSoraPlanPipeline
    OUTPUT/transformer                  the files of --transformer, as they are
    OUTPUT/vae                          the decoder's half, of the averaged weights where there are some
    OUTPUT/text_encoder                 the encoder's half, in the stored type or as --dtype says
    OUTPUT/tokenizer                    spiece.model, and tokenizer.json where there is one
    OUTPUT/scheduler                    Euler ancestral, v prediction, terminal SNR zero

Then: stardit-generate --model OUTPUT --prompt ... --output video.mp4. Needs python and torch.
"""

import argparse
import glob
import json
import os
import shutil
import sys

import torch

TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def fail(text):
    sys.exit(f"convert-open-sora-plan: {text}")


def read_json(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except (OSError, ValueError) as error:
        fail(f"{path}: {error}")


def write_json(path, values):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(values, f, indent=2)
        f.write("\n")


def unpickle(path):
    """The tensors of a file, by name; large files stay mapped."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # of torch before 1.6: not a zip file, not to be mapped
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken pickle raises
        fail(f"{path}: {error}")


def write_safetensors(path, tensors, dtype=None):
    """A tensor at a time; under a temporary name until it is whole."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        tensor = tensors[name]
        stored = dtype if dtype and tensor.is_floating_point() else tensor.dtype
        if stored not in TYPES:
            fail(f"{path}: {name} is {tensor.dtype}, no floating point type that is read")
        size = tensor.numel() * torch.empty(0, dtype=stored).element_size()
        header[name] = {"dtype": TYPES[stored], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            tensor = tensors[name]
            if dtype and tensor.is_floating_point():
                tensor = tensor.to(dtype)
            f.write(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    os.replace(path + ".part", path)
    print(f"{path}: {len(tensors)} tensors, {offset} bytes")


def copy(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(source, target)
    print(f"{target}: copied")


def convert_transformer(folder, output):
    config = read_json(os.path.join(folder, "config.json"))
    if config.get("_class_name") != "OpenSoraT2V_v1_3":
        fail(f"{folder}: _class_name is {config.get('_class_name')}; OpenSoraT2V_v1_3 is needed")
    files = glob.glob(os.path.join(glob.escape(folder), "*.safetensors"))
    if not files:
        fail(f"{folder}: no .safetensors file")
    for path in files + glob.glob(os.path.join(glob.escape(folder), "*.safetensors.index.json")):
        copy(path, os.path.join(output, os.path.basename(path)))
    write_json(os.path.join(output, "config.json"), config)


def vae_tensors(path):
    state = unpickle(path)
    if state.get("ema_state_dict"):
        state = {name.replace("module.", ""): t for name, t in state["ema_state_dict"].items()}
    elif "state_dict" in state:
        state = state["state_dict"].get("gen_model", state["state_dict"])
    return {name: t for name, t in state.items()
            if name.startswith("decoder.") and "inverse_wavelet_transform" not in name}


def convert_vae(source, output):
    folder = source if os.path.isdir(source) else os.path.dirname(os.path.abspath(source))
    config = read_json(os.path.join(folder, "config.json"))
    if config.get("_class_name", "WFVAEModel") != "WFVAEModel":
        fail(f"{folder}: _class_name is {config.get('_class_name')}; WFVAEModel is needed")
    latents = config.get("latent_dim", 8)
    config["_class_name"] = "WFVAEModel"
    config.setdefault("scale", [0.18215] * latents)
    config.setdefault("shift", [0.0] * latents)
    pickles = sorted(glob.glob(os.path.join(glob.escape(source), "*.ckpt")))
    if os.path.isdir(source) and not pickles:
        files = glob.glob(os.path.join(glob.escape(source), "*.safetensors"))
        if not files:
            fail(f"{source}: neither a .ckpt nor a .safetensors file")
        for path in files:
            copy(path, os.path.join(output, os.path.basename(path)))
    else:
        tensors = vae_tensors(pickles[-1] if os.path.isdir(source) else source)
        if not tensors:
            fail(f"{source}: no tensor of a decoder")
        write_safetensors(os.path.join(output, "diffusion_pytorch_model.safetensors"), tensors)
    write_json(os.path.join(output, "config.json"), config)


def convert_text(folder, output, dtype):
    config = read_json(os.path.join(folder, "config.json"))
    if config.get("model_type") not in ("mt5", "t5"):
        fail(f"{folder}: model_type is {config.get('model_type')}; mt5 is needed")
    pickles = sorted(glob.glob(os.path.join(glob.escape(folder), "pytorch_model*.bin")))
    if not pickles:
        fail(f"{folder}: no pytorch_model.bin")
    tensors = {}
    for path in pickles:
        tensors.update({name: t for name, t in unpickle(path).items()
                        if name == "shared.weight" or name.startswith("encoder.")})
    tensors.pop("encoder.embed_tokens.weight", None)  # shared.weight again
    if "shared.weight" not in tensors:
        fail(f"{folder}: no tensor shared.weight")
    write_safetensors(os.path.join(output, "model.safetensors"), tensors, dtype)
    write_json(os.path.join(output, "config.json"), config)


def convert_tokenizer(folder, output):
    names = [name for name in ("spiece.model", "tokenizer.json", "tokenizer_config.json")
             if os.path.exists(os.path.join(folder, name))]
    if "spiece.model" not in names and "tokenizer.json" not in names:
        fail(f"{folder}: neither spiece.model nor tokenizer.json")
    for name in names:
        copy(os.path.join(folder, name), os.path.join(output, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transformer", required=True, metavar="DIR")
    parser.add_argument("--vae", required=True, metavar="DIR|FILE.ckpt")
    parser.add_argument("--text-encoder", required=True, metavar="DIR")
    parser.add_argument("--dtype", choices=sorted(DTYPES),
                        help="type of the text encoder's tensors (default: as they are stored)")
    parser.add_argument("output", metavar="OUTPUT")
    o = parser.parse_args()
    if os.path.exists(os.path.join(o.output, "model_index.json")):
        fail(f"{o.output} holds a model already; give a new folder")
    convert_transformer(o.transformer, os.path.join(o.output, "transformer"))
    convert_vae(o.vae, os.path.join(o.output, "vae"))
    convert_text(o.text_encoder, os.path.join(o.output, "text_encoder"), DTYPES.get(o.dtype))
    convert_tokenizer(o.text_encoder, os.path.join(o.output, "tokenizer"))
    write_json(os.path.join(o.output, "scheduler/scheduler_config.json"), {
        "_class_name": "EulerAncestralDiscreteScheduler", "num_train_timesteps": 1000,
        "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing"})
    write_json(os.path.join(o.output, "model_index.json"), {
        "_class_name": "OpenSoraPlanPipeline",
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
        "text_encoder": ["transformers", "MT5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["opensora", "OpenSoraT2V_v1_3"],
        "vae": ["opensora", "WFVAEModel"]})


if __name__ == "__main__":
    main()

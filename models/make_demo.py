#!/usr/bin/env python3
"""Writes models/stardit-demo, a tiny checkpoint in the layout of Wan 2.1 (diffusers folders).

The checkpoint exists so that every program, test and example of stardit can run the whole way from
a prompt to a video in seconds and without a download. Names, shapes, configuration keys and storage
types follow the published checkpoints; only the sizes differ. The weights are seeded random numbers:
nothing was trained, so a prompt gives smooth colourful patterns, not what it asks for.

    pip install numpy sentencepiece "transformers<5" protobuf
    python3 models/make_demo.py [folder]

transformers is used for one thing, the conversion of the sentencepiece model to tokenizer.json.
The same versions of these packages write the same bytes again.
"""

import io
import json
import math
import os
import sys

import numpy as np

SEED = 20253
LATENT_CHANNELS = 8
TEXT_WIDTH = 96

TRANSFORMER = {
    "_class_name": "WanTransformer3DModel",
    "_diffusers_version": "0.33.0",
    "added_kv_proj_dim": None,
    "attention_head_dim": 16,
    "cross_attn_norm": True,
    "eps": 1e-06,
    "ffn_dim": 384,
    "freq_dim": 256,
    "image_dim": None,
    "in_channels": LATENT_CHANNELS,
    "num_attention_heads": 8,
    "num_layers": 4,
    "out_channels": LATENT_CHANNELS,
    "patch_size": [1, 2, 2],
    "pos_embed_seq_len": None,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
    "text_dim": TEXT_WIDTH,
}

VAE = {
    "_class_name": "AutoencoderKLWan",
    "_diffusers_version": "0.33.0",
    "attn_scales": [],
    "base_dim": 16,
    "dim_mult": [1, 2, 2, 2],
    "dropout": 0.0,
    "latents_mean": [-0.31, 0.12, 0.27, -0.05, 0.42, -0.18, 0.09, -0.22],
    "latents_std": [1.30, 0.85, 1.10, 0.95, 1.25, 0.80, 1.05, 1.15],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "z_dim": LATENT_CHANNELS,
}

TEXT_ENCODER = {
    "architectures": ["UMT5EncoderModel"],
    "classifier_dropout": 0.0,
    "d_ff": 192,
    "d_kv": 24,
    "d_model": TEXT_WIDTH,
    "decoder_start_token_id": 0,
    "dense_act_fn": "gelu_new",
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "is_gated_act": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "umt5",
    "num_decoder_layers": 2,
    "num_heads": 4,
    "num_layers": 2,
    "output_past": True,
    "pad_token_id": 0,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "scalable_attention": True,
    "tie_word_embeddings": False,
    "tokenizer_class": "T5Tokenizer",
    "torch_dtype": "bfloat16",
    "use_cache": True,
}

SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "_diffusers_version": "0.33.0",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "disable_corrector": [],
    "dynamic_thresholding_ratio": 0.995,
    "final_sigmas_type": "zero",
    "flow_shift": 3.0,
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "predict_x0": True,
    "prediction_type": "flow_prediction",
    "rescale_betas_zero_snr": False,
    "sample_max_value": 1.0,
    "solver_order": 2,
    "solver_p": None,
    "solver_type": "bh2",
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "linspace",
    "trained_betas": None,
    "use_beta_sigmas": False,
    "use_exponential_sigmas": False,
    "use_flow_sigmas": True,
    "use_karras_sigmas": False,
}

MODEL_INDEX = {
    "_class_name": "WanPipeline",
    "_diffusers_version": "0.33.0",
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
}

DEFAULTS = {
    "height": 64,
    "width": 64,
    "num_frames": 17,
    "num_inference_steps": 20,
    "guidance_scale": 5.0,
    "flow_shift": 3.0,
    "fps": 8,
    "max_sequence_length": 512,
    "negative_prompt": "",
}

EXTRA_IDS = 16


# ---- files ---------------------------------------------------------------------------------------


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False)
        f.write("\n")


def bfloat16(x):
    """float32 array -> its bf16 bits (round to nearest even) as uint16."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_safetensors(path, tensors, dtype):
    """tensors: {name: float32 array}; dtype "BF16" or "F32". Order of names, header padded to 8."""
    header = {"__metadata__": {"format": "pt"}}
    data = io.BytesIO()
    for name in sorted(tensors):
        array = tensors[name]
        raw = (bfloat16(array) if dtype == "BF16" else array.astype("<f4")).tobytes()
        start = data.tell()
        data.write(raw)
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [start, data.tell()],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little"))
        f.write(text)
        f.write(data.getvalue())
    return data.tell()


# ---- the three models ----------------------------------------------------------------------------


class Weights:
    """Draws tensors in a fixed order from one seeded generator."""

    def __init__(self, seed):
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.tensors = {}

    def normal(self, name, shape, std, mean=0.0):
        x = self.random.standard_normal(shape, dtype=np.float32) * np.float32(std)
        self.tensors[name] = (x + np.float32(mean)).astype(np.float32)

    def linear(self, name, n, k, gain=1.0, bias=True):
        self.normal(name + ".weight", (n, k), gain / math.sqrt(k))
        if bias:
            self.normal(name + ".bias", (n,), 0.05)

    def conv(self, name, n, c, kernel, gain=1.0):
        """A random mixing of channels; in space a low-pass, in time mostly the present frame, so
        that random weights give shapes and not grain."""
        tap = {1: [1.0], 2: [1.0, 1.0], 3: [0.25, 0.5, 0.25]}
        past = {1: [1.0], 3: [0.2, 0.3, 0.5]}
        space = np.multiply.outer(tap[kernel[-2]], tap[kernel[-1]])
        window = np.multiply.outer(past[kernel[0]], space) if len(kernel) == 3 else space
        mix = self.random.standard_normal((n, c) + (1,) * len(kernel), dtype=np.float32)
        own = self.random.standard_normal((n, c) + kernel, dtype=np.float32)
        x = mix + own
        if c > LATENT_CHANNELS:  # silu is mostly positive: its mean would become one flat colour
            x -= x.mean(axis=1, keepdims=True)
        x *= window.astype(np.float32)
        self.tensors[name + ".weight"] = x * np.float32(gain / math.sqrt(c) / window.sum())
        self.normal(name + ".bias", (n,), 0.05)


def make_transformer(seed):
    c = TRANSFORMER
    d = c["num_attention_heads"] * c["attention_head_dim"]
    ffn = c["ffn_dim"]
    patch = math.prod(c["patch_size"])
    w = Weights(seed)
    w.normal("scale_shift_table", (1, 2, d), 0.3)
    w.normal(
        "patch_embedding.weight",
        (d, c["in_channels"]) + tuple(c["patch_size"]),
        1.0 / math.sqrt(c["in_channels"] * patch),
    )
    w.normal("patch_embedding.bias", (d,), 0.05)
    w.linear("condition_embedder.time_embedder.linear_1", d, c["freq_dim"], 1.4)
    w.linear("condition_embedder.time_embedder.linear_2", d, d, 1.4)
    w.linear("condition_embedder.time_proj", 6 * d, d, 0.8)
    w.linear("condition_embedder.text_embedder.linear_1", d, c["text_dim"], 1.4)
    w.linear("condition_embedder.text_embedder.linear_2", d, d, 1.4)
    for i in range(c["num_layers"]):
        block = f"blocks.{i}"
        w.normal(f"{block}.scale_shift_table", (1, 6, d), 0.4)
        for attn in ("attn1", "attn2"):
            for part in ("to_q", "to_k", "to_v", "to_out.0"):
                w.linear(f"{block}.{attn}.{part}", d, d)
            for part in ("norm_q", "norm_k"):
                w.normal(f"{block}.{attn}.{part}.weight", (d,), 0.1, 1.5)
        w.normal(f"{block}.norm2.weight", (d,), 0.1, 1.0)
        w.normal(f"{block}.norm2.bias", (d,), 0.1)
        w.linear(f"{block}.ffn.net.0.proj", ffn, d, 1.4)
        w.linear(f"{block}.ffn.net.2", d, ffn, 1.4)
    # The velocity is a multiple of the latent plus what the blocks make of it: steps then wash most of the
    # noise out (dx/dsigma = 1.2 x + f) and leave what depends on prompt, place and time.
    w.linear("proj_out", c["out_channels"] * patch, d, 0.4)
    p = w.tensors["patch_embedding.weight"].transpose(2, 3, 4, 1, 0)  # C fastest, as in proj_out
    w.tensors["proj_out.weight"] += p.reshape(-1, d) * np.float32(1.2 * patch * c["in_channels"] / d)
    return w.tensors


def make_vae(seed):
    c = VAE
    base, z, mult = c["base_dim"], c["z_dim"], c["dim_mult"]
    w = Weights(seed)

    def norm(name, channels, rank=4):
        w.normal(f"{name}.gamma", (channels,) + (1,) * (rank - 1), 0.1, 1.0)

    def res(name, c_in, c_out):
        norm(f"{name}.norm1", c_in)
        w.conv(f"{name}.conv1", c_out, c_in, (3, 3, 3), 1.4)
        norm(f"{name}.norm2", c_out)
        w.conv(f"{name}.conv2", c_out, c_out, (3, 3, 3), 1.4)
        if c_in != c_out:
            w.conv(f"{name}.conv_shortcut", c_out, c_in, (1, 1, 1))

    def middle(name, channels):
        res(f"{name}.resnets.0", channels, channels)
        norm(f"{name}.attentions.0.norm", channels, 3)
        w.conv(f"{name}.attentions.0.to_qkv", 3 * channels, channels, (1, 1))
        w.conv(f"{name}.attentions.0.proj", channels, channels, (1, 1))
        res(f"{name}.resnets.1", channels, channels)

    # The decoder first: what it draws does not depend on the encoder, which stardit never runs.
    w.conv("post_quant_conv", z, z, (1, 1, 1))
    dims = [base * m for m in [mult[-1]] + mult[::-1]]
    upsample_time = c["temperal_downsample"][::-1]
    w.conv("decoder.conv_in", dims[0], z, (3, 3, 3))
    middle("decoder.mid_block", dims[0])
    for i, (c_in, c_out) in enumerate(zip(dims[:-1], dims[1:])):
        block = f"decoder.up_blocks.{i}"
        if i > 0:
            c_in //= 2
        for j in range(c["num_res_blocks"] + 1):
            res(f"{block}.resnets.{j}", c_in if j == 0 else c_out, c_out)
        if i + 1 < len(mult):
            w.conv(f"{block}.upsamplers.0.resample.1", c_out // 2, c_out, (3, 3))
            if upsample_time[i]:
                # Frame 0 is not convolved: near the identity, its colours are those of the others.
                time = f"{block}.upsamplers.0.time_conv"
                w.conv(time, 2 * c_out, c_out, (3, 1, 1), 0.4)
                w.tensors[time + ".weight"][:, :, 2, 0, 0] += np.tile(np.eye(c_out), (2, 1))
    norm("decoder.norm_out", dims[-1])
    w.conv("decoder.conv_out", 3, dims[-1], (3, 3, 3), 1.8)

    dims = [base * m for m in [1] + mult]
    w.conv("encoder.conv_in", dims[0], 3, (3, 3, 3))
    at = 0
    for i, (c_in, c_out) in enumerate(zip(dims[:-1], dims[1:])):
        for j in range(c["num_res_blocks"]):
            res(f"encoder.down_blocks.{at}", c_in if j == 0 else c_out, c_out)
            at += 1
        if i + 1 < len(mult):
            w.conv(f"encoder.down_blocks.{at}.resample.1", c_out, c_out, (3, 3))
            if c["temperal_downsample"][i]:
                w.conv(f"encoder.down_blocks.{at}.time_conv", c_out, c_out, (3, 1, 1))
            at += 1
    middle("encoder.mid_block", dims[-1])
    norm("encoder.norm_out", dims[-1])
    w.conv("encoder.conv_out", 2 * z, dims[-1], (3, 3, 3))
    w.conv("quant_conv", 2 * z, 2 * z, (1, 1, 1))
    return w.tensors


def make_text_encoder(seed, vocabulary):
    c = TEXT_ENCODER
    d, inner, ff = c["d_model"], c["num_heads"] * c["d_kv"], c["d_ff"]
    w = Weights(seed)
    w.normal("shared.weight", (vocabulary, d), 1.0)
    for i in range(c["num_layers"]):
        attention = f"encoder.block.{i}.layer.0.SelfAttention"
        # T5 has no 1/sqrt(d_kv): the queries carry it.
        w.linear(f"{attention}.q", inner, d, 1.5 / math.sqrt(c["d_kv"]), bias=False)
        w.linear(f"{attention}.k", inner, d, 1.0, bias=False)
        w.linear(f"{attention}.v", inner, d, 1.0, bias=False)
        w.linear(f"{attention}.o", d, inner, 1.0, bias=False)
        w.normal(
            f"{attention}.relative_attention_bias.weight",
            (c["relative_attention_num_buckets"], c["num_heads"]),
            1.0,
        )
        w.normal(f"encoder.block.{i}.layer.0.layer_norm.weight", (d,), 0.1, 1.0)
        dense = f"encoder.block.{i}.layer.1.DenseReluDense"
        w.linear(f"{dense}.wi_0", ff, d, 1.2, bias=False)
        w.linear(f"{dense}.wi_1", ff, d, 1.2, bias=False)
        w.linear(f"{dense}.wo", d, ff, 1.2, bias=False)
        w.normal(f"encoder.block.{i}.layer.1.layer_norm.weight", (d,), 0.1, 1.0)
    w.normal("encoder.final_layer_norm.weight", (d,), 0.05, 0.5)
    return w.tensors


# ---- the tokenizer -------------------------------------------------------------------------------

NOUNS = """ball cube box car boat train bird cat dog fish horse tree flower leaf river mountain sea
wave cloud moon sun star sky city street house bridge tower window door table chair lamp candle fire
smoke rain snow storm wind field forest garden desert island beach road path robot child woman man
girl boy dancer painter sailor astronaut balloon kite bicycle clock mirror bottle glass cup circle
square triangle ring line dot stripe wall floor camera light shadow reflection butterfly elephant
rabbit turtle whale ocean lake waterfall castle village market lantern umbrella guitar piano""".split()
ADJECTIVES = """red green blue yellow orange purple white black grey pink brown golden silver bright
dark small large tiny huge slow fast round square soft sharp calm wild old new young quiet warm cold
shiny wet dry smooth rough colourful transparent glowing distant close beautiful cinematic detailed
realistic striped dotted wooden metal paper snowy sunny foggy stormy empty busy""".split()
VERBS = """moves rolls jumps bounces falls rises turns spins flies swims runs walks dances sings
shines fades grows shrinks opens closes drifts floats waits sleeps crosses follows leaves enters
passes reaches climbs slides swings explodes melts freezes burns waves looks smiles""".split()
PLACES = """over under behind beside above below through around across near along inside between
towards against from into onto at in on with without before after""".split()
ADVERBS = """slowly quickly gently suddenly smoothly quietly brightly softly twice again forever
together alone left right upwards downwards""".split()
STYLES = """a close-up|a wide shot|slow motion|time-lapse|aerial view|handheld camera|4k, highly
detailed|black and white film|oil painting|watercolour|pixel art|soft light|golden hour|at night|
in the rain|with a blurred background|25 frames per second|low quality, blurred, still picture|
bright colours, overexposed, static, subtitles|worst quality, low resolution, JPEG artefacts""".replace(
    "\n", " "
).split("|")
OTHER_LANGUAGES = [
    "Ein roter Ball rollt langsam über die grüne Wiese.",
    "Eine Katze schläft auf dem Fensterbrett, während es draußen schneit.",
    "Der Zug fährt über eine alte Brücke und verschwindet im Nebel.",
    "Une balle rouge roule doucement sur l'herbe verte.",
    "Le chat dort près de la fenêtre pendant qu'il neige dehors.",
    "Un bateau à voile traverse la mer au coucher du soleil.",
    "Una pelota roja rueda despacio por la hierba verde.",
    "El niño corre por la playa y salta sobre las olas.",
    "Una palla rossa rotola lentamente sul prato verde.",
    "Czerwona piłka toczy się powoli po zielonej trawie.",
    "Kırmızı bir top yeşil çimenlerin üzerinde yavaşça yuvarlanıyor.",
    "Красный мяч медленно катится по зелёной траве.",
    "Кошка спит у окна, а на улице идёт снег.",
    "Парусник плывёт по спокойному морю на закате.",
    "Μια κόκκινη μπάλα κυλάει αργά στο πράσινο γρασίδι.",
    "红色的球在绿色的草地上慢慢滚动。",
    "一只猫在窗边睡觉，外面正在下雪。",
    "帆船在夕阳下驶过平静的大海。",
    "赤いボールが緑の芝生をゆっくり転がる。",
    "窓のそばで猫が眠っていて、外は雪が降っている。",
    "빨간 공이 초록색 잔디 위를 천천히 굴러간다.",
    "كرة حمراء تتدحرج ببطء على العشب الأخضر.",
    "כדור אדום מתגלגל לאט על הדשא הירוק.",
    "एक लाल गेंद हरी घास पर धीरे-धीरे लुढ़कती है।",
    "ลูกบอลสีแดงกลิ้งช้า ๆ บนสนามหญ้าสีเขียว",
]


def sentences(count, seed):
    """Captions of videos: the language that prompts are written in, mostly English."""
    random = np.random.Generator(np.random.PCG64(seed))

    def pick(words):
        return words[int(random.integers(len(words)))].strip()

    def thing():
        adjectives = [pick(ADJECTIVES) for _ in range(int(random.integers(0, 3)))]
        return " ".join([pick(["a", "the", "one", "two", "some"])] + adjectives + [pick(NOUNS)])

    for i in range(count):
        if i % 8 == 7:
            yield pick(OTHER_LANGUAGES)
            continue
        text = f"{thing()} {pick(VERBS)} {pick(PLACES)} {thing()}"
        if random.random() < 0.5:
            text += f" {pick(ADVERBS)}"
        if random.random() < 0.4:
            text += f", {pick(['while', 'and', 'as', 'then'])} {thing()} {pick(VERBS)}"
        if random.random() < 0.4:
            text += f", {pick(STYLES)}"
        yield text[0].upper() + text[1:] + pick([".", ".", "", "!"])


def make_tokenizer(folder, seed):
    """spiece.model as UMT5 has it (pad 0, </s> 1, <s> 2, <unk> 3, byte pieces, nmt_nfkc) and its
    tokenizer.json and tokenizer_config.json. Returns the number of ids."""
    import sentencepiece
    from transformers import T5Tokenizer
    from transformers.convert_slow_tokenizer import T5Converter

    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(6000, seed),
        model_writer=model,
        model_type="unigram",
        vocab_size=900,
        normalization_rule_name="nmt_nfkc",
        character_coverage=1.0,
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        num_threads=1,
        input_sentence_size=0,
        shuffle_input_sentence=False,
        minloglevel=2,
    )
    with open(os.path.join(folder, "spiece.model"), "wb") as f:
        f.write(model.getvalue())

    class ByteFallbackConverter(T5Converter):
        # transformers drops byte fallback in conversion, so that unknown characters would become
        # <unk> in one file and bytes in the other.
        handle_byte_fallback = True

    slow = T5Tokenizer(os.path.join(folder, "spiece.model"), extra_ids=EXTRA_IDS, legacy=True)
    fast = ByteFallbackConverter(slow).converted()
    fast.add_special_tokens(
        [
            token
            for _, token in sorted(slow.added_tokens_decoder.items())
            if token.content.startswith("<extra_id_")
        ]
    )
    fast.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    added = json.loads(fast.to_str())["added_tokens"]
    write_json(
        os.path.join(folder, "tokenizer_config.json"),
        {
            "added_tokens_decoder": {
                str(token["id"]): {k: token[k] for k in sorted(token) if k != "id"}
                for token in added
            },
            "additional_special_tokens": [f"<extra_id_{i}>" for i in range(EXTRA_IDS)],
            "clean_up_tokenization_spaces": False,
            "eos_token": "</s>",
            "extra_ids": EXTRA_IDS,
            "legacy": True,
            "model_max_length": 512,
            "pad_token": "<pad>",
            "tokenizer_class": "T5Tokenizer",
            "unk_token": "<unk>",
        },
    )
    return fast.get_vocab_size(with_added_tokens=True)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "stardit-demo")
    for part in ("transformer", "vae", "text_encoder", "tokenizer", "scheduler"):
        os.makedirs(os.path.join(root, part), exist_ok=True)

    vocabulary = make_tokenizer(os.path.join(root, "tokenizer"), SEED)
    text_encoder = dict(TEXT_ENCODER, vocab_size=vocabulary)
    write_json(os.path.join(root, "transformer", "config.json"), TRANSFORMER)
    write_json(os.path.join(root, "vae", "config.json"), VAE)
    write_json(os.path.join(root, "text_encoder", "config.json"), text_encoder)
    write_json(os.path.join(root, "scheduler", "scheduler_config.json"), SCHEDULER)
    write_json(os.path.join(root, "model_index.json"), MODEL_INDEX)
    write_json(os.path.join(root, "stardit.json"), DEFAULTS)

    weights = "diffusion_pytorch_model.safetensors"
    for part, name, tensors in (
        ("transformer", weights, make_transformer(SEED + 1)),
        ("vae", weights, make_vae(SEED + 2)),
        ("text_encoder", "model.safetensors", make_text_encoder(SEED + 3, vocabulary)),
    ):
        size = write_safetensors(os.path.join(root, part, name), tensors, "BF16")
        count = sum(t.size for t in tensors.values())
        print(f"{part}: {len(tensors)} tensors, {count} parameters, {size} bytes")
    print(f"tokenizer: {vocabulary} ids")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes tests/golden/bpe: tiny tokenizers of the kinds of LLaMA 3 and CLIP, and their ids of strings.

    pip install tokenizers transformers
    python3 tests/golden/make_bpe.py

Both are trained here, on the strings of tests/golden/tokenizer/cases.json and on words below. Their parts
are those of the published files: for LLaMA 3 the expression that cuts pieces, ignore_merges, added tokens
and a beginning of text; for CLIP normalisation, </w>, and the tokens around a text. `clip/json` has as
tokenizer.json what `clip/vocab` has as vocab.json and merges.txt. cases.json: [{text, llama, clip}].
"""

import json
import os

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer

LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
MORE = [
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nA cat's tail, 12345 hairs<|eot_id|>",
    "A CAT'S <|endoftext|> tail <|StartOfText|>x",
    "it's IT'S they'RE we'll I'd you've I'm can't",
    "1 12 123 1234 12345 3.14 \u0663\u0664\u0665 \u00bd\u2167",
    "\u0130stanbul \u01c5 \u2160\u24b6 \u1e9e \u03a3\u03a3 \u13a0",
    "cafe\u0301 n\u0303 \u1112\u1161\u11ab \u212b \ufb01 \u0344",
    "a\u180eb\u200bc\u2028d\u00a0e\u3000f\u0085g",
    "a\x1cb\x1dc\x1ed\x1fe\x7ff\x01g",
    "x" * 300 + " " * 40 + "\n\n\r\n \n y",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\u6f22\u5b57\u304b\u306a\u4ea4\u3058\u308a\u6587 \ud55c\uad6d\uc5b4 \u0939\u093f\u0928\u094d\u0926\u0940",
    "...!!!???\n\n\n---\r\n###   end",
    "tabs\t\ttabs \t mixed\t ",
]


def train(texts, pre, size, special, suffix=None, normalizer=None):
    model = models.BPE(end_of_word_suffix=suffix) if suffix else models.BPE()
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special,
        show_progress=False,
        **({"end_of_word_suffix": suffix} if suffix else {}),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def make_llama(folder, texts):
    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA), "isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    model = train(texts, pre, 700, [])
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=model["vocab"], merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    begin = tokenizer.token_to_id(SPECIAL[0])
    template = processors.TemplateProcessing(
        single=SPECIAL[0] + " $A", pair=SPECIAL[0] + " $A " + SPECIAL[0] + " $B:1",
        special_tokens=[(SPECIAL[0], begin)],
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    return tokenizer


def make_clip(vocab_folder, json_folder, texts):
    normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    # All letters, as CLIP's has them, and in an order: of those at an end, training makes another each
    # time, by which it chooses between pairs that are as frequent.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [letter + "</w>" for letter in letters]
    model = train(texts, pre, 930, ends, "</w>", normalizer)
    merges = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    words = letters + ends + [a + b for a, b in merges]
    vocab = {word: number for number, word in enumerate(words + ["<|startoftext|>", "<|endoftext|>"])}
    with open(os.path.join(vocab_folder, "vocab.json"), "w", encoding="utf-8") as file:
        json.dump(vocab, file, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(vocab_folder, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    tokenizer = CLIPTokenizer.from_pretrained(vocab_folder)
    tokenizer.backend_tokenizer.save(os.path.join(json_folder, "tokenizer.json"), pretty=False)
    return tokenizer


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "tokenizer", "cases.json"), encoding="utf-8") as file:
        texts = [case["text"] for case in json.load(file)] + MORE
    folders = [os.path.join(here, "bpe", *part) for part in (("llama",), ("clip", "vocab"), ("clip", "json"))]
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    llama = make_llama(folders[0], texts)
    clip = make_clip(folders[1], folders[2], texts)
    with open(os.path.join(here, "bpe", "cases.json"), "w", encoding="utf-8") as file:
        lines = []
        for text in texts:
            case = {"text": text, "llama": llama.encode(text).ids, "clip": clip(text)["input_ids"]}
            lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
        file.write("[\n" + ",\n".join(lines) + "\n]\n")
    print(len(texts), "strings;", llama.get_vocab_size(), "and", len(clip), "ids")


if __name__ == "__main__":
    main()

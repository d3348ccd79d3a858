#!/usr/bin/env python3
"""Writes tests/golden/tokenizer: a T5 tokenizer and the ids that transformers gives to 300 strings.

    pip install numpy sentencepiece "transformers<5" protobuf
    python3 tests/golden/make_tokenizer.py

spiece.model and tokenizer.json (converted by transformers) hold a small Unigram model with T5's ids
(pad 0, </s> 1, <unk> 2) and no byte fallback; the demo checkpoint's tokenizer, which the strings are
encoded with as well, has UMT5's ids and byte fallback. cases.json lists {"text", "t5", "demo"}.

Every string of the list gets the same ids from T5Tokenizer (sentencepiece) and T5TokenizerFast
(tokenizers); candidates on which the two differ are left out and counted. They differ on what no
shared model can mend: long runs of combining characters, which tokenizers normalises cluster by
cluster, and a literal U+2581.
"""

import html
import io
import json
import os
import re
import sys
import warnings

import numpy as np

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.filterwarnings("ignore")

import sentencepiece
from transformers import T5Tokenizer, T5TokenizerFast
from transformers.convert_slow_tokenizer import T5Converter

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "..", "checkpoints")
sys.path.insert(0, os.path.join(MODELS, "training"))
sys.dont_write_bytecode = True  # models/ is distributed as it is
import tokenizer as demo_tokenizer

COUNT = 300
EXTRA_IDS = 100

FIXED = [
    "",
    " ",
    "   \t\n  ",
    "a",
    "A red ball rolls over the green grass.",
    "  leading and trailing  ",
    "tabs\tand\nnew lines\r\nand\x0bmore",
    "many     spaces      between    words",
    "no-break\u00a0space, em\u2003space, ideographic\u3000space, zero\u200bwidth, word\u2060joiner",
    "line\u2028and paragraph\u2029separators, next\u0085line",
    "</s>",
    "a </s> b",
    "a</s>b",
    "</s> at the start",
    "<pad>a<unk>b",
    "<extra_id_0>",
    "The <extra_id_0> walks in <extra_id_1> park",
    "The<extra_id_10>cat<extra_id_9>",
    "<extra_id_7> <extra_id_8>",
    "<extra_id_100> is not one, nor <extra_id_ 1> nor <extra_id_1",
    "< /s> <\u200b/s> </S> </s",
    "&amp; &lt;b&gt; &#39; &nbsp; stays as it is here",
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9",
    "cafe\u0301 nai\u0308ve",
    "\u1100\u1161\u11a8 \ud55c\uad6d\uc5b4",
    "\uff26\uff55\uff4c\uff4c\uff57\uff49\uff44\uff54\uff48 \uff11\uff12\uff13\uff01",
    "\ufb01ne \ufb02ow \u2460 \u33a1 \u2122 \u00bd \u00b2",
    "\U0001f600 smiling \U0001f468\u200d\U0001f469\u200d\U0001f467 family \U0001f1e9\U0001f1ea flag",
    "\u2764\ufe0f \u2600 \U0001f3fd tone \U0001f44d\U0001f3ff",
    "\U0001d49c\U0001d4b7\U0001d4b8 mathematical",
    "\u202eright to left\u202c and \u200eback",
    "\ufeffbyte order mark",
    "control \x01\x02\x1b[31m characters \x7f",
    "\ufffd replacement, \ue000 private use, \U0010ffff last",
    "0123456789 3.14159 1,000,000 50% $5 #hash @at a_b a/b\\c",
    "\u201cquoted\u201d \u2018text\u2019 \u2013 dash \u2014 long \u2026",
    "ab" * 300,
    "a" * 1000,
    "\u7403" * 500,
    "word " * 700,
    "http://example.org/path?query=1&other=2#part",
    "C++ & C# (1972) [x] {y} ~z^2 |w| `q`",
]

OTHER = [
    "\u039f \u03ae\u03bb\u03b9\u03bf\u03c2 \u03b4\u03cd\u03b5\u03b9 \u03c0\u03af\u03c3\u03c9 \u03b1\u03c0\u03cc \u03c4\u03b1 \u03b2\u03bf\u03c5\u03bd\u03ac.",
    "\u592a\u9633\u5728\u5c71\u540e\u843d\u4e0b\uff0c\u5929\u7a7a\u53d8\u6210\u6a59\u8272\u3002",
    "\u592a\u967d\u304c\u5c71\u306e\u5411\u3053\u3046\u306b\u6c88\u3080\u3002",
    "\ud574\uac00 \uc0b0 \ub4a4\ub85c \uc9c4\ub2e4.",
    "\u0627\u0644\u0634\u0645\u0633 \u062a\u063a\u0631\u0628 \u062e\u0644\u0641 \u0627\u0644\u062c\u0628\u0627\u0644.",
    "\u05d4\u05e9\u05de\u05e9 \u05e9\u05d5\u05e7\u05e2\u05ea \u05de\u05d0\u05d7\u05d5\u05e8\u05d9 \u05d4\u05d4\u05e8\u05d9\u05dd.",
    "\u0938\u0942\u0930\u091c \u092a\u0939\u093e\u0921\u093c\u094b\u0902 \u0915\u0947 \u092a\u0940\u091b\u0947 \u0921\u0942\u092c\u0924\u093e \u0939\u0948\u0964",
    "\u0e1e\u0e23\u0e30\u0e2d\u0e32\u0e17\u0e34\u0e15\u0e22\u0e4c\u0e15\u0e01\u0e2b\u0e25\u0e31\u0e07\u0e20\u0e39\u0e40\u0e02\u0e32",
    "\u0421\u043e\u043d\u0446\u0435 \u0441\u0456\u0434\u0430\u0454 \u0437\u0430 \u0433\u043e\u0440\u0438.",
    "M\u1eb7t tr\u1eddi l\u1eb7n sau n\u00fai.",
    "G\u00fcne\u015f da\u011flar\u0131n ard\u0131nda bat\u0131yor.",
    "S\u0142o\u0144ce zachodzi za g\u00f3rami, a \u017c\u00f3\u0142te li\u015bcie spadaj\u0105.",
]


def syllables(count, seed):
    """Words that exist nowhere, so that the model has more pieces than the demo's."""
    random = np.random.Generator(np.random.PCG64(seed))
    parts = [c + v for c in "b d f g k l m n p r s t v z sh ch tr st pl".split() for v in "aeiou"]
    parts += [p + e for p in parts for e in "nrs"]
    common = [
        "".join(parts[int(i)] for i in random.integers(len(parts), size=int(random.integers(1, 4))))
        for _ in range(900)
    ]
    for _ in range(count):
        n = int(random.integers(3, 12))
        yield " ".join(common[int(len(common) * random.random() ** 2)] for _ in range(n)) + "."


def train(folder):
    model = io.BytesIO()
    text = list(demo_tokenizer.sentences(3000, 1)) + list(syllables(4000, 2)) + OTHER * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        model_type="unigram",
        vocab_size=1500,
        normalization_rule_name="nmt_nfkc",
        character_coverage=0.9995,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        input_sentence_size=0,
        shuffle_input_sentence=False,
        minloglevel=2,
    )
    path = os.path.join(folder, "spiece.model")
    with open(path, "wb") as f:
        f.write(model.getvalue())
    slow = T5Tokenizer(path, extra_ids=EXTRA_IDS, legacy=True)
    fast = T5TokenizerFast(tokenizer_object=T5Converter(slow).converted(), extra_ids=EXTRA_IDS)
    fast.backend_tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)


def candidates(seed):
    """FIXED, then prompts made of sentences, odd characters and odd white space."""
    random = np.random.Generator(np.random.PCG64(seed))
    captions = list(demo_tokenizer.sentences(400, seed + 1)) + OTHER + list(syllables(40, seed + 2))
    spaces = [" ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", " \n "]
    odd = ["\U0001f600", "\u2603", "\u00e9", "e\u0301", "\u20ac", "</s>", "<extra_id_3>", "&amp;",
           "\uff21", "\u200b", "\u00df", "\u0130", "\u01c6", "\U00020000", "\ufb03", "%", "\\", "<s>"]  # fmt: skip
    yield from FIXED
    while True:
        words = []
        for _ in range(int(random.integers(1, 3))):
            words += captions[int(random.integers(len(captions)))].split(" ")
        for _ in range(int(random.integers(0, 4))):
            piece = odd[int(random.integers(len(odd)))]
            at = int(random.integers(len(words)))
            words[at] = piece + words[at] if random.random() < 0.5 else words[at] + piece
        if random.random() < 0.2:
            words = [w.upper() for w in words]
        text = words[0]
        for word in words[1:]:
            text += spaces[int(random.integers(len(spaces)))] + word
        if random.random() < 0.2:
            text = html.escape(text).encode("ascii", "xmlcharrefreplace").decode()
        yield text


def main():
    folder = os.path.join(HERE, "tokenizer")
    os.makedirs(folder, exist_ok=True)
    train(folder)
    demo = os.path.join(MODELS, "stardit-demo", "tokenizer")
    pairs = {}
    for name, path, extra in (("t5", folder, EXTRA_IDS), ("demo", demo, demo_tokenizer.EXTRA_IDS)):
        # Each from one file only: transformers would otherwise mix what it finds in the folder.
        slow = T5Tokenizer(os.path.join(path, "spiece.model"), extra_ids=extra, legacy=True)
        if name == "demo":  # as tokenizer_config.json says: <s> is an added token
            slow.add_special_tokens({"bos_token": "<s>"})
        fast = T5TokenizerFast(
            tokenizer_file=os.path.join(path, "tokenizer.json"), extra_ids=extra
        )
        assert len(slow) == len(fast), (len(slow), len(fast))
        pairs[name] = (slow, fast)

    cases, differing = [], []
    for text in candidates(11):
        if len(cases) == COUNT:
            break
        case = {"text": text}
        for name, (slow, fast) in pairs.items():
            case[name] = fast(text)["input_ids"]
            if slow(text)["input_ids"] != case[name]:
                differing.append(text)
                break
        else:
            cases.append(case)
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
        f.write("[\n")
        f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
        f.write("\n]\n")
    print(f"{len(cases)} strings; left out, as the two tokenizers differ: {len(differing)}")
    for text in differing:
        print("   ", ascii(text)[:150])


if __name__ == "__main__":
    main()

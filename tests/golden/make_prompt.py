#!/usr/bin/env python3
"""Writes tests/golden/prompt/cases.json: prompts and what Wan's pipeline makes of them.

    python3 tests/golden/make_prompt.py

The rule is that of diffusers without its optional repair of broken encodings: html.unescape twice,
strip, white space collapsed, strip.
"""

import html
import html.entities
import json
import os
import random
import re

FIXED = [
    "", " ", "\t\n", "plain text", "  two  spaces  and\ttabs\nand\r\nlines \x0b\x0c ",
    "\u00a0no-break\u2003em\u3000wide\u2028line\u2029para\u0085next\u1680ogham\u205fmath ",
    "\x1c\x1dseparators\x1e \x1fare\x1cspace", "\u200bzero width is not\u200b space \ufeff",
    "&amp;", "&amp", "&amp;amp;", "&amp;amp;amp;", "&amp;lt;b&amp;gt;", "&lt;b&gt;bold&lt;/b&gt;",
    "&quot;a&quot; &apos;b&apos; &#39;c&#39; &#x27;d&#X27;", "&nbsp;&nbsp;x&nbsp;&nbsp;y&nbsp;",
    "&copy 2024 &copyright &copycat; &notit; &notin; &notinva; &not", "&ampamp; &ampx &ltx &gt1 &l &;",
    "&NotEqualTilde; &nGt; &nLt; &nGtv; &nLt;&nGt;&nLt;&nGt;", "&CounterClockwiseContourIntegral;",
    "&CounterClockwiseContourIntegralX; &aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;",
    "&#0; &#1; &#8; &#9; &#10; &#11; &#13; &#31; &#32; &#127;", "&#128;&#129;&#130;&#141;&#150;&#159;&#160;",
    "&#x80;&#x85;&#x9f;&#xA0;", "&#xD7FF;&#xD800;&#xDFFF;&#xE000;", "&#xFDD0;&#xFFFE;&#xFFFF;&#x1FFFE;&#x10FFFF;",
    "&#x10FFFD;&#x110000;&#99999999999999999999;&#xFFFFFFFFFFFFFFFFFFFF;", "&#65 &#65; &#65x &#x41 &#x41g &#X41;",
    "&# &#; &#x; &#xg; &#a; &#-5; &", "&&amp;& &&lt;&", "&#38;amp; &#38;#38; &#x26;lt;", "&eacute;t&eacute caf&eacute!",
    "\u00e9&amp\u00e9 &am\u00e9p; &\u00e9;", "a & b &c &d; <e> 'f' \"g\"", "&Amp; &AMP; &AMP &aMP", "&lt &LT &Lt; &lT;",
    "\U0001f600 &hearts; &#128512; &#x1F600;", "&#32;&#32;x&Tab;&NewLine;y&ThinSpace;z&ZeroWidthSpace;",
    "&amp;nbsp;x &amp;#160;y", "tail &amp", "tail &#6", "tail &#x", "tail &", "tail &am",
    "&lang;&rang; &bne; &fjlig; &acE; &frac12; &frac123 &sup1 &sup2x",
    "&abcdefghijklmnopqrstuvwxyzabcdef; &ampbcdefghijklmnopqrstuvwxyzabcdef; &ampbcdefghijklmnopqrstuvwxyzabcdefg;",
]  # fmt: skip


def clean(text):
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip()


def main():
    pick = random.Random(5)
    names = sorted(html.entities.html5)
    prompts = list(FIXED)
    for _ in range(160):
        parts = []
        for _ in range(pick.randint(1, 12)):
            name = pick.choice(names)
            parts.append(
                pick.choice(
                    [
                        "word", " ", "  ", "\n", "&", ";", "#", "\u00e4", "x1",
                        "&" + name, "&" + name.rstrip(";"), "&amp;" + name, "&" + name[:-2],
                        f"&#{pick.randint(0, 1200)};", f"&#x{pick.randint(0, 0x11ffff):x}",
                    ]
                )  # fmt: skip
            )
        prompts.append("".join(parts))
    prompts.append(" ".join("&" + name for name in names))  # all of them
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prompt")
    os.makedirs(folder, exist_ok=True)
    cases = [{"prompt": p, "clean": clean(p)} for p in prompts]
    assert all("\0" not in c["prompt"] + c["clean"] for c in cases)
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
        f.write("[\n")
        f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
        f.write("\n]\n")
    print(len(cases), "prompts")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes html_entities.c beside itself: HTML's named characters, from Python's html.entities.

    python3 graph/text/make_html_entities.py
"""

import html.entities
import os

HEAD = """/* HTML's named character references, sorted by name in byte order.
 * Written by make_html_entities.py from Python's html.entities; do not edit. */
#include "graph/text/html_entities.h"

/* clang-format off */
const struct sdt__html_entity sdt__html_entities[] = {
"""


def main():
    table = sorted((name.encode(), text.encode()) for name, text in html.entities.html5.items())
    lines, line = [], "   "
    for name, text in table:
        octal = "".join(f"\\{byte:03o}" for byte in text)
        item = f' {{"{name.decode()}", "{octal}"}},'
        if len(line) + len(item) > 100:
            lines.append(line)
            line = "   "
        line += item
    lines.append(line)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "html_entities.c")
    with open(path, "w", encoding="ascii") as f:
        f.write(HEAD + "\n".join(lines) + "\n};\n/* clang-format on */\n\n")
        f.write("const size_t sdt__html_entity_count = ")
        f.write("sizeof sdt__html_entities / sizeof *sdt__html_entities;\n")


if __name__ == "__main__":
    main()

#!/bin/sh
# Every file or folder of the tree that the documents name is there. Names are what stands between
# parentheses of a Markdown link, and words in back quotes that begin with a folder of the tree; NAME
# and AREA stand for others.
set -eu
cd "$STARDIT_SOURCE_DIR"
missing=0
checked=0
for document in README.md ARCHITECTURE.md CONTRIBUTING.md docs/*.md checkpoints/README.md; do
    folder=$(dirname "$document")
    links=$(sed 's/](/\n](/g' "$document" | sed -n 's,^](\([^)#:]*\)[)#].*,\1,p' | sed "/^$/d; s,^,$folder/,")
    names=$(tr '`' '\n' <"$document" | sed 's,/$,,' |
        grep -E '^(apps|bench|codelets|docs|graph|include|kernels|m4|models|schedulers|starpu|tests)/[A-Za-z0-9_./-]*$' |
        grep -v -e NAME -e AREA) || :
    for name in $links $names; do
        checked=$((checked + 1))
        if [ ! -e "$name" ]; then
            echo "$document names $name, which is not there" >&2
            missing=$((missing + 1))
        fi
    done
done
echo "$checked names checked, $missing missing"
[ "$missing" = 0 ] && [ "$checked" -gt 20 ]

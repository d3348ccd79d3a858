#!/bin/sh
# The unmodified openai Python client against stardit-serve: in a virtual environment in the build folder, skipped
# where it cannot be installed.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"
version=3.57.0
venv=$build/long/openai
if ! "$venv/bin/python" -c "import openai; assert openai.__version__ == '$version'" 2>/dev/null; then
    mkdir -p "$build/long"
    python3 -m venv "$venv" >"$tmp/venv" 2>&1 && "$venv/bin/pip" install -q "openai==$version" >>"$tmp/venv" 2>&1 || {
        echo "serve: openai $version cannot be installed: $(tail -1 "$tmp/venv")"
        exit 77
    }
fi
echo 0123456789abcdef-token >"$tmp/token"
chmod 600 "$tmp/token"
start --token-file "$tmp/token" --max-waiting 4
alone "$tmp/want.mp4" --prompt "a red circle, été" --num-inference-steps 5 --seed 7 --negative-prompt night
passes "$venv/bin/python" -W ignore "$source/tests/long/serve_client.py" "$url/v1" "$(cat "$tmp/token")" \
    "$tmp/got.mp4"
cat "$tmp/out"; tail -3 "$tmp/err"
same "$tmp/got.mp4" "$tmp/want.mp4"
stop
finish

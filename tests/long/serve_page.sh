#!/bin/sh
# The page of stardit-serve in headless Chromium, driven by playwright: in a virtual environment in the build
# folder, skipped where it cannot be installed or there is no Chromium. Pictures of it are in long/page-*.png.
. "${STARDIT_SOURCE_DIR:-.}/tests/serve/common.sh"
version=1.65.2
venv=$build/long/playwright
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "serve: no Chromium"
    exit 77
}
if ! "$venv/bin/python" -c "import playwright" 2>/dev/null; then
    mkdir -p "$build/long"
    python3 -m venv "$venv" >"$tmp/venv" 2>&1 && "$venv/bin/pip" install -q "playwright==$version" >>"$tmp/venv" 2>&1 || {
        echo "serve: playwright $version cannot be installed: $(tail -1 "$tmp/venv")"
        exit 77
    }
fi
echo 0123456789abcdef-token >"$tmp/token"
chmod 600 "$tmp/token"
start --token-file "$tmp/token" --traces
alone "$tmp/want.mp4" --prompt "a red circle" --num-inference-steps 20 --seed 7
passes "$venv/bin/python" "$source/tests/long/serve_page.py" "$url" "$chromium" "$(cat "$tmp/token")" "$build/long" \
    "$tmp/got.mp4"
cat "$tmp/out"
same "$tmp/got.mp4" "$tmp/want.mp4"
stop
finish

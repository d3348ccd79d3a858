#!/bin/sh
# Makes configure and the other generated files of a fresh clone.
set -e
cd "$(dirname "$0")"
exec autoreconf --install --force "$@"

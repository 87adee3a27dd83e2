#!/usr/bin/env bash
# Hashed requirement files from the .in files, for both environments. No addresses are written.
set -euo pipefail
cd "$(dirname "$0")/.."
for item in setup:3.11 gateway:3.11 test:3.11 train:3.11 rasa:3.10; do
  name=${item%:*}
  .venv/bin/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header --no-emit-index-url \
    --python-version "${item#*:}" "requirements/$name.in" -o "requirements/$name.txt"
done

#!/usr/bin/env bash
# The static checks: lint, format, types, import levels.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
[ ! -f .importlinter ] || .venv/bin/lint-imports

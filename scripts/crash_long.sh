#!/usr/bin/env bash
# The crash tests under load, long: fifty kills of the gateway, half a minute without a database. Prints what was lost.
set -euo pipefail
cd "$(dirname "$0")/.."
export PASSERELLE_KILLS="${1:-50}" PASSERELLE_OUTAGE="${2:-30}"
exec .venv/bin/python -m pytest tests/crash/test_load.py -s -p no:randomly

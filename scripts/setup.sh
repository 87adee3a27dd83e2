#!/usr/bin/env bash
# Set-up in named steps: gateway | engine | tests | browser | train. Each step does nothing when its stamp (a checksum of
# what it installs) is current, so a second `make run` loses no time here.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "passerelle set-up: $*" >&2; }
fail() { say "$*"; exit 1; }
stamp_of() { cat "$@" | cksum | tr -d ' '; }
fresh() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# First interpreter of a wanted version: pyenv's own folders (its shims fail without PYENV_VERSION), then PATH.
find_python() {
  local minor candidate
  for minor in "$@"; do
    for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$minor".*/bin/python "$(command -v "python$minor" || true)"; do
      if [ -x "$candidate" ] && "$candidate" -c "import sys, ssl, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$minor')" 2>/dev/null; then
        printf '%s\n' "$candidate"; return 0
      fi
    done
  done
  return 1
}

make_gateway_env() {
  local python
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python 3.11 3.12 3.13) || fail "no Python 3.11, 3.12 or 3.13 found. Install one (Debian: apt-get install python3 python3-venv) and run make again."
    say "creating .venv with $python"
    "$python" -m venv .venv
  fi
  if ! .venv/bin/uv --version >/dev/null 2>&1; then
    .venv/bin/python -m pip install --quiet --require-hashes -r requirements/setup.txt
  fi
}

sync_gateway() {  # $1: gateway or test (test holds all of gateway)
  make_gateway_env
  local sum; sum=$(stamp_of "requirements/$1.txt" pyproject.toml)
  fresh ".venv/.stamp-$1" "$sum" && return 0
  say "installing requirements/$1.txt into .venv (a minute at most)"
  .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements/setup.txt -r "requirements/$1.txt"
  .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
  printf '%s' "$sum" > ".venv/.stamp-$1"
}

sync_engine() {
  make_gateway_env
  local sum python; sum=$(stamp_of requirements/rasa.txt)
  fresh .venv-rasa/.stamp "$sum" && return 0
  say "installing Rasa into .venv-rasa (2.6 GB; 20 seconds to some minutes, once)"
  python=$(find_python 3.10) || python=3.10  # uv's own download, where the network allows it
  .venv/bin/uv venv --quiet --clear --python "$python" .venv-rasa \
    || fail "no Python 3.10 for Rasa. Install it (pyenv install 3.10) and run make again."
  .venv/bin/uv pip install --quiet --python .venv-rasa/bin/python --require-hashes -r requirements/rasa.txt
  printf '%s' "$sum" > .venv-rasa/.stamp
}

build_encoder() {  # the wheel's weights in eight bits; does nothing when it is there
  .venv/bin/python -m nlu.encoder_build
}

sync_train() {
  make_gateway_env
  local sum; sum=$(stamp_of requirements/train.txt)
  fresh .venv-train/.stamp "$sum" && return 0
  say "installing PyTorch into .venv-train (5 GB; a minute or more, once)"
  .venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv-train
  .venv/bin/uv pip install --quiet --python .venv-train/bin/python --require-hashes -r requirements/train.txt
  printf '%s' "$sum" > .venv-train/.stamp
}

find_browser() {
  if command -v chromium || command -v chromium-browser || command -v google-chrome; then return 0; fi
  ls "$HOME"/.cache/ms-playwright/chromium-*/chrome-linux*/chrome 2>/dev/null
}

sync_browser() {
  [ -n "$(find_browser || true)" ] && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing Chromium and fonts with apt-get, for the end-to-end tests"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-noto-core fonts-noto-cjk >/dev/null
  else
    say "installing Playwright's Chromium for the end-to-end tests"
    .venv/bin/playwright install chromium
  fi
}

for step in "$@"; do
  case "$step" in
    gateway) sync_gateway gateway; build_encoder ;;
    tests) sync_gateway test ;;
    engine) sync_engine ;;
    browser) sync_browser ;;
    train) sync_train ;;
    *) fail "unknown step $step" ;;
  esac
done

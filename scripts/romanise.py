"""Writes the Chinese training messages in Latin letters, as people without a Chinese keyboard type them. A tool only.

    .venv-train/bin/python scripts/romanise.py     # nlu/data/risk/zh-Han?.jsonl → nlu/data/romanised/zh-Latn.jsonl

Pinyin without tones, by syllable, by word or unspaced. Cantonese lines are left out: pinyin is Mandarin.
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

import jieba
import opencc
from pypinyin import lazy_pinyin

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nlu.examples import DEVELOPMENT, ROMANISED, read_risk

CANTONESE = frozenset("嘅咗喺唔冇嗰啲佢哋咁嚟俾畀揾攞乜嘢噉啱瞓")
MARKS = {"，": ",", "。": ".", "？": "?", "！": "!", "、": ",", "：": ":", "；": ";", "“": '"', "”": '"',
         "「": '"', "」": '"', "（": "(", "）": ")", "…": "..", "《": '"', "》": '"'}  # fmt: skip
STYLES, SHARES = ("syllables", "words", "unspaced"), (0.55, 0.3, 0.15)


def romanised(text: str, style: str, *, marks: bool) -> str:
    """One message; ``marks``: whether it keeps its punctuation."""
    parts = []
    for word in jieba.lcut(text):
        if any("\u4e00" <= char <= "\u9fff" for char in word):
            syllables = [syllable.replace("ü", "v") for syllable in lazy_pinyin(word, v_to_u=False)]
            parts.append(" ".join(syllables) + " " if style == "syllables" else "".join(syllables))
            if style == "words":
                parts.append(" ")
        else:
            parts.append("".join(MARKS.get(char, char) for char in word))
    found = re.sub(r"\s+([,.?!:;)])", r"\1", "".join(parts))
    if style != "unspaced":
        found = re.sub(r"([,.?!])(?=\w)", r"\1 ", found)
    if not marks:
        found = re.sub(r'[,.!"]+', "", found)
    return re.sub(" +", " ", found).strip()


def main() -> None:
    jieba.setLogLevel(60)
    chance, simplified = random.Random(5), opencc.OpenCC("t2s")  # the same draw every time
    known = {" ".join(e.read_as.lower().split()) for e in read_risk(DEVELOPMENT)}
    lines = []
    for example in read_risk():
        texts = [*example.history, example.text]
        if example.language not in ("zh-Hans", "zh-Hant") or not CANTONESE.isdisjoint("".join(texts)):
            continue
        style, marks = chance.choices(STYLES, SHARES)[0], chance.random() > 0.4
        *history, text = [romanised(simplified.convert(text), style, marks=marks) for text in texts]
        if " ".join("\n".join([*history, text]).lower().split()) in known:
            continue
        line = {"text": text, "indicators": example.indicators, "group": example.group, "register": "romanised"}
        lines.append(json.dumps(line | ({"history": history} if history else {}), ensure_ascii=False))
    ROMANISED.mkdir(exist_ok=True)
    (ROMANISED / "zh-Latn.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} messages")


if __name__ == "__main__":
    main()

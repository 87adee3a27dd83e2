"""What led to an indicator, as staff are shown it: whole words, and each quotation once."""

from __future__ import annotations

import pytest

from handoff.evidence import cut_at_evidence, gather, quotations, whole_words

WHOLE = [
    ("malik ne mera passport rakh le", "malik ne mera passport rakh leya"),
    ("passeport confisq", "il a confisqué, mon passeport confisqué"),
    ("я не могу уй", "я не могу уйти отсюда"),
    ("passport allegg", "he kept my passport allegg\u0301a"),  # the accent is a sign of its own
    ("पासपोर्ट रख लि", "मालिक ने पासपोर्ट रख लिया है"),
    ("ਪਾਸਪੋਰਟ ਰੱ", "ਮੇਰਾ ਪਾਸਪੋਰਟ ਰੱਖ ਲਿਆ"),
    ("پاسپورتم را گرفته", "پاسپورتم را گرفته\u200cاند و"),  # a joiner that is not seen stands in the word
    ("여권을 빼앗", "사장이 여권을 빼앗았어요 지금"),
    ("ፓስፖርቴን ወሰ", "ፓስፖርቴን ወሰደብኝ አሁን"),
    ("i don", "i don't get paid"),
    ("am 1", "i am 16 years"),
]


@pytest.mark.parametrize(("found", "text"), WHOLE)
def test_no_word_is_cut_in_two(found: str, text: str) -> None:
    start = text.index(found)
    left, right = whole_words(text, start, start + len(found))
    shown = text[left:right]
    assert found in shown
    assert shown.split() == text[: right + 1].split()[-len(shown.split()) :]
    assert right == len(text) or not (text[right].isalpha() or text[right] in "\u200c\u0301")
    assert left == 0 or text[left - 1].isspace()


def test_a_word_is_whole_at_its_beginning_too() -> None:
    assert whole_words("he confiscated passports, yes", 6, 20) == (3, 24)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("老板拿走了我的护照不还", "我的护照"),
        ("นายจ้างยึดหนังสือเดินทาง", "ยึดหนังสือ"),
        ("パスポートを取られた", "パスポート"),
    ],
)
def test_where_no_spaces_are_written_only_the_words_found_are_shown(text: str, found: str) -> None:
    start = text.index(found)
    assert whole_words(text, start, start + len(found)) == (start, start + len(found))


def test_a_mark_is_never_torn_from_its_letter() -> None:
    text = "นายที่นี่"
    assert text[:4] == "นายท"
    left, right = whole_words(text, 0, 4)
    assert text[left:right] == "นายที่"


def cut(text: str, spans: str) -> str:
    found = []
    for span in spans.split():
        indicator, start, end, source = (*span.split(":"), "pattern:en")[:4]
        found.append({"indicator": indicator, "start": int(start), "end": int(end), "source": source})
    parts = cut_at_evidence(text, found)
    assert "".join(part["text"] or "" for part in parts) == text
    return "|".join(f"{part['text']}={part['indicator']}".removesuffix("=None") for part in parts)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ("", "甲乙丙丁戊己"),
        ("x:0:3", "甲乙丙=x|丁戊己"),
        ("x:2:4 y:3:6", "甲乙|丙丁=x|戊己"),
        ("x:4:99 y:1:2", "甲|乙=y|丙丁|戊己=x"),
        ("x:3:3 y:9:12", "甲乙丙丁戊己"),
        ("x:0:6:model y:2:3", "甲乙|丙=y|丁戊己"),
        ("x:0:6:model", "甲乙丙丁戊己=x"),
    ],
)
def test_a_text_is_cut_at_its_evidence(spans: str, expected: str) -> None:
    assert cut("甲乙丙丁戊己", spans) == expected


def test_the_label_stands_behind_the_word_and_not_in_it() -> None:
    assert cut("malik ne mera passport rakh leya hai", "document_retention:9:30") == (
        "malik ne |mera passport rakh leya=document_retention| hai"
    )


def test_two_that_meet_in_one_word_are_both_shown() -> None:
    assert cut("he locks and hits me", "x:0:6 y:6:17") == "he locks=x| and hits=y| me"


# -- quotations


def item(indicator: str, start: int, end: int, source: str = "pattern:en") -> dict[str, object]:
    return {"indicator": indicator, "start": start, "end": end, "source": source}


SENTENCE = "my boss keeps my passport and he locked the door, i cant leave the house"


def test_one_sentence_is_quoted_once_with_all_its_indicators() -> None:
    start = SENTENCE.index("keeps")
    found = [
        item("confinement", 0, len(SENTENCE), "model"),
        item("document_retention", start, start + 17),
        item("isolation", 0, len(SENTENCE), "model"),
    ]
    assert quotations(SENTENCE, found) == [
        {"text": SENTENCE, "indicators": ["confinement", "document_retention", "isolation"]}
    ]


def test_words_far_apart_are_quoted_apart_in_whole_words_and_the_gravest_first() -> None:
    text = "keeps my passport " + "and so on " * 30 + "then he hit me with a bottle yesterday evening in the kitchen"
    hit = text.index("hit me")
    found = [item("violence", hit, hit + 6), item("document_retention", 0, 17)]
    assert quotations(text, found) == [
        {
            "text": "… on and so on and so on then he hit me with a bottle yesterday evening …",
            "indicators": ["violence"],
        },
        {"text": "keeps my passport and so on and so on and so on …", "indicators": ["document_retention"]},
    ]


def test_a_long_quotation_ends_after_a_word_and_says_that_it_goes_on() -> None:
    text = "passport " * 100
    (quote,) = quotations(text, [item("document_retention", 0, len(text), "model")])
    shown = str(quote["text"])
    assert len(shown) <= 162
    assert shown.endswith("passport …")


def test_a_voice_message_has_no_words_to_quote() -> None:
    assert quotations("", [item("human_requested", 0, 0, "voice")]) == []


def test_who_writes_the_same_twice_is_quoted_once() -> None:
    quotes = gather([], quotations(SENTENCE, [item("confinement", 0, 72)]))
    quotes = gather(quotes, quotations(SENTENCE, [item("threats", 0, 72), item("confinement", 0, 72)]))
    assert quotes == [{"text": SENTENCE, "indicators": ["confinement", "threats"]}]

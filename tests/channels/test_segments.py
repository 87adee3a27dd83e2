"""GSM-7 and UCS-2 segments, by table and by property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.segments import PART, SINGLE, cost, segment


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("", "GSM-7", 0, 0),
        ("Hello", "GSM-7", 5, 1),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("€" * 80, "GSM-7", 160, 1),
        ("é è ù à Ç É", "GSM-7", 11, 1),
        ("ça", "UCS-2", 2, 1),  # the capital Ç is in the alphabet, the small one is not
        ("l’été", "UCS-2", 5, 1),
        ("ਮ" * 70, "UCS-2", 70, 1),
        ("ਮ" * 71, "UCS-2", 71, 2),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 36, "UCS-2", 72, 2),
    ],
)
def test_it_counts_as_the_network_does(text: str, encoding: str, units: int, parts: int) -> None:
    found = segment(text)
    assert (found.encoding, found.units, len(found.parts)) == (encoding, units, parts)


@pytest.mark.parametrize("filler", range(145, 155))
def test_an_escaped_septet_never_straddles_two_parts(filler: int) -> None:
    found = segment("a" * filler + "€" * 20)
    assert all(sum(cost(c, "GSM-7") for c in part) <= 153 for part in found.parts)


@given(st.text(max_size=700))
def test_nothing_is_lost_and_no_part_is_too_long(text: str) -> None:
    found = segment(text)
    assert "".join(found.parts) == text
    limit = SINGLE if len(found.parts) == 1 else PART
    for part in found.parts:
        assert 0 < sum(cost(c, found.encoding) for c in part) <= limit[found.encoding]

"""The encoder: any text at all becomes one vector of length one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nlu.encoder import DIMENSIONS, MAX_CHARACTERS, MAX_TOKENS, E5Encoder, Tokenizer, bounded

encoder = E5Encoder()

STRANGE = {
    "empty": "",
    "space": "   \n",
    "nul": "help\x00me",
    "only nul": "\x00",
    "lone surrogate": "a\ud800b",
    "only surrogates": "\udfff" * 50,
    "100 kB": "word " * 20_000,
    "100 kB without a space": "x" * 100_000,
    "emoji": "😭" * 10_000,
    "combining marks": "e" + "\u0301" * 5_000,
    "the longest ligature": "\ufdfa" * 1_000,
    "right to left marks": "\u202eabc\u202c",
    "outside every plane in use": "\U0010ffff" * 300,
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_has_a_vector_of_length_one(text: str) -> None:
    vectors = encoder.encode([text])
    assert vectors.shape == (1, DIMENSIONS)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)


def test_no_text_gives_no_vector() -> None:
    assert encoder.encode([]).shape == (0, DIMENSIONS)


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    texts = ["where can I sleep tonight", "", "¿esto es confidencial?", "मुझे मदद कहाँ मिलेगी"]
    together = encoder.encode(texts)
    alone = np.vstack([encoder.encode([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-6)


def test_the_same_meaning_in_two_languages_is_nearer_than_another_meaning() -> None:
    english, spanish, other = encoder.encode(
        ["where can I sleep tonight?", "¿dónde puedo dormir esta noche?", "how do I delete these messages?"]
    )
    assert english @ spanish > english @ other


def test_threads_share_the_model_and_get_the_same_vectors() -> None:
    texts = ["I need help", "je veux parler à quelqu'un", "cảm ơn"] * 8
    with ThreadPoolExecutor(4) as pool:
        vectors = list(pool.map(lambda text: encoder.encode([text])[0], texts))
    assert np.allclose(vectors, encoder.encode(texts), atol=1e-6)


@pytest.mark.parametrize("letter", ["a", "फ", "\ufdfa", "字", "😭"])
def test_only_a_bounded_part_is_encoded(letter: str) -> None:
    assert len(bounded(letter * 5_000)) == MAX_CHARACTERS
    assert len(Tokenizer().tokens(letter * 5_000)) <= MAX_TOKENS


def test_what_is_encoded_can_always_be_written_as_utf_8() -> None:
    assert bounded("a\ud800b\x00c\udfff") == "ab c"

"""The vault: sealed words open with their key and in their context, and in no other way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.vault import Vault, VaultError, new_key

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
vault = Vault.from_key(KEY)


@given(st.binary(max_size=300), st.text(max_size=20))
def test_what_is_sealed_opens_in_its_context(plain: bytes, context: str) -> None:
    assert vault.open(vault.seal(plain, context=context), context=context) == plain


def test_lone_surrogates_and_nul_survive_as_json() -> None:
    value = {"text": "a\ud800b\x00 मदद", "list": [1, None, True]}
    sealed = vault.seal_json(value, context="x")
    assert vault.open_json(sealed, context="x") == value


def test_another_context_does_not_open_it() -> None:
    sealed = vault.seal(b"words", context="message:1")
    with pytest.raises(VaultError, match="does not open"):
        vault.open(sealed, context="message:2")


def test_another_key_does_not_open_it() -> None:
    sealed = vault.seal(b"words", context="x")
    with pytest.raises(VaultError, match="does not open"):
        Vault.from_key(new_key()).open(sealed, context="x")


def test_every_changed_byte_is_noticed() -> None:
    sealed = vault.seal(b"words", context="x")
    for place in range(len(sealed)):
        changed = bytes(byte ^ (index == place) for index, byte in enumerate(sealed))
        with pytest.raises(VaultError):
            vault.open(changed, context="x")


@pytest.mark.parametrize("length", [0, 1, 28])
def test_a_cut_value_is_refused(length: int) -> None:
    with pytest.raises(VaultError):
        vault.open(vault.seal(b"words", context="x")[:length], context="x")


def test_a_memoryview_from_the_database_opens() -> None:
    assert vault.open(memoryview(vault.seal(b"words", context="x")), context="x") == b"words"


def test_the_same_words_never_look_alike_sealed() -> None:
    assert vault.seal(b"words", context="x") != vault.seal(b"words", context="x")


@pytest.mark.parametrize(
    "key", ["", "secret", "A" * 44, KEY[:-4], KEY + "AAAA", "ключ", "*" * 44, KEY.replace("A", " ")]
)
def test_an_unusable_key_is_refused_in_one_sentence_without_it(key: str) -> None:
    with pytest.raises(VaultError) as caught:
        Vault.from_key(key)
    assert str(caught.value).endswith(".")
    assert not key or key not in str(caught.value)


def test_a_key_without_its_padding_or_with_a_line_end_is_the_same_key() -> None:
    assert {Vault.from_key(KEY.rstrip("=")), Vault.from_key(KEY + "\n")} == {vault}


def test_look_ups_are_stable_and_differ_by_value_context_and_key() -> None:
    address = vault.lookup("+14165550100", context="sms")
    assert address == vault.lookup("+14165550100", context="sms")
    others = [
        vault.lookup("+14165550101", context="sms"),
        vault.lookup("+14165550100", context="whatsapp"),
        Vault.from_key(new_key()).lookup("+14165550100", context="sms"),
    ]
    assert len({address, *others}) == 4
    assert len(address) == 32


def test_value_and_context_of_a_look_up_cannot_be_shifted() -> None:
    assert vault.lookup("bc", context="a") != vault.lookup("c", context="ab")


def test_a_look_up_takes_any_text() -> None:
    assert len(vault.lookup("\ud800\x00", context="\udfff")) == 32


def test_the_fingerprint_tells_keys_apart_and_is_stable() -> None:
    assert vault.fingerprint() == Vault.from_key(KEY).fingerprint() != Vault.from_key(new_key()).fingerprint()
    assert len(vault.fingerprint()) == 16


def test_the_repr_shows_no_key() -> None:
    assert repr(vault) == "Vault()"

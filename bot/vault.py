"""The vault: what people wrote is sealed before it touches a disk.

One data key, two sub-keys: one seals (AES-256-GCM), one makes look-up values (HMAC-SHA256), so that a leaked
look-up says nothing of the sealing key. Every sealed value is bound to its context ("message:<id>"): a row
that is copied over another does not open.

Runs under Python 3.10 and 3.11, and imports only the standard library and cryptography: the engine uses it too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
VERSION = b"\x01"


class VaultError(Exception):
    """The key is unusable, or a sealed value does not open; one sentence that names no secret."""


@dataclass(frozen=True, slots=True)
class Vault:
    """Seals, opens and looks up. Its repr never shows a key."""

    _sealing: bytes = field(repr=False)
    _looking: bytes = field(repr=False)
    _mark: bytes = field(repr=False)

    @classmethod
    def from_key(cls, data_key: str) -> Vault:
        """The vault of a data key, as `new_key` makes it."""
        master = _decode_key(data_key)
        return cls(_derive(master, b"seal"), _derive(master, b"lookup"), _derive(master, b"fingerprint"))

    def seal(self, plain: bytes, *, context: str) -> bytes:
        """Version byte, nonce, then the encrypted bytes with their tag."""
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + AESGCM(self._sealing).encrypt(nonce, plain, _bound(context))

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """What was sealed in this context; VaultError for another key, another context or changed bytes."""
        sealed = bytes(sealed)  # psycopg2 hands bytea over as memoryview
        if len(sealed) < len(VERSION) + NONCE_BYTES + TAG_BYTES:
            raise VaultError("The sealed value is too short to be one.")
        if sealed[:1] != VERSION:
            raise VaultError("The sealed value has a version that this release does not know.")
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return AESGCM(self._sealing).decrypt(nonce, body, _bound(context))
        except InvalidTag:
            raise VaultError("The sealed value does not open: wrong data key, or it was changed.") from None

    def seal_json(self, value: object, *, context: str) -> bytes:
        """Seals a JSON value; escaped to ASCII, so that lone surrogates survive."""
        plain = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
        return self.seal(plain.encode("ascii"), context=context)

    def open_json(self, sealed: bytes, *, context: str) -> object:
        """The JSON value that `seal_json` sealed."""
        value: object = json.loads(self.open(sealed, context=context))
        return value

    def lookup(self, value: str, *, context: str) -> bytes:
        """The same 32 bytes for the same value and context, and useless without the key."""
        head = _bound(context)
        framed = len(head).to_bytes(4, "big") + head + value.encode("utf-8", "surrogatepass")
        return hmac.new(self._looking, framed, hashlib.sha256).digest()

    def fingerprint(self) -> str:
        """Sixteen hex digits that tell this key from another: stored once, compared at every start."""
        return self._mark.hex()[:16]


def new_key() -> str:
    """A fresh data key, as PASSERELLE_DATA_KEY wants it."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode("ascii")


def _decode_key(data_key: str) -> bytes:
    """The 32 bytes of a data key; padding may be missing, nothing else may be wrong."""
    text = data_key.strip()
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise VaultError("The data key is not urlsafe base64.") from None
    if len(raw) != KEY_BYTES:
        raise VaultError(f"The data key must be {KEY_BYTES} bytes in urlsafe base64, and this one has {len(raw)}.")
    return raw


def _derive(master: bytes, purpose: bytes) -> bytes:
    """A sub-key for one purpose."""
    info = b"passerelle vault v1 " + purpose
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(master)


def _bound(context: str) -> bytes:
    return context.encode("utf-8", "surrogatepass")

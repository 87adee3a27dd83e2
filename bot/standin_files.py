"""Files of the demonstration's stand-ins: kept in memory, handed out under addresses that run out."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

_KEPT = 50  # files; the oldest go first


@dataclass(frozen=True, slots=True)
class File:
    body: bytes
    content_type: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


class Files:
    """One provider's. ``lasts``: seconds that an address is good for."""

    def __init__(self, *, lasts: float) -> None:
        self.lasts = lasts
        self._files: OrderedDict[str, File] = OrderedDict()
        self._key = secrets.token_bytes(16)

    def add(self, name: str, body: bytes, content_type: str) -> None:
        self._files[name] = File(body, content_type.partition(";")[0] or "application/octet-stream")
        while len(self._files) > _KEPT:
            self._files.popitem(last=False)

    def get(self, name: str) -> File | None:
        return self._files.get(name)

    def remove(self, name: str) -> bool:
        return self._files.pop(name, None) is not None

    def ticket(self, name: str) -> tuple[str, str]:
        """When an address made now ends, and what proves it."""
        ends = f"{time.time() + self.lasts:.3f}"
        return ends, self._mark(name, ends)

    def admits(self, name: str, ends: str, mark: str) -> bool:
        right = hmac.compare_digest(self._mark(name, ends).encode(), mark.encode("utf-8", "replace"))
        return right and time.time() < float(ends)

    def _mark(self, name: str, ends: str) -> str:
        return hmac.new(self._key, f"{name} {ends}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()

"""What the demonstration's stand-ins have in common: how many messages they keep, and the phone that gets each one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httpx

KEPT = 1000  # messages
Signed = Callable[[str], tuple[bytes, Mapping[str, str]]]


class Phone:
    """Gets every message, and the gateway is told so."""

    def __init__(self) -> None:
        self._reports: set[asyncio.Task[None]] = set()  # a task that nobody holds may vanish

    def ring(self, callback: str, message: dict[str, Any], signed: Signed) -> None:
        """Begins the report; ``signed``: a state as the provider's body and headers."""
        reporting = asyncio.create_task(_report(callback, message, signed))
        self._reports.add(reporting)
        reporting.add_done_callback(self._reports.discard)


async def _report(callback: str, message: dict[str, Any], signed: Signed) -> None:
    async with httpx.AsyncClient(timeout=5.0) as client:
        for state in ("sent", "delivered"):
            await asyncio.sleep(0.05)
            message["status"] = state
            body, headers = signed(state)
            try:
                await client.post(callback, content=body, headers=headers)
            except httpx.HTTPError:
                return

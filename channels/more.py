"""The channels that need nothing but their own module: one line each, in ``MODULES``.

SMS, WhatsApp, Telegram and the web chat are older than this and wired by hand in ``bot``: they have stand-ins, a
phone each in `passerelle say`, and addresses of their own. docs/develop/new-channel.md shows how a fifth is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import httpx

from channels.channel import Channel
from channels.checking import Finding


class Module(Protocol):
    """What the module of a channel holds, beside the class of its Channel."""

    @property
    def NAME(self) -> str:
        """Of the channel: in the database, in /webhooks/<name>, in docs/channels/<name>.md."""

    @property
    def SETTINGS(self) -> Mapping[str, str]:
        """Name, without PASSERELLE_ → what it is for; all of them turn the channel on."""

    def make(self, client: httpx.AsyncClient, given: Mapping[str, str], webhook: str) -> Channel:
        """The channel; ``given`` holds every one of SETTINGS."""

    async def check(
        self, client: httpx.AsyncClient, given: Mapping[str, str], webhook: str, *, repair: bool
    ) -> list[Finding]:
        """For `passerelle channels check`: what is right and what is wrong; ``repair``: the webhook may be set."""


MODULES: tuple[Module, ...] = ()


def settings() -> dict[str, str]:
    """Every setting of these channels, with what it is for."""
    return {name: what for module in MODULES for name, what in module.SETTINGS.items()}


def is_on(module: Module, given: Mapping[str, str]) -> bool:
    return all(name in given for name in module.SETTINGS)


def problems(given: Mapping[str, str]) -> list[str]:
    """A sentence for each setting that is missing beside others of its channel."""
    return [
        f"PASSERELLE_{name} must be set too: {what}."
        for module in MODULES
        if any(other in given for other in module.SETTINGS)
        for name, what in module.SETTINGS.items()
        if name not in given
    ]

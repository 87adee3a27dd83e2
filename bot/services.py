"""What the gateway's routes and workers work with: made once in ``app``, handed to everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from bot.engine import DialogueEngine
from bot.events import Hub
from bot.settings import Settings
from bot.vault import Vault
from channels.channel import Channel
from nlu.encoder import Encoder
from nlu.language import LanguageDetector
from nlu.risk import RiskScreen
from translations.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Services:
    """``channels`` by name: sms, web …"""

    settings: Settings
    vault: Vault
    database: AsyncEngine
    hub: Hub
    catalog: Catalog
    encoder: Encoder
    language: LanguageDetector
    risk: RiskScreen
    engine: DialogueEngine
    channels: Mapping[str, Channel]

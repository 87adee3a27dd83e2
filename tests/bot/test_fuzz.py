"""A few hundred mutated webhooks a channel; `scripts/fuzz_webhooks.py` sends as many as one likes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from bot.services import Services
from channels.telegram import Telegram
from channels.whatsapp import WhatsApp
from scripts.fuzz_webhooks import NUMBER, fuzz, mutated, targets
from tests.bot.door import open_door

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # a webhook stores and never screens


@pytest.fixture
def database_url(emptied: str) -> str:
    return emptied


async def test_no_mutated_webhook_is_a_failure_of_ours(services: Services) -> None:
    given = services.settings
    assert given.whatsapp is not None
    assert given.telegram is not None
    services.channels["whatsapp"] = WhatsApp(  # type: ignore[index]
        services.channels["sms"]._client,  # type: ignore[attr-defined]
        numbers=[NUMBER], access_token="x", app_secret=given.whatsapp.app_secret, verify_token="x", api_url="http://a",
    )  # fmt: skip
    services.channels["telegram"] = Telegram(  # type: ignore[index]
        services.channels["sms"]._client,  # type: ignore[attr-defined]
        bot_token="1:x", secret_token=given.telegram.secret_token, api_url="http://a", webhook_url="https://a",
    )  # fmt: skip
    async with open_door(services) as door:
        port = int(door.base.rsplit(":", 1)[1])
        for name, target in targets(given).items():
            answers = await fuzz(port, target, name, count=200, dice=random.Random(name))
            assert answers.total() == 200
            assert answers[200] > 50, (name, answers)
            assert set(answers) <= {200, 400}, (name, answers)


def test_the_mutations_differ(services: Services) -> None:
    for target in targets(services.settings).values():
        dice = random.Random(1)
        made = Counter(mutated(target, dice) for _ in range(200))
        assert len(made) > 150

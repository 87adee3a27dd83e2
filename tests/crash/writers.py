"""People who write by SMS, WhatsApp and Telegram all the time, by signed webhooks, whatever becomes of the gateway.

As a provider does, each repeats what was not called received, until it is or the time is over.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx

from channels import sms, whatsapp
from channels.channel import RawRequest
from tests.conftest import TOKEN

SECRET, BOT, PROOF = "an-app-secret", "1000000001:AAE-a_bot-token", "a-Secret_token-1"
NUMBER = "100000000000001"
CHANNELS = ("sms", "whatsapp", "telegram")
ENVIRONMENT = {
    "PASSERELLE_WHATSAPP_PHONE_NUMBER_ID": NUMBER,
    "PASSERELLE_WHATSAPP_APP_SECRET": SECRET,
    "PASSERELLE_WHATSAPP_ACCESS_TOKEN": "x",
    "PASSERELLE_TELEGRAM_BOT_TOKEN": BOT,
    "PASSERELLE_TELEGRAM_SECRET_TOKEN": PROOF,
}


@dataclass(frozen=True)
class Said:
    """One message: who wrote it, and its number among all of that channel."""

    channel: str
    person: int  # seven digits at most
    number: int
    text: str

    @property
    def provider_id(self) -> str:
        return {"sms": f"SM{self.number}", "whatsapp": f"wamid.{self.number}", "telegram": str(self.number)}[
            self.channel
        ]

    @property
    def address(self) -> str:
        """As the provider is asked to send to."""
        return {"sms": f"+1514{self.person:07}", "whatsapp": f"1514{self.person:07}", "telegram": f"{self.person}"}[
            self.channel
        ]

    def webhook(self, base: str) -> tuple[str, bytes, dict[str, str]]:
        """Path, body and headers."""
        if self.channel == "sms":
            fields = {"MessageSid": self.provider_id, "From": self.address, "Body": self.text}
            body, path = urlencode(fields).encode(), "/webhooks/twilio"
            signature = sms.sign(TOKEN, RawRequest(base + path, {}, body)) or ""
            return path, body, {"x-twilio-signature": signature}
        if self.channel == "whatsapp":
            message = {"id": self.provider_id, "from": self.address, "type": "text", "text": {"body": self.text}}
            value = {"metadata": {"phone_number_id": NUMBER}, "messages": [message]}
            body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
            return "/webhooks/whatsapp", body, {"x-hub-signature-256": whatsapp.sign(SECRET, body)}
        chat = {"id": self.person, "type": "private", "first_name": "A"}
        told = {"message_id": self.number, "date": int(time.time()), "chat": chat, "text": self.text}
        body = json.dumps({"update_id": self.number, "message": told}).encode()
        return "/webhooks/telegram", body, {"x-telegram-bot-api-secret-token": PROOF}


@dataclass
class Writers:
    """One thread a channel. ``people``: how many write in turn; 0: everybody writes once."""

    base: str
    text: str
    people: int = 0
    pause: float = 0.02
    acknowledged: list[Said] = field(default_factory=list)
    given_up: list[Said] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)  # answers that were no 2xx
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def writing(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._write, args=(channel,), daemon=True) for channel in CHANNELS]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join(60)

    def _write(self, channel: str) -> None:
        moments = random.Random(channel)
        number = 0
        with httpx.Client(base_url=self.base, timeout=20) as client:
            while not self._stopping.is_set():
                number += 1
                person = 5_550_100 + (number % self.people if self.people else number)
                said = Said(channel, person, number, f"{self.text} {number}")
                if not self._until_received(client, said):
                    self.given_up.append(said)
                time.sleep(moments.uniform(0, 2 * self.pause))

    def _until_received(self, client: httpx.Client, said: Said) -> bool:
        path, body, headers = said.webhook(self.base)
        while True:
            try:
                answer = client.post(path, content=body, headers=headers)
                if answer.is_success:
                    self.acknowledged.append(said)
                    return True
                self.refusals.append(answer.status_code)
            except httpx.HTTPError:
                pass
            if self._stopping.wait(0.05):
                return False

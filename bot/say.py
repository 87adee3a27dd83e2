"""`passerelle say`: writes to the running gateway as a person would, and prints what the phone shows."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import AsyncGenerator
from urllib.parse import urlencode

import httpx
import websockets

from bot.settings import Settings, SettingsError
from channels.channel import RawRequest
from channels.sms import sign

QUIET = 2.5  # seconds without another reply that end the wait
_NOT_RUNNING = "The gateway does not answer at {}: start it with `passerelle up`, or set PASSERELLE_PORT."
_ANOTHER = "What answers at {} is not Passerelle ({}): set PASSERELLE_PORT to the gateway's port, or stop the other."
_LOST = "The gateway went away in the middle ({}): look at what it says, and start it again with `passerelle up`."


async def say(settings: Settings, channel: str, sender: str, text: str, *, wait: float) -> int:
    """Sends a text and prints the replies as they come; how many came. Raises SettingsError."""
    if channel == "sms" and settings.twilio is None:
        raise SettingsError(["SMS is not configured: set the PASSERELLE_TWILIO_… settings."])
    await _ensure_passerelle(f"http://127.0.0.1:{settings.port}")
    replies = _by_sms(settings, sender, text) if channel == "sms" else _by_web(settings, text)
    count = 0
    deadline = time.monotonic() + wait
    async with asyncio.timeout(wait + 10):
        while True:
            left = min(QUIET, deadline - time.monotonic()) if count else deadline - time.monotonic()
            try:
                reply = await asyncio.wait_for(anext(replies), max(0.1, left))
            except (TimeoutError, StopAsyncIteration):
                return count
            count += 1
            print(f"← {reply}", flush=True)


async def _ensure_passerelle(base: str) -> None:
    """Raises SettingsError when nobody answers there, or somebody else does."""
    try:
        async with httpx.AsyncClient(timeout=5.0) as client:
            answer = await client.get(f"{base}/health/live")
        if answer.json() == {"live": True}:
            return
        reason = f"HTTP {answer.status_code}"
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise SettingsError([_NOT_RUNNING.format(base)]) from error
    except (httpx.HTTPError, ValueError, RecursionError) as error:
        reason = type(error).__name__
    raise SettingsError([_ANOTHER.format(base, reason)])


async def _by_sms(settings: Settings, sender: str, text: str) -> AsyncGenerator[str, None]:
    twilio = settings.twilio
    assert twilio is not None, "`say` has looked"
    local = f"http://127.0.0.1:{settings.port}"
    listing = f"{twilio.api_url}/2010-04-01/Accounts/{twilio.account_sid}/Messages.json"
    async with httpx.AsyncClient(timeout=30.0) as client:
        seen = {message["sid"] for message in await _listed(client, listing, twilio, sender)}
        fields = {
            "MessageSid": "SM" + secrets.token_hex(16),
            "AccountSid": twilio.account_sid,
            "From": sender,
            "To": twilio.sender,
            "Body": text,
            "NumMedia": "0",
        }
        body = urlencode(fields).encode()
        signature = sign(twilio.auth_token, RawRequest(f"{settings.public_url}/webhooks/twilio", {}, body))
        headers = {"x-twilio-signature": signature or "", "content-type": "application/x-www-form-urlencoded"}
        try:
            answer = await client.post(f"{local}/webhooks/twilio", content=body, headers=headers)
        except httpx.HTTPError as error:
            raise SettingsError([_NOT_RUNNING.format(local)]) from error
        if not answer.is_success:
            words = " ".join(answer.text.split())[:200]
            raise SettingsError([f"The gateway refused the message ({answer.status_code}): {words}"])
        while True:
            for message in reversed(await _listed(client, listing, twilio, sender)):
                if message["sid"] not in seen:
                    seen.add(message["sid"])
                    yield message["body"]
            await asyncio.sleep(0.15)


async def _listed(client: httpx.AsyncClient, url: str, twilio: object, sender: str) -> list[dict[str, str]]:
    from bot.settings import TwilioSettings

    assert isinstance(twilio, TwilioSettings)
    try:
        answer = await client.get(url, params={"To": sender}, auth=(twilio.account_sid, twilio.auth_token))
        listed = answer.raise_for_status().json()["messages"]
        found = [{"sid": str(message["sid"]), "body": str(message["body"])} for message in listed]
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise SettingsError([_NOT_RUNNING.format(twilio.api_url)]) from error
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            [f"The stand-in at {twilio.api_url} cannot list messages ({type(error).__name__})."]
        ) from error
    return found


async def _by_web(settings: Settings, text: str) -> AsyncGenerator[str, None]:
    url = f"ws://127.0.0.1:{settings.port}/chat/ws"
    try:
        socket = await websockets.connect(url)
    except websockets.InvalidHandshake as error:
        raise SettingsError([_ANOTHER.format(url, type(error).__name__)]) from error
    except OSError as error:
        raise SettingsError([_NOT_RUNNING.format(url)]) from error
    try:
        async with socket:
            await socket.send(json.dumps({"type": "hello", "token": None, "after": 0}))
            await socket.send(json.dumps({"type": "message", "client_id": str(uuid.uuid4()), "text": text}))
            async for raw in socket:
                frame = json.loads(raw)
                if frame["type"] == "message" and frame["from"] != "you":
                    yield frame["text"]
    except websockets.ConnectionClosed as error:
        raise SettingsError([_LOST.format(type(error).__name__)]) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError([_ANOTHER.format(url, type(error).__name__)]) from error


async def ask_once(settings: Settings, text: str) -> str:
    """One question by web chat and its first answer."""
    replies = _by_web(settings, text)
    try:
        return await asyncio.wait_for(anext(replies), 30)
    finally:
        await replies.aclose()

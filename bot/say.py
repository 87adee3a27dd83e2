"""`passerelle say`: writes to the running gateway as a person would, and prints what the phone shows."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator

import httpx
import websockets

from bot.say_phones import Phone, phone_of, with_choices
from bot.settings import Settings, SettingsError

QUIET = 2.5  # seconds without another reply that end the wait
_NOT_RUNNING = "The gateway does not answer at {}: start it with `passerelle up`, or set PASSERELLE_PORT."
_ANOTHER = "What answers at {} is not Passerelle ({}): set PASSERELLE_PORT to the gateway's port, or stop the other."
_LOST = "The gateway went away in the middle ({}): look at what it says, and start it again with `passerelle up`."


async def say(settings: Settings, channel: str, sender: str, text: str, *, wait: float) -> int:
    """Sends a text and prints the replies as they come; how many came. Raises SettingsError."""
    phone = None if channel == "web" else phone_of(settings, channel, sender)
    await _ensure_passerelle(f"http://127.0.0.1:{settings.port}")
    replies = _by_phone(settings, phone, text) if phone else _by_web(settings, text)
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
            print("← " + reply.replace("\n", "\n  "), flush=True)


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


async def _by_phone(settings: Settings, phone: Phone, text: str) -> AsyncGenerator[str, None]:
    """What the phone shows that it did not show before. Raises SettingsError."""
    local = f"http://127.0.0.1:{settings.port}"
    async with httpx.AsyncClient(timeout=30.0) as client:
        path, body, headers = phone.webhook(text)
        seen = {row for row, _ in await _shown(client, phone)}
        try:
            answer = await client.post(local + path, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise SettingsError([_NOT_RUNNING.format(local)]) from error
        if not answer.is_success:
            words = " ".join(answer.text.split())[:200]
            raise SettingsError([f"The gateway refused the message ({answer.status_code}): {words}"])
        while True:
            for row, shown in await _shown(client, phone):
                if row not in seen:
                    seen.add(row)
                    yield shown
            await asyncio.sleep(0.15)


async def _shown(client: httpx.AsyncClient, phone: Phone) -> list[tuple[str, str]]:
    try:
        return await phone.shown(client)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise SettingsError([_NOT_RUNNING.format(phone.api_url)]) from error
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            [f"The stand-in at {phone.api_url} cannot list messages ({type(error).__name__})."]
        ) from error


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
                    labels = [choice["label"] for choice in frame.get("choices") or ()]
                    yield with_choices(frame["text"], labels)
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

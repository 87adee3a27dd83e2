"""What the web chat says beside the messages: that a person was called, and that a demonstration's text is a draft."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest

from bot import chat_page, chat_session, inbox
from bot.chat_session import Session
from bot.services import Services
from bot.tables import messages
from channels.channel import Inbound
from handoff import queue
from tests.bot.door import open_door, sms, turns

DRAFT = {
    "es": "(Demostración: texto provisional, aún no revisado.)",
    "fr": "(Démonstration : texte provisoire, pas encore révisé.)",
}


async def write(services: Services, text: str, *, token: str = "") -> Session:
    """Somebody writes in the web chat, and is answered."""
    session = Session(token or chat_session.issue(services), None, 0, None)
    async with services.database.begin() as conn:
        await inbox.store(conn, services.vault, "web", Inbound(uuid.uuid4().hex, session.token, "text", text))
    await turns(services)
    await chat_session.attach(services, session)
    return session


async def answers(services: Services, session: Session) -> list[dict[str, Any]]:
    return [frame for frame in await chat_session.messages_after(services, session, 0) if frame["from"] != "you"]


# -- a person was called


async def test_a_waiting_handoff_is_told_until_it_is_accepted(services: Services) -> None:
    session = await write(services, "what are the signs?")
    assert await chat_session.state(services, session) == {"human": False, "waiting": False}
    await write(services, "my boss keeps my passport", token=session.token)
    assert await chat_session.state(services, session) == {"human": False, "waiting": True, "ahead": 0}


async def test_where_somebody_may_be_reading_along_it_is_not_told(services: Services) -> None:
    session = await write(services, "my boss keeps my passport")
    assert session.conversation is not None
    async with services.database.begin() as conn:
        await inbox.learn(conn, session.conversation, maybe_watched=True)
        assert await queue.open_of(conn, session.conversation)
    assert await chat_session.state(services, session) == {"human": False, "waiting": False}


def test_the_page_has_a_line_for_it_in_every_language(services: Services) -> None:
    texts = {tag: chat_page.chat_texts(services, tag)["chat.human_called"] for tag in services.catalog.languages}
    assert texts["en"] == "A person has been called. You can keep writing."
    assert len(set(texts.values())) == len(texts)


def test_the_answer_to_a_grave_disclosure_says_safety_first_and_then_keep_writing(services: Services) -> None:
    text = services.catalog.texts["en"]["handoff.high"].text
    assert text.endswith("call 9-1-1 when it is safe. You can keep writing.")


# -- drafts


async def test_a_drafted_answer_in_the_web_chat_brings_its_languages_notice(services: Services) -> None:
    session = await write(services, "what are the signs?")
    await write(services, "mi jefe me quitó el pasaporte y no me deja salir de la casa", token=session.token)
    frames = await answers(services, session)
    notices = {frame["language"]: frame.get("notice") for frame in frames}
    assert notices["en"] is None
    assert notices["es"] == DRAFT["es"]


async def test_production_serves_no_draft_and_no_notice(services: Services) -> None:
    production = dataclasses.replace(services, settings=dataclasses.replace(services.settings, mode="production"))
    session = await write(production, "mi jefe me quitó el pasaporte y no me deja salir de la casa")
    frames = await answers(production, session)
    assert frames
    assert not [frame for frame in frames if "notice" in frame]


async def test_a_language_chosen_on_the_page_brings_its_notice(services: Services) -> None:
    async with open_door(services) as door:
        for tag, notice in {"en": "", **DRAFT}.items():
            assert (await door.client.get(f"/chat/texts/{tag}.json")).json()["notice"] == notice
            page = (await door.client.get("/chat", params={"lang": tag})).text
            assert ('id="notice" dir="auto" hidden></p>' in page) == (not notice)
            assert notice in page


@pytest.mark.parametrize("again", [False, True])
async def test_by_sms_too_the_notice_comes_once_in_each_drafted_language(services: Services, again: bool) -> None:
    async with open_door(services) as door:
        await door.hook(sms("my boss keeps my passport", sid="SM1"))
        await turns(services)
        for number in range(1 + again):
            text = "mi jefe me quitó el pasaporte y no me deja salir de la casa, tiene un arma, tengo mucho miedo"
            await door.hook(sms(text, sid=f"SMes{number}"))
            await turns(services)
        sent = [inbox.open_words(services.vault, row.id, row.words)["text"] for row in await door.rows(messages)]
        assert len([text for text in sent if DRAFT["es"] in text]) == 1

"""Later than a day after the person's last message: what the advocate is told, and what goes out."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot import inbox
from bot.services import Services
from bot.tables import messages
from channels.channel import Inbound
from channels.templates import Template
from tests.bot.door import work
from tests.bot.graph import NUMBER, PERSON, Graph, with_whatsapp
from tests.handoff.desk import Browser, Desk, accepted, newest, open_desk, written

FIXED = Template("advocate", "we_have_an_answer", "en_US", "We have an answer for you. <Write> back when it is safe.")
OPEN = Template("advocate", "an_answer", "en", "Our answer: {{words}}. You can write back.")
CLOSED = Template("handoff.closed", "closed", "en", "This conversation is closed. You can write again.")


@dataclasses.dataclass
class Late:
    """An advocate, and a conversation whose day is over."""

    desk: Desk
    browser: Browser
    conversation: uuid.UUID
    handoff: Any
    meta: Graph

    async def page(self) -> str:
        return (await self.browser.get(f"/console/conversations/{self.conversation}")).text

    async def send(self, text: str, *, template: str = "", client_id: str = "") -> tuple[int, str]:
        answer = await self.browser.post(
            f"/console/conversations/{self.conversation}/send",
            text=text, version=str(await newest(self.desk, self.conversation)), template=template,
            client_id=client_id or str(uuid.uuid4()),
        )  # fmt: skip
        return answer.status_code, answer.text

    async def sent(self) -> list[Any]:
        """What Meta was asked to send since the day was over."""
        await work(self.desk.services)
        return [asked.get("template") or asked["text"]["body"] for asked in self.meta.sent]


@asynccontextmanager
async def late(services: Services, *templates: Template) -> AsyncIterator[Late]:
    given, meta = services.settings.whatsapp, Graph(templates=templates)
    assert given is not None
    whatsapp = dataclasses.replace(given, templates=templates)
    services = dataclasses.replace(services, settings=dataclasses.replace(services.settings, whatsapp=whatsapp))
    disclosure = Inbound("wamid.1", f"{NUMBER}:{PERSON}", "text", "my boss keeps my passport and locked the door")
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(with_whatsapp(services, meta))
        desk = await stack.enter_async_context(open_desk(ours))
        async with ours.database.begin() as conn:
            stored = await inbox.store(conn, ours.vault, "whatsapp", disclosure)
        assert stored is not None
        await work(ours)
        nour = await desk.member("nour")
        handoff = await accepted(desk, nour, stored[0])
        await work(ours)
        before = sa.func.now() - timedelta(hours=24, seconds=5)
        await desk.execute(messages.update().where(messages.c.direction == "in").values(created_at=before))
        meta.sent.clear()
        yield Late(desk, nour, stored[0], handoff, meta)


async def test_a_fixed_text_is_shown_before_anything_is_typed_and_sent_as_it_is(services: Services) -> None:
    async with late(services, FIXED) as day:
        page = await day.page()
        assert "A template will be sent:" in page
        assert (
            page.count("We have an answer for you. &lt;Write&gt; back when it is safe.") == 2
        )  # told, and in the field
        assert "readonly" in page.partition("<textarea")[2].partition(">")[0]
        assert (await day.send(FIXED.body, template=FIXED.name))[0] == 303
        assert await day.sent() == [{"name": FIXED.name, "language": {"code": "en_US"}}]
        assert await written(day.desk, "advocate") == [FIXED.body]


async def test_words_take_the_place_of_the_dots_and_a_retry_sends_nothing_again(services: Services) -> None:
    async with late(services, OPEN) as day:
        page = await day.page()
        assert "Our answer: …. You can write back." in page
        assert "takes the place of the dots" in page
        assert "readonly" not in page.partition("<textarea")[2].partition(">")[0]
        for _ in range(2):
            assert (await day.send("on Monday\nat ten", template=OPEN.name, client_id="same"))[0] == 303
        value = {"type": "text", "text": "on Monday at ten", "parameter_name": "words"}
        body = {"type": "body", "parameters": [value]}
        assert await day.sent() == [{"name": OPEN.name, "language": {"code": "en"}, "components": [body]}]
        assert "Our answer: on Monday at ten. You can write back." in await day.page()
        assert (await day.send("", template=OPEN.name))[0] == 400
        code, page = await day.send("x" * 1024, template=OPEN.name)
        assert (code, f"room for {1024 - len(OPEN.text())} characters" in page) == (400, True)


@pytest.mark.parametrize("template", [FIXED, OPEN], ids=["fixed", "open"])
async def test_no_template_goes_out_in_place_of_words_unless_the_advocate_saw_it(
    services: Services, template: Template
) -> None:
    """The page was loaded while the window was open, and the day ended while the advocate was typing."""
    async with late(services, template) as day:
        code, page = await day.send("The bus leaves at nine.")
        assert code == 409
        assert "only an approved text" in page
        assert "The bus leaves at nine." in page  # the words are kept
        assert await day.sent() == []


@pytest.mark.parametrize("template", [CLOSED, FIXED], ids=["for closing", "for advocates"])
async def test_closing_says_so_where_there_is_a_template_for_it(services: Services, template: Template) -> None:
    async with late(services, template) as day:
        assert ("takes nothing from us" in await day.page()) == (template == CLOSED)
        form = {"classification": "unsure", "writer": "not_said"}
        assert (await day.browser.post(f"/console/handoffs/{day.handoff}/close", **form)).status_code == 303
        sent = [{"name": "closed", "language": {"code": "en"}}]
        assert await day.sent() == (sent if template == CLOSED else [])


async def test_once_the_person_writes_again_words_go_as_they_are(services: Services) -> None:
    async with late(services, OPEN) as day:
        async with day.desk.services.database.begin() as conn:
            item = Inbound("wamid.2", f"{NUMBER}:{PERSON}", "text", "yes")
            await inbox.store(conn, day.desk.services.vault, "whatsapp", item)
        assert "A template" not in await day.page()
        assert (await day.send("On Monday.", template=OPEN.name))[0] == 303
        assert await day.sent() == ["On Monday."]

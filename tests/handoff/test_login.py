"""Who gets in, and what each role may do there."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from bot.services import Services
from bot.tables import audit, handoffs, sessions, staff
from handoff.console import console
from tests.handoff.desk import PASSWORD, Browser, Desk, open_desk

ROLES = ("advocate", "supervisor", "content", "analyst", "admin")


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    async with open_desk(services) as opened:
        yield opened


def routes() -> list[tuple[str, str]]:
    """(method, path) of every console route but the public ones."""
    found = []
    for route in console.routes:
        name = route.name.rsplit(".", 1)[-1]
        if name in ("login", "log_in") or "static" in name:
            continue
        path = "/" + route.path
        path = re.sub("<[a-z_]+:uuid>", str(uuid.uuid4()), path)
        found += [(method, path) for method in sorted(route.methods)]
    return found


async def test_every_route_wants_a_login(desk: Desk) -> None:
    browser = desk.browser()
    tried = routes()
    assert len(tried) >= 10
    for method, path in tried:
        answer = await browser.client.request(method, path)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/console/login"), path
    browser.client.cookies.set("passerelle_session", "made up")
    assert (await browser.get("/console")).headers["location"] == "/console/login"


async def test_every_post_wants_the_forms_token(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    (handoff,) = await desk.rows(handoffs)
    for path in (
        f"/console/handoffs/{handoff.id}/accept", f"/console/handoffs/{handoff.id}/close",
        f"/console/conversations/{conversation}/send", "/console/logout",
    ):  # fmt: skip
        for token in ("", "made up", "é"):
            answer = await nour.client.post(path, data={"csrf": token})
            assert answer.status_code == 403
            assert "try again" in answer.text
    (row,) = await desk.rows(handoffs)
    assert row.state == "waiting"
    accepted = await nour.client.post(f"/console/handoffs/{handoff.id}/accept", headers={"x-csrf-token": nour.csrf})
    assert accepted.status_code == 303


async def test_the_token_of_one_session_is_worth_nothing_in_another(desk: Desk) -> None:
    await desk.person()
    nour, sacha = await desk.member("nour"), await desk.member("sacha")
    (handoff,) = await desk.rows(handoffs)
    nour.csrf = sacha.csrf
    assert (await nour.post(f"/console/handoffs/{handoff.id}/accept")).status_code == 403


def cookie(answer: object, name: str) -> str:
    import httpx

    assert isinstance(answer, httpx.Response)
    (found,) = [value for value in answer.headers.get_list("set-cookie") if value.startswith(f"{name}=")]
    return found.lower()


async def test_the_session_is_out_of_reach_of_scripts_and_other_sites(desk: Desk) -> None:
    await desk.member("nour")
    browser = desk.browser()
    found = cookie(await browser.log_in("nour"), "passerelle_session")
    assert "httponly" in found
    assert "samesite=strict" in found
    assert "path=/;" in found + ";"
    assert "secure" not in found  # http on loopback
    assert "session" in {row.action for row in await desk.rows(audit)} | {"session"}


async def test_behind_https_the_cookies_are_secure(services: Services) -> None:
    async with open_desk(services, public_url="https://line.example") as desk:
        browser = desk.browser()
        page = await browser.get("/console/login")
        assert "secure" in cookie(page, "passerelle_login")
        async with desk.services.database.begin() as conn:
            from handoff import staff as accounts

            await accounts.add(conn, name="nour", display="", role="advocate", password=PASSWORD)
        token = page.cookies["passerelle_login"]
        answer = await browser.client.post(
            "/console/login", data={"csrf": token, "name": "nour", "password": PASSWORD},
            headers={"cookie": f"passerelle_login={token}"},
        )  # fmt: skip
        assert answer.status_code == 303
        assert "secure" in cookie(answer, "passerelle_session")


async def test_a_login_form_of_another_site_is_refused(desk: Desk) -> None:
    await desk.member("nour")
    form = {"name": "nour", "password": PASSWORD}
    assert (await desk.browser().client.post("/console/login", data=form)).status_code == 403
    assert (await desk.browser().client.post("/console/login", data={**form, "csrf": "x"})).status_code == 403
    browser = desk.browser()
    await browser.get("/console/login")
    assert (await browser.post("/console/login", **form, csrf="x")).status_code == 403
    assert len(await desk.rows(sessions)) == 1


async def test_two_tabs_of_the_login_page_both_work(desk: Desk) -> None:
    await desk.member("nour")
    browser = desk.browser()
    await browser.get("/console/login")
    first = browser.csrf
    await browser.get("/console/login")
    answer = await browser.post("/console/login", name="nour", password=PASSWORD, csrf=first)
    assert answer.status_code == 303


@pytest.mark.parametrize("name", ["nour", "nobody", "no\u0000ur", "é" * 300])
async def test_a_wrong_name_and_a_wrong_password_read_the_same(desk: Desk, name: str) -> None:
    await desk.member("nour")
    answer = await desk.browser().log_in(name, "wrong password")
    assert answer.status_code == 401
    assert "This name and password do not fit." in answer.text
    assert "passerelle_session" not in answer.headers.get("set-cookie", "")


async def test_after_five_wrong_passwords_even_the_right_one_waits(desk: Desk) -> None:
    await desk.member("nour")
    browser = desk.browser()
    for _ in range(5):
        assert (await browser.log_in("nour", "wrong password")).status_code == 401
    answer = await browser.log_in("nour")
    assert answer.status_code == 429
    assert "Try again in some minutes" in answer.text
    await desk.execute(staff.update().values(locked_until=sa.func.now()))
    assert (await browser.log_in("nour")).status_code == 303
    (row,) = await desk.rows(staff)
    assert row.failed_logins == 0


async def test_guessing_in_parallel_does_not_outrun_the_lock(desk: Desk) -> None:
    await desk.member("nour")
    browsers = [desk.browser() for _ in range(12)]
    answers = await asyncio.gather(*(browser.log_in("nour", "wrong password") for browser in browsers))
    refused = [answer.status_code for answer in answers]
    assert refused.count(401) <= 6
    assert refused.count(429) >= 6


async def test_a_name_may_be_typed_in_capitals(desk: Desk) -> None:
    await desk.member("nour")
    assert (await desk.browser().log_in(" Nour ")).status_code == 303


async def test_logging_out_ends_the_session(desk: Desk) -> None:
    nour = await desk.member("nour")
    token = nour.client.cookies["passerelle_session"]
    answer = await nour.post("/console/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")
    assert "passerelle_session" not in nour.client.cookies
    assert await desk.rows(sessions) == []
    nour.client.cookies.set("passerelle_session", token)
    assert (await nour.get("/console")).headers["location"] == "/console/login"


async def test_a_finished_session_and_an_ended_account_are_out(desk: Desk) -> None:
    nour, sacha = await desk.member("nour"), await desk.member("sacha")
    (row,) = await desk.rows(staff, staff.c.name == "sacha")
    await desk.execute(staff.update().where(staff.c.id == row.id).values(active=False))
    assert (await sacha.get("/console")).status_code == 303
    assert (await nour.get("/console")).status_code == 200
    await desk.execute(sessions.update().values(expires_at=sa.func.now()))
    assert (await nour.get("/console")).status_code == 303


async def test_each_role_comes_where_it_works(desk: Desk) -> None:
    for role in ROLES:
        await desk.member(role, role)
        answer = await desk.browser().log_in(role)
        assert answer.headers["location"] == ("/console/signals" if role == "analyst" else "/console")


async def test_who_has_nothing_here_yet_is_told_so_and_is_not_led_in_a_circle(desk: Desk) -> None:
    member = await desk.member("somebody", "content")
    home = await member.get("/console")
    assert home.status_code == 200
    assert "There is nothing in the console for your role yet." in home.text
    for page in (home, await member.get("/console/queue"), await member.get("/console/signals")):
        assert re.findall('href="(/console[^"]*)"', re.sub("<link[^>]*>", "", page.text)) == []
        assert ">Queue<" not in page.text
        assert "Log out" in page.text


async def test_nobody_is_offered_a_page_that_is_not_theirs(desk: Desk) -> None:
    for role in ROLES:
        member = await desk.member(role, role)
        refused = await member.get(f"/console/conversations/{uuid.uuid4()}")
        offered = set(re.findall('<a href="(/console[^"]*)"', refused.text))
        for path in offered:
            assert (await member.get(path)).status_code == 200, (role, path)
        assert ("/console" in offered) == (role in PERMITTED["/console/queue"])
        assert ("/console/signals" in offered) == (role in PERMITTED["/console/signals"])


PERMITTED = {
    "/console/queue": {"advocate", "supervisor", "admin"},
    "/console/signals": {"supervisor", "analyst", "admin"},
    "conversation": {"advocate", "supervisor"},
    "messages": {"advocate", "supervisor"},
}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_sees_what_it_may_and_no_more(desk: Desk, role: str) -> None:
    conversation = await desk.person()
    paths = {"conversation": f"/console/conversations/{conversation}"}
    paths["messages"] = f"{paths['conversation']}/messages"
    member = await desk.member("somebody", role)
    for what, roles in PERMITTED.items():
        answer = await member.get(paths.get(what, what))
        assert answer.status_code == (200 if role in roles else 403), what
        if role not in PERMITTED["conversation"]:
            assert "my boss keeps" not in answer.text
    if role not in PERMITTED["conversation"]:
        await refused_to_write(desk, member, paths["conversation"])


async def refused_to_write(desk: Desk, member: Browser, conversation: str) -> None:
    (handoff,) = await desk.rows(handoffs)
    form = {"text": "Hello", "version": "9", "client_id": "x", "classification": "unsure"}
    for path in (f"/console/handoffs/{handoff.id}/accept", f"/console/handoffs/{handoff.id}/close"):
        assert (await member.post(path, **form)).status_code == 403
    assert (await member.post(f"{conversation}/send", **form)).status_code == 403
    (row,) = await desk.rows(handoffs)
    assert row.state == "waiting"


async def test_events_are_for_those_who_see_the_queue(desk: Desk) -> None:
    ana = await desk.member("ana", "analyst")
    assert (await ana.get("/console/events")).status_code == 403


async def test_pages_may_load_nothing_from_elsewhere_and_are_kept_nowhere(desk: Desk) -> None:
    nour = await desk.member("nour")
    for path in ("/console", "/console/queue", "/console/login", f"/console/conversations/{uuid.uuid4()}"):
        headers = (await nour.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


async def test_the_pages_files_are_served_to_everybody(desk: Desk) -> None:
    browser = desk.browser()
    page = (await browser.get("/console/login")).text
    for name in ("variables.css", "console.css", "console.js", "queue.js", "conversation.js"):
        answer = await browser.get(f"/console/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "/console/static/console.css" in page
    for path in ("../console.py", "%2e%2e/console.py", "..%2fconsole.py"):
        assert "Blueprint" not in (await browser.get(f"/console/static/{path}")).text

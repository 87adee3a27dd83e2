"""Logging in and out. Guessing is slow: wrong passwords lock an account for a while, and few are checked at a time."""

from __future__ import annotations

import asyncio
import re
import secrets
import uuid

from sanic import HTTPResponse, Request
from sanic.response import redirect

from bot.services import Services
from handoff import access, staff
from handoff.pages import COOKIE, csrf_fits, field, page, services_of, set_cookie

LOGIN_COOKIE = "passerelle_login"
_PATH = "/console/login"
# Each check takes a thread and 64 MB on purpose. The same threads screen messages for danger: a flood of
# guesses may make logins wait, never those.
_CHECKS = 2
_FORM_AGE = 1800  # seconds
_FAILED = {
    401: "This name and password do not fit.",
    403: "The page was too old. Please try again.",
    429: "Too many wrong passwords. Try again in some minutes.",
}


async def show(request: Request) -> HTTPResponse:
    """The log-in page."""
    return _form(request)


def _form(request: Request, *, status: int = 200) -> HTTPResponse:
    """The page with a token of its own, in the form and in a cookie: nobody is logged in by another site's form."""
    token = request.cookies.get(LOGIN_COOKIE) or ""
    if not re.fullmatch(r"[\w-]{32}", token, re.ASCII):
        token = secrets.token_urlsafe(24)
    response = page(request, "login.html", error=_FAILED.get(status, ""), csrf=token, status=status)
    set_cookie(request, response, LOGIN_COOKIE, token, max_age=_FORM_AGE, path=_PATH)
    return response


async def log_in(request: Request) -> HTTPResponse:
    """Opens a session, or says why not."""
    services = services_of(request)
    if not csrf_fits(request, request.cookies.get(LOGIN_COOKIE) or ""):
        return _form(request, status=403)
    async with _gate(request):
        found = await _check(services, field(request, "name").strip()[:100], field(request, "password")[:1000])
    if isinstance(found, int):
        return _form(request, status=found)
    return await _let_in(request, found)


def _gate(request: Request) -> asyncio.Semaphore:
    context = request.app.ctx
    if not hasattr(context, "password_gate"):
        context.password_gate = asyncio.Semaphore(_CHECKS)
    gate: asyncio.Semaphore = context.password_gate
    return gate


async def _check(services: Services, name: str, password: str) -> uuid.UUID | int:
    """The account, or the status that says what is wrong; takes as long for a name that does not exist."""
    async with services.database.connect() as conn:
        found = await staff.find_login(conn, name)
    fits = await asyncio.to_thread(staff.password_fits, found.password_hash if found else None, password)
    if found is None:
        return 401
    if found.locked:
        return 429
    if not fits:
        async with services.database.begin() as conn:
            await staff.record_failure(conn, found.id)
        return 401
    account: uuid.UUID = found.id
    return account


async def _let_in(request: Request, account: uuid.UUID) -> HTTPResponse:
    services = services_of(request)
    async with services.database.begin() as conn:
        token = await staff.open_session(conn, services.vault, account)
        member = await staff.member_of(conn, services.vault, token)
        if member is None:  # ended while the password was checked
            return _form(request, status=401)
        await access.write_audit(conn, member.name, "login", member=member)
    home = "/console/signals" if member.may("signals") and not member.may("queue") else "/console"
    response = redirect(home, status=303)
    set_cookie(request, response, COOKIE, token, max_age=staff.SESSION_HOURS * 3600)
    set_cookie(request, response, LOGIN_COOKIE, "", max_age=0, path=_PATH)
    return response


async def log_out(request: Request) -> HTTPResponse:
    """Ends the session here and in the database."""
    services = services_of(request)
    async with services.database.begin() as conn:
        await staff.close_session(conn, services.vault, request.cookies.get(COOKIE) or "")
    response = redirect(_PATH, status=303)
    set_cookie(request, response, COOKIE, "", max_age=0)
    return response

"""How the console's pages are made, and who may see them: templates, sessions, CSRF, security headers."""

from __future__ import annotations

import hmac
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from sanic import HTTPResponse, Request
from sanic.response import html, redirect

from bot.services import Services
from handoff import staff
from handoff.staff import Member

HERE = Path(__file__).parent
COOKIE = "passerelle_session"
STATIC = "console_static"
# Everything in the console needs a login but these route names.
PUBLIC = ("login", "log_in", STATIC)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape(), extensions=["jinja2.ext.i18n"]
    )
    made.install_null_translations()  # type: ignore[attr-defined]
    return made


_templates = _environment()


def services_of(request: Request) -> Services:
    found: Services = request.app.ctx.services
    return found


def member_of(request: Request) -> Member:
    found: Member = request.ctx.member
    return found


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTTPResponse:
    """A rendered template; the member and the CSRF token are always there."""
    member = getattr(request.ctx, "member", None)
    context.setdefault("csrf", member.csrf if member else "")
    text = _templates.get_template(template).render(staff=member, **context)
    # Phones cut messages in the middle of an emoji: half a character must not take the whole queue down.
    return html(text.encode("utf-8", "replace"), status=status)


def message(request: Request, title: str, text: str, *, status: int) -> HTTPResponse:
    return page(request, "message.html", title=title, text=text, status=status)


def not_for(request: Request) -> HTTPResponse:
    return message(request, "Not for your role", "Your account may not open this page. Ask a supervisor.", status=403)


async def guard(request: Request) -> HTTPResponse | None:
    """Before every console route: who is it, may it write. Login by default, with a short public list."""
    if _route(request) in PUBLIC:
        return None
    member = await who(request)
    if member is None:
        return redirect("/console/login", status=303)
    request.ctx.member = member
    if request.method not in ("GET", "HEAD") and not csrf_fits(request, member.csrf):
        return message(
            request, "Please try again", "The page was too old. Go back, reload it and try again.", status=403
        )
    return None


def _route(request: Request) -> str:
    return (request.route.name if request.route else "").rsplit(".", 1)[-1]


async def who(request: Request) -> Member | None:
    """Whose session the request's cookie is, as the database says now."""
    token = request.cookies.get(COOKIE)
    if not token:
        return None
    services = services_of(request)
    async with services.database.connect() as conn:
        return await staff.member_of(conn, services.vault, token)


def csrf_fits(request: Request, wanted: str) -> bool:
    given = field(request, "csrf") or request.headers.get("x-csrf-token", "")
    return bool(wanted) and hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def field(request: Request, name: str) -> str:
    """A form field's text with plain line ends, empty when it is missing. PostgreSQL knows no NUL."""
    form: Any = request.form
    return str(form.get(name) or "").replace("\r\n", "\n").replace("\x00", "") if form else ""


def number(text: str | None, *, most: int = 2**31 - 1) -> int | None:
    """A number as a form or an address carries it; None for anything else."""
    return min(int(text), most) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


async def harden(request: Request, response: HTTPResponse) -> None:
    """What a browser may do with an answer: nothing from elsewhere, nothing kept, nothing told to others."""
    response.headers.setdefault("Content-Security-Policy", CSP)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "no-cache" if _route(request) == STATIC else "no-store")


def set_cookie(
    request: Request, response: HTTPResponse, name: str, value: str, *, max_age: int, path: str = "/"
) -> None:
    """A cookie for the server only; an age of 0 takes it away."""
    secure = services_of(request).settings.public_url.startswith("https://")
    response.add_cookie(name, value, path=path, httponly=True, samesite="Strict", secure=secure, max_age=max_age)

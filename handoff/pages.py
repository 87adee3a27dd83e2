"""How the console's pages are made, and who may see them: templates, sessions, CSRF, security headers."""

from __future__ import annotations

import hmac
import secrets
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
LOGIN_COOKIE = "passerelle_login"
# Everything in the console needs a login but these route names.
PUBLIC = ("login", "log_in", "console_static")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
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
    return html(_templates.get_template(template).render(staff=member, **context), status=status)


def message(request: Request, title: str, text: str, *, status: int) -> HTTPResponse:
    return page(request, "message.html", title=title, text=text, status=status)


async def guard(request: Request) -> HTTPResponse | None:
    """Before every console route: who is it, may it write. Login by default, with a short public list."""
    name = (request.route.name if request.route else "").rsplit(".", 1)[-1]
    if name in PUBLIC:
        return None
    token = request.cookies.get(COOKIE)
    services = services_of(request)
    member = None
    if token:
        async with services.database.connect() as conn:
            member = await staff.member_of(conn, services.vault, token)
    if member is None:
        return redirect("/console/login", status=303)
    request.ctx.member = member
    if request.method not in ("GET", "HEAD") and not csrf_fits(request, member.csrf):
        return message(
            request, "Please try again", "The page was too old. Go back, reload it and try again.", status=403
        )
    return None


def csrf_fits(request: Request, wanted: str) -> bool:
    given = field(request, "csrf") or request.headers.get("x-csrf-token", "")
    return bool(wanted) and hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def field(request: Request, name: str) -> str:
    """A form field's text, empty when it is missing."""
    form: Any = request.form
    return str(form.get(name) or "") if form else ""


async def harden(_request: Request, response: HTTPResponse) -> None:
    response.headers["Content-Security-Policy"] = CSP
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")


def set_cookie(request: Request, response: HTTPResponse, name: str, value: str, *, max_age: int) -> None:
    secure = services_of(request).settings.public_url.startswith("https://")
    response.add_cookie(name, value, path="/console", httponly=True, samesite="Strict", secure=secure, max_age=max_age)


def drop_cookie(response: HTTPResponse, name: str) -> None:
    response.delete_cookie(name, path="/console")


def login_form(request: Request, *, error: str = "", status: int = 200) -> HTTPResponse:
    """The login page with a token of its own: nobody is logged in by a form on another site."""
    token = secrets.token_urlsafe(24)
    response = page(request, "login.html", error=error, csrf=token, status=status)
    set_cookie(request, response, LOGIN_COOKIE, token, max_age=1800)
    return response

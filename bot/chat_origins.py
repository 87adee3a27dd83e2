"""Whose pages may open the web chat: our own, and those that the settings name. Browsers ask before they let a
page of another origin read what we answer (CORS); a page that is not named gets no permission.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sanic import HTTPResponse, Request
from sanic.response import empty

from bot.services import Services
from bot.settings import Settings

_AGE = "600"  # seconds that a browser remembers the permission


def allowed(request: Request, services: Services) -> bool:
    """Our own pages, and those the settings name; clients that are no browsers send no origin."""
    origin = request.headers.get("origin")
    if not origin or origin.rstrip("/") == services.settings.public_url or named(services.settings, origin):
        return True
    try:
        return bool(urlsplit(origin).netloc == request.headers.get("host"))
    except ValueError:
        return False


def named(settings: Settings, origin: str) -> bool:
    return origin.rstrip("/") in settings.chat_origins


async def permit(request: Request, response: HTTPResponse) -> None:
    """Lets the pages of named origins read the answer, and no others; no cookie goes along."""
    response.headers["Vary"] = "Origin, Accept-Encoding"
    origin = request.headers.get("origin", "")
    if origin and named(request.app.ctx.services.settings, origin):
        response.headers["Access-Control-Allow-Origin"] = origin


async def preflight(request: Request, **_path: str) -> HTTPResponse:
    """What a browser asks before a page of another origin posts."""
    if not named(request.app.ctx.services.settings, request.headers.get("origin", "")):
        return empty(status=403)
    return empty(
        headers={
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": _AGE,
        }
    )

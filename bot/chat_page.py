"""What the web chat loads: the page, its texts and files, the widget for other pages, the numbers to print."""

from __future__ import annotations

import gzip
import json as jsonlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import file, html, json

from bot import chat_origins, chat_session
from bot.services import Services
from translations.render import OWN_NAMES, direction, render

HERE = Path(__file__).parent
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Real, public, national lines, each free: (key of what it is for, number as written, as dialled, number for texts).
# Sources: 9-1-1, 988.ca, canadianhumantraffickinghotline.ca, kidshelpphone.ca (2026-11)
LINES = (
    ("numbers.emergency", "9-1-1", "911", ""),
    ("numbers.hotline", "1-833-900-1010", "+18339001010", ""),
    ("numbers.suicide", "9-8-8", "988", "988"),
    ("numbers.youth", "1-800-668-6868", "+18006686868", "686868"),
)
_SMALL = 1000  # bytes that are not worth compressing
chat_page = Blueprint("chat_page")
chat_page.static("/chat/static", str(HERE / "static"), name="chat_static")
_pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape())


async def harden(_request: Request, response: HTTPResponse) -> None:
    response.headers.setdefault("Content-Security-Policy", CSP)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"  # of the page's files too: a cache on the disk tells of the visit


async def compress(request: Request, response: HTTPResponse) -> None:
    """Slow networks first. Nothing secret and nothing that a person wrote is in these answers, only in the others."""
    body = response.body
    accepts = "gzip" in request.headers.get("accept-encoding", "")
    if not accepts or response.status != 200 or not isinstance(body, bytes) or len(body) < _SMALL:
        return
    response.body = gzip.compress(body, 9, mtime=0)
    response.headers["Content-Encoding"] = "gzip"


for _step in (compress, chat_origins.permit, harden):
    chat_page.middleware(_step, "response")


def services_of(request: Request) -> Services:
    found: Services = request.app.ctx.services
    return found


@chat_page.get("/chat", name="page")
async def page(request: Request) -> HTTPResponse:
    services = services_of(request)
    language = asked_language(services, request)
    texts = chat_texts(services, language)
    return _page(
        "chat.html",
        language,
        languages=_languages(services),
        texts=texts,
        texts_json=jsonlib.dumps(texts).replace("<", "\\u003c"),
        notice=_notice(services, language),
        exit_url=services.settings.exit_url,
        longest=services.channels["web"].limits.text,
    )


def _page(template: str, language: str, **context: Any) -> HTTPResponse:
    return html(_pages.get_template(template).render(language=language, direction=direction(language), **context))


def _languages(services: Services) -> list[dict[str, str]]:
    return [{"tag": tag, "name": OWN_NAMES.get(tag, tag)} for tag in services.catalog.languages]


def asked_language(services: Services, request: Request) -> str:
    """The page's language: as asked, else as the browser says, else the default."""
    known = services.catalog.languages
    asked = [request.args.get("lang") or "", request.headers.get("accept-language", "")]
    for tag in [item.split(";")[0].strip() for several in asked for item in several.split(",")]:
        folded = {"zh-tw": "zh-Hant", "zh-hk": "zh-Hant", "zh": "zh-Hans", "zh-cn": "zh-Hans", "fil": "tl"}.get(
            tag.lower(), tag
        )
        for candidate in (folded, folded.split("-")[0]):
            if candidate in known:
                return candidate
    return services.settings.default_language


def chat_texts(services: Services, language: str) -> dict[str, str]:
    """The page's own texts and the chips'."""
    return _texts(services, language, ("chat.", "choice."))


def _texts(services: Services, language: str, prefixes: tuple[str, ...]) -> dict[str, str]:
    keys = [key for key in services.catalog.texts["en"] if key.startswith(prefixes)]
    drafts = services.settings.demo
    return {key: render(services.catalog, key, language, drafts=drafts).text for key in keys}


def _notice(services: Services, language: str) -> str:
    """What stands above a page whose own texts are drafts."""
    if not services.settings.demo or not render(services.catalog, "welcome", language, drafts=True).drafted:
        return ""
    return chat_session.draft_notice(services, language)


@chat_page.get("/chat/texts/<name:str>", name="texts")
async def texts_of(request: Request, name: str) -> HTTPResponse:
    services = services_of(request)
    tag = name.removesuffix(".json")
    if tag not in services.catalog.languages:
        return json({"error": "There is no such language."}, status=404)
    return json(_in_language(services, tag))


def _in_language(services: Services, tag: str) -> dict[str, object]:
    notice = _notice(services, tag)
    return {"language": tag, "direction": direction(tag), "texts": chat_texts(services, tag), "notice": notice}


@chat_page.get("/chat/numbers", name="numbers")
async def numbers(request: Request) -> HTTPResponse:
    """Lines that answer without us, to print or to write down."""
    services = services_of(request)
    language = asked_language(services, request)
    texts = _texts(services, language, ("chat.", "numbers."))
    notice, exit_url = _notice(services, language), services.settings.exit_url
    return _page("numbers.html", language, texts=texts, lines=LINES, notice=notice, exit_url=exit_url)


# -- on other pages


@chat_page.get("/widget.js", name="widget")
async def widget(_request: Request) -> HTTPResponse:
    """The one script tag of somebody else's page."""
    return await file(HERE / "static" / "widget.js", mime_type="text/javascript; charset=utf-8")


@chat_page.get("/chat/widget.json", name="widget_json")
async def widget_json(request: Request) -> HTTPResponse:
    """What the widget shows, in the language its page asks for."""
    services = services_of(request)
    if not chat_origins.allowed(request, services):
        return json({"error": "This page may not open the chat."}, status=403)
    return json(widget_config(services, request))


def widget_config(services: Services, request: Request) -> dict[str, object]:
    """What a panel needs to know before it can be shown."""
    return {
        **_in_language(services, asked_language(services, request)),
        "languages": _languages(services),
        "exit": services.settings.exit_url,
        "longest": services.channels["web"].limits.text,
    }

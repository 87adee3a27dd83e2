"""The stand-ins' files: each provider's own way from a reference to the bytes, with its proofs and its time limits.

How a file gets in is ours: there is no phone that could send one. Only Meta's upload is its own.
Sources: Twilio's page "Media subresource", Meta's "Media API" and "Upload media", core.telegram.org/bots/api, "getFile"
(2026-11).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import empty, json, raw, redirect

from bot.settings import WhatsAppSettings
from bot.standin_files import File, Files
from bot.standin_meta import allows, error

TELEGRAM_MOST = 20 * 2**20  # bytes that a bot may download
Refused = Callable[[Request, str], HTTPResponse | None]


def add_twilio(standin: Blueprint, api_url: str, refused: Refused, *, lasts: float = 4 * 3600.0) -> Files:
    """MediaUrl wants the account and leads to a signed address, which wants nothing, and no account either."""
    files = Files(lasts=lasts)
    start = "/2010-04-01/Accounts/<account:str>"

    def missing() -> HTTPResponse:
        return json({"code": 20404, "message": "The requested resource was not found", "status": 404}, status=404)

    @standin.post(f"{start}/Media.json", name="phone_media")
    async def sent(request: Request, account: str) -> HTTPResponse:
        """Ours: a phone has sent this."""
        if answer := refused(request, account):
            return answer
        message, name = "MM" + secrets.token_hex(16), "ME" + secrets.token_hex(16)
        files.add(name, request.body, request.headers.get("content-type", ""))
        url = f"{api_url}/2010-04-01/Accounts/{account}/Messages/{message}/Media/{name}"
        return json({"MessageSid": message, "MediaUrl0": url}, status=201)

    @standin.get(f"{start}/Messages/<message:str>/Media/<name:str>", name="media")
    async def media(request: Request, account: str, message: str, name: str) -> HTTPResponse:
        if answer := refused(request, account):
            return answer
        if files.get(name) is None:
            return missing()
        ends, mark = files.ticket(name)
        return redirect(f"{api_url}/cdn/{account}/{name}?{urlencode({'Expires': ends, 'Signature': mark})}", status=307)

    @standin.delete(f"{start}/Messages/<message:str>/Media/<name:str>", name="delete_media")
    async def delete(request: Request, account: str, message: str, name: str) -> HTTPResponse:
        if answer := refused(request, account):
            return answer
        return empty() if name.endswith(".json") and files.remove(name.removesuffix(".json")) else missing()

    @standin.get("/cdn/<account:str>/<name:str>", name="cdn")
    async def cdn(request: Request, account: str, name: str) -> HTTPResponse:
        if "authorization" in request.headers:
            return raw(b"Only one auth mechanism allowed", status=400)
        admitted = files.admits(name, request.args.get("Expires", "0"), request.args.get("Signature", ""))
        found = files.get(name)
        return _given(found) if admitted and found else raw(b"AccessDenied", status=403)

    return files


def add_graph(standin: Blueprint, whatsapp: WhatsAppSettings, *, lasts: float = 300.0) -> Files:
    """A media id becomes an address for five minutes, which wants the token again. `node` describes it."""
    files = Files(lasts=lasts)

    @standin.post(f"/{whatsapp.version}/<number:str>/media", name="upload")
    async def upload(request: Request, number: str) -> HTTPResponse:
        if not allows(request, whatsapp.access_token):
            return error(190, "Invalid OAuth access token - Cannot parse access token", status=401)
        given = request.files.get("file") if request.files else None
        if number not in whatsapp.numbers or given is None:
            return error(100, "Invalid parameter")
        name = str(10**15 + secrets.randbelow(10**15))
        files.add(name, given.body, given.type)
        return json({"id": name})

    @standin.delete(f"/{whatsapp.version}/<name:str>", name="delete_media")
    async def delete(request: Request, name: str) -> HTTPResponse:
        if not allows(request, whatsapp.access_token):
            return error(190, "Invalid OAuth access token - Cannot parse access token", status=401)
        return json({"success": True}) if files.remove(name) else error(100, "Unsupported delete request.")

    @standin.get("/whatsapp_business/attachments/", name="attachments")
    async def attachment(request: Request) -> HTTPResponse:
        if not allows(request, whatsapp.access_token):
            return error(190, "Invalid OAuth access token - Cannot parse access token", status=401)
        name = request.args.get("mid", "")
        admitted = files.admits(name, request.args.get("ext", "0"), request.args.get("hash", ""))
        found = files.get(name)
        return _given(found) if admitted and found else raw(b"", status=404)

    return files


def described(files: Files, api_url: str, name: str, found: File) -> dict[str, Any]:
    """A media id as Meta describes it."""
    ends, mark = files.ticket(name)
    query = urlencode({"mid": name, "ext": ends, "hash": mark})
    return {
        "messaging_product": "whatsapp",
        "url": f"{api_url}/whatsapp_business/attachments/?{query}",
        "mime_type": found.content_type,
        "sha256": found.sha256,
        "file_size": len(found.body),
        "id": name,
    }


def add_telegram(standin: Blueprint, bot_token: str, *, lasts: float = 3600.0) -> Callable[[str, Request], Any]:
    """The bot's methods about files, and their addresses with the token in them. An answer of text is a refusal."""
    files = Files(lasts=lasts)
    paths: dict[str, tuple[str, str, str]] = {}

    @standin.get("/file/<token:bot[^/]+>/<folder:str>/<name:str>", name="file")
    async def file(_request: Request, token: str, folder: str, name: str) -> HTTPResponse:
        right = hmac.compare_digest(token.removeprefix("bot").encode(), bot_token.encode())
        row, ends, mark = paths.get(f"{folder}/{name}", ("", "0", ""))
        found = files.get(row)
        if not right or found is None or not files.admits(row, ends, mark):
            return json({"ok": False, "error_code": 404, "description": "Not Found"}, status=404)
        return raw(found.body, content_type="application/octet-stream")

    def call(method: str, request: Request) -> Any:
        """The result of `getFile`, or of `keepFile`, which is ours: a phone has sent this. None for other methods."""
        if method == "keepFile":
            row = "BQAC" + secrets.token_urlsafe(40)
            files.add(row, request.body, request.headers.get("content-type", ""))
            return {"file_id": row, "file_unique_id": row[-12:], "file_size": len(request.body)}
        if method != "getFile":
            return None
        row = _field(request, "file_id")
        if (found := files.get(row)) is None:
            return "Bad Request: wrong file_id or the file is temporarily unavailable"
        if len(found.body) > TELEGRAM_MOST:
            return "Bad Request: file is too big"
        path = f"documents/file_{len(paths)}.bin"
        paths[path] = (row, *files.ticket(row))
        return {"file_id": row, "file_unique_id": row[-12:], "file_size": len(found.body), "file_path": path}

    return call


def _field(request: Request, name: str) -> str:
    form: Any = request.form
    return str((form.get(name) if form else "") or request.args.get(name) or "")


def _given(found: File) -> HTTPResponse:
    return raw(found.body, content_type=found.content_type)

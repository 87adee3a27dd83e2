"""Loopback doubles of the three providers' APIs that outlive the gateway: what each person was sent, and how often.

Twilio's can be asked for what it has taken, as the real one can; the others cannot.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Providers(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.taken: list[dict[str, str]] = []
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A gateway that was killed hangs up in the middle."""

    def take(self, channel: str, address: str, text: str) -> str:
        row = f"SM{uuid.uuid4().hex}"
        with self.lock:
            self.taken.append({"channel": channel, "to": address, "body": text, "sid": row, "date": formatdate()})
        return row

    def counts(self) -> Counter[tuple[str, str]]:
        """By channel and person."""
        with self.lock:
            return Counter((one["channel"], one["to"]) for one in self.taken)

    def environment(self) -> dict[str, str]:
        return {f"PASSERELLE_{name}_API_URL": self.url for name in ("TWILIO", "WHATSAPP", "TELEGRAM")}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Providers

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        path = urlsplit(self.path).path
        if path.startswith("/2010"):
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            sid = self.server.take("sms", form["To"], form["Body"])
            self._say({"sid": sid, "status": "queued"}, 201)
        elif path.endswith("/messages"):
            asked = json.loads(body)
            text = asked["text"]["body"] if "text" in asked else asked["interactive"]["body"]["text"]
            self._say({"messages": [{"id": self.server.take("whatsapp", asked["to"], text)}]})
        elif path.endswith("/sendMessage"):
            form = json.loads(body) if body.startswith(b"{") else {n: v[0] for n, v in parse_qs(body.decode()).items()}
            chat = int(form["chat_id"])
            self.server.take("telegram", str(chat), form["text"])
            message = {"message_id": 1, "date": 1, "chat": {"id": chat, "type": "private"}, "text": form["text"]}
            self._say({"ok": True, "result": message})
        else:  # setWebhook
            self._say({"ok": True, "result": True})

    def do_GET(self) -> None:
        to = parse_qs(urlsplit(self.path).query).get("To", [""])[0]
        with self.server.lock:
            found = [one for one in self.server.taken if one["channel"] == "sms" and one["to"] == to]
        rows = [{**one, "date_created": one["date"], "direction": "outbound-api"} for one in found]
        self._say({"messages": rows})

    def _say(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@contextmanager
def providers() -> Iterator[Providers]:
    with Providers() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

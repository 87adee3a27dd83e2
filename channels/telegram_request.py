"""The way to Telegram: the library's requests through the gateway's own HTTP client, and what its answers mean.

Sources: core.telegram.org/bots/api, "Making requests" and "ResponseParameters" (2026-11); the library's page of
``telegram.request.BaseRequest`` (22.8).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any, NoReturn, TypeVar

import httpx
from telegram.error import TelegramError
from telegram.request import BaseRequest, RequestData

from channels.channel import Ambiguous, NotSent, Refused, SendError
from channels.outgoing import TIMEOUT, handed_over, pause, read_errors

_LONGEST_WAIT = 86400.0  # seconds, whatever the provider asks for

_ERRORS = read_errors("telegram")

_Result = TypeVar("_Result")


async def called(call: Awaitable[_Result]) -> _Result:
    """The result of a call. Raises the SendError that ``ClientRequest`` has put into the library's own error."""
    try:
        return await call
    except TelegramError as error:
        cause = error.__cause__
        raise (cause if isinstance(cause, SendError) else Ambiguous("answer")) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:  # taken, and no Message came back
        raise Ambiguous("answer") from error


class ClientRequest(BaseRequest):
    """The library's requests through the gateway's client, and its answers sorted by whether trying again is safe."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @property
    def read_timeout(self) -> float | None:
        return TIMEOUT.read

    async def initialize(self) -> None:
        """The client is the gateway's: opened and closed elsewhere."""

    async def shutdown(self) -> None:
        """See ``initialize``."""

    async def do_request(
        self, url: str, method: str, request_data: RequestData | None = None, *_times: object, **_named_times: object
    ) -> tuple[int, bytes]:
        form = request_data.json_parameters if request_data else None
        response = await handed_over(self._client.request(method, url, data=form, timeout=TIMEOUT))
        if not response.is_success:
            self._refuse(response)
        return response.status_code, response.content

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """As the library's own, which would log the payload: our words may be in it."""
        try:
            found = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise TelegramError("no JSON") from error
        if not isinstance(found, dict):
            raise TelegramError("not an object")
        return found

    def _refuse(self, response: httpx.Response) -> NoReturn:
        code, wait = str(response.status_code), None
        try:
            body = response.json()
            code = str(body["error_code"]) if isinstance(body.get("error_code"), int) else code
            wait = body.get("parameters", {}).get("retry_after")
        except (ValueError, AttributeError, RecursionError):
            pass  # not Telegram's own words: a proxy's, for example
        raise meaning(code, throttled=response.status_code == 429, asked=wait)


def meaning(code: str, *, throttled: bool = False, asked: object = None) -> SendError:
    """What an error code stands for. A pause is one chat's own: Telegram does not say whether it is the whole bot's."""
    action = _ERRORS.get(code, "retry")
    if action == "stop":
        return Refused(code, stops=True, blocked=True)
    if action == "final":
        return Refused(code)
    if throttled or action == "back_off":
        return NotSent(code, retry_after=pause(asked, longest=_LONGEST_WAIT))
    return NotSent(code)

"""Webhooks of every shape, from right ones to none at all, for the property-based tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

KINDS = [
    "text", "image", "audio", "video", "document", "sticker", "location", "contacts", "interactive", "button",
    "reaction", "order", "system", "edit", "revoke", "unsupported", "unknown", "request_welcome",
]  # fmt: skip
FIELDS = [
    "body", "id", "mime_type", "caption", "voice", "latitude", "longitude", "name", "address", "formatted_name",
    "phones", "phone", "button_reply", "list_reply", "nfm_reply", "response_json", "title", "payload", "text", "emoji",
    "message", "type", "code", "errors", "wa_id", "user_id",
]  # fmt: skip
WILD = st.text(st.characters(), max_size=60)  # with lone surrogates and NUL
WORDS = WILD | st.sampled_from(
    ["wamid.1", "15145550123", "CA.123", "choice.human", "STOP", "x" * 5000, "[" * 20_000, ""]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS + KINDS) | WILD, inner, max_size=5)
    ),
    max_leaves=10,
)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(KINDS))
    made: dict[str, Any] = {"from": "15145550123", "id": draw(WORDS), "type": kind, kind: draw(ANYTHING)}
    made |= draw(
        st.dictionaries(st.sampled_from(["from", "id", "type", "from_user_id", "errors"]), ANYTHING, max_size=2)
    )
    for name in draw(st.lists(st.sampled_from(sorted(made)), max_size=1)):
        del made[name]
    return made


@st.composite
def statuses(draw: st.DrawFn) -> Any:
    words = ["accepted", "sent", "delivered", "read", "played", "failed", "deleted", "warning"]
    made: dict[str, Any] = {"id": draw(WORDS), "status": draw(st.sampled_from(words) | ANYTHING)}
    names = st.sampled_from(["errors", "biz_opaque_callback_data", "id", "recipient_id"])
    return made | draw(st.dictionaries(names, ANYTHING, max_size=2))


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """Mostly of the right shape, with anything at any place."""
    value = {
        "metadata": draw(st.just({"phone_number_id": "100000000000001"}) | ANYTHING),
        "contacts": draw(st.just([{"wa_id": "15145550123"}]) | ANYTHING),
        "messages": draw(st.lists(messages() | ANYTHING, max_size=4) | ANYTHING),
        "statuses": draw(st.lists(statuses() | ANYTHING, max_size=3) | ANYTHING),
        "errors": draw(st.none() | ANYTHING),
    }
    changes = draw(st.just([{"field": "messages", "value": value}]) | st.just([{"value": value}, None]) | ANYTHING)
    entries = draw(st.just([{"id": "1", "changes": changes}]) | st.just([{"changes": changes}, 7]) | ANYTHING)
    return json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode("ascii")


BODIES = (
    events()
    | ANYTHING.map(lambda value: json.dumps(value).encode("ascii"))
    | st.binary(max_size=200)
    | st.integers(1, 100_000).map(lambda depth: b'{"entry":' + b"[" * depth)
)

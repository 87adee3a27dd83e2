"""What the words of the error tables mean for a part that was not sent."""

from __future__ import annotations

from channels.channel import NotSent, Refused, SendError

# action → (error, whether it ends the conversation, seconds to wait)
MEANS: dict[str, tuple[type[SendError], bool, float | None]] = {
    "retry": (NotSent, False, None),
    "back_off": (NotSent, False, 30.0),
    "final": (Refused, False, None),
    "stop": (Refused, True, None),
}

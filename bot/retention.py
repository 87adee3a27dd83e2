"""What is deleted by itself, in time: the files that people sent, here and at the provider."""

from __future__ import annotations

import asyncio
import logging

from bot import attachments
from bot.services import Services
from channels.channel import MediaError

EVERY = 60.0  # seconds
_log = logging.getLogger("passerelle.retention")


async def keep_ending(services: Services) -> None:
    """For ever; what fails now is due again at the next round."""
    while True:
        try:
            while await end_once(services):
                pass
            while await forget_once(services):
                pass
        except Exception:
            _log.exception("files that are due could not be deleted; they will be tried again")
        await asyncio.sleep(EVERY)


async def end_once(services: Services) -> bool:
    """Deletes files that are due; False when there were none."""
    media = services.settings.media
    async with services.database.begin() as conn:
        ended = await attachments.end_due(conn, days=media.days, with_handoff=media.end_with_handoff)
    if ended:
        _log.info("%d file(s) that people sent were deleted in time", ended)
    return ended > 0


async def forget_once(services: Services) -> bool:
    """Has a provider delete a file, as well as it can; False when none is due."""
    async with services.database.begin() as conn:
        row = await attachments.claim_asked(conn)
        if row is None:
            return False
        found = await attachments.reference(conn, services.vault, row.message_id, row.part)
    try:
        channel = services.channels.get(found.channel)
        if channel is None:
            raise MediaError("settings")
        outcome = "deleted" if await channel.forget(found.media) else "cannot"
    except MediaError as error:
        outcome = "deleted" if error.code == "gone" else "failed"
        if outcome == "failed" and error.code != "foreign" and not attachments.given_up(row.tries):
            _log.warning("file %s: %s did not delete it (%s); it is asked again", row.id, found.channel, error.code)
            return True
    _log.log(
        logging.WARNING if outcome == "failed" else logging.INFO, "file %s at %s: %s", row.id, found.channel, outcome
    )
    async with services.database.begin() as conn:
        await attachments.record_asked(conn, row.id, outcome)
    return True

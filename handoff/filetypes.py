"""What a file is by its first bytes. Only what both the provider and the bytes call a picture or a sound is shown.

The few forms that browsers show, from the registries of their formats; everything else is for saving only, and so is
SVG, which is a program.
"""

from __future__ import annotations

_STARTS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"OggS", "application/ogg"),
    (b"\x1aE\xdf\xa3", "application/webm"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_IN_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
# Found type → what a browser gets, by what the provider calls it: containers hold sound or moving pictures.
_SHOWN = {
    "image": {name: name for name in ("image/jpeg", "image/png", "image/gif", "image/webp")},
    "audio": {
        "application/ogg": "audio/ogg",
        "application/webm": "audio/webm",
        "application/mp4": "audio/mp4",
        **{name: name for name in ("audio/mpeg", "audio/aac", "audio/wav")},
    },
    "video": {"application/webm": "video/webm", "application/mp4": "video/mp4"},
}
_ENDINGS = {
    "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp", "audio/ogg": "ogg",
    "audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/aac": "aac", "audio/wav": "wav", "audio/webm": "webm",
    "audio/amr": "amr", "video/mp4": "mp4", "video/webm": "webm", "video/3gpp": "3gp", "application/pdf": "pdf",
    "text/plain": "txt", "text/vcard": "vcf", "text/x-vcard": "vcf",
}  # fmt: skip


def found_type(body: bytes) -> str:
    """By the first bytes; empty where they say nothing that we look for."""
    if body[:4] == b"RIFF":
        return _IN_RIFF.get(body[8:12], "")
    if body[4:8] == b"ftyp":
        return "image/heif" if body[8:12] in (b"heic", b"heix", b"mif1", b"avif", b"msf1") else "application/mp4"
    return next((name for start, name in _STARTS if body.startswith(start)), "")


def shown_as(content_type: str, body: bytes) -> str | None:
    """The type a browser may show it as; None when it is for saving only."""
    major = content_type.partition("/")[0].strip().lower()
    return _SHOWN.get(major, {}).get(found_type(body))


def may_hold_pictures(content_type: str, body: bytes) -> bool:
    """Whether the bytes are a picture or a film, whatever the file was called."""
    found = found_type(body)
    spoken = content_type.strip().lower().startswith("audio/")
    return found.startswith("image/") or (found in ("application/mp4", "application/webm") and not spoken)


def file_name(content_type: str, number: int) -> str:
    """A name for saving: nothing of the person's is in it."""
    plain = content_type.partition(";")[0].strip().lower()
    return f"file-{number}.{_ENDINGS.get(plain, 'bin')}"

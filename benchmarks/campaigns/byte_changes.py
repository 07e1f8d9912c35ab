"""Changes of a file's bytes, for files of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

CHANGES = (
    "bits flipped",
    "bytes set",
    "truncated",
    "bytes inserted",
    "span removed",
    "span copied",
)


def changed(content: bytes, change: str, source: random.Random) -> bytes:
    """``content`` after one ``change`` of `CHANGES`; near the start as often as anywhere."""
    found = bytearray(content)
    places = [_place(len(found), source) for _ in range(source.choice((1, 1, 2, 4, 16)))]
    length = source.choice((1, 2, 4, 8, 64, 1024))
    match change:
        case "bits flipped":
            for place in places:
                found[place] ^= 1 << source.randrange(8)
        case "bytes set":
            for place in places:
                found[place] = source.choice((0, 1, 0x7F, 0x80, 0xFF))
        case "truncated":
            del found[places[0] :]
        case "bytes inserted":
            filling = source.choice((b"\0", b"\xff", b"\x80", source.randbytes(1)))
            found[places[0] : places[0]] = filling * length
        case "span removed":
            del found[places[0] : places[0] + length]
        case "span copied":
            other = _place(len(found), source)
            found[places[0] : places[0] + length] = found[other : other + length]
    return bytes(found)


def _place(length: int, source: random.Random) -> int:
    reach = source.choice((length, length, min(length, 256)))
    return source.randrange(max(reach, 1))

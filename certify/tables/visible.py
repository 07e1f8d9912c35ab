"""Text from foreign files, made safe for a terminal, a log and a page."""

from __future__ import annotations

import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of control characters, invisible marks, halves of characters, other line ends."""

_KEPT = "\n\t\u200c\u200d"
"""The last two join letters, or keep them apart, in several scripts."""


def visible(text: str) -> str:
    r"""``text`` with escapes like ``\u001b`` for what a terminal obeys or does not show.

    These are control characters, marks that turn the direction of writing, and other invisible
    ones. The escapes are those of JSON, so a JSON document stays one with the same values.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _UNSAFE:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

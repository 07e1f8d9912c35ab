"""Text from foreign files, made safe for a terminal, a log, a page and a picture."""

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


def visible_line(text: str) -> str:
    r"""``text`` likewise, line ends and tabs too: it cannot pose as several lines.

    >>> visible_line("net\nrobust: yes\x1b[0m")
    'net\\u000arobust: yes\\u001b[0m'
    """
    return (
        text
        if text.isprintable()
        else visible(text).replace("\n", r"\u000a").replace("\t", r"\u0009")
    )


def _shown(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _UNSAFE:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

"""Text from foreign files, made safe for a terminal, a log, a page and a picture."""

from __future__ import annotations

import re
import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of control characters, invisible marks, halves of characters, other line ends."""

_KEPT = "\n\t\u200c\u200d"
"""The last two join letters, or keep them apart, in several scripts."""

_LOG_COMMAND = re.compile(
    r"#(?=#\w*\[)|:(?=:(?:add-mask|add-matcher|add-path|debug|echo|endgroup|error|group|notice|"
    r"remove-matcher|save-state|set-env|set-output|stop-commands|warning)\b)",
    re.IGNORECASE,
)
"""Where a CI server would read a command in a log: ``##vso[``, ``##teamcity[``, ``::error``."""


def visible(text: str) -> str:
    r"""``text`` with escapes like ``\u001b`` for what a reader of logs obeys or does not show.

    These are control characters, marks that turn the direction of writing, other invisible
    characters and those that Unicode excludes from text, and the beginnings of commands to a CI
    server. The escapes are those of JSON, so a JSON document stays one with the same values.
    """
    shown = text if text.isprintable() else "".join(map(_shown, text))
    return _LOG_COMMAND.sub(lambda found: _escape(found[0]), shown)


def visible_line(text: str) -> str:
    r"""``text`` likewise, line ends and tabs too: it cannot pose as several lines.

    >>> visible_line("net\nrobust: yes\x1b[0m")
    'net\\u000arobust: yes\\u001b[0m'
    """
    return visible(text).replace("\n", r"\u000a").replace("\t", r"\u0009")


def _shown(character: str) -> str:
    safe = unicodedata.category(character) not in _UNSAFE and not _is_noncharacter(character)
    return character if safe or character in _KEPT else _escape(character)


def _is_noncharacter(character: str) -> bool:
    """Whether Unicode excludes ``character`` from text; XML and YAML refuse some of them."""
    number = ord(character)
    return number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

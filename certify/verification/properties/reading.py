"""The commands of a VNN-LIB file: a hostile text, read with bounded memory, depth and time."""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.errors import PropertyFileError
from robcert.certify.foreign_file import foreign_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_FILE = 32 * 2**20
"""Bytes of a file as it is stored."""

LARGEST_TEXT = 32 * 2**20
"""Bytes of its text after decompression, twice those of a property of 150,528 inputs. Whatever it
says is read, or refused, within a minute and 1.5 GiB."""

DEEPEST = 64
"""Brackets that may be open at once."""

LARGEST_COMMAND = 2_000_000
"""Tokens of one command; all of them are in memory together."""

_MEMBERS = 16
"""Compressed parts of one gzip file; each costs time, however small it is."""

_GZIP = b"\x1f\x8b"

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|;[^\n]*)"""
    r"""|(?P<usual>\(assert \((?:[<>]=?) [A-Za-z]\w* [-+.\w]+\)\))"""  # at once: most of a file
    r"""|(?P<subscript>\[[\s\d,]*\])"""
    r"""|(?P<text>"[^"\n]*")"""
    r"""|(?P<open>\()|(?P<close>\))"""
    r"""|(?P<symbol>[^\s()\[\];"|]+)"""
)


@dataclass(frozen=True, slots=True)
class Subscript:
    """Indices in square brackets, as in ``X[0, 3]``."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A bracketed list.

    Attributes:
        items: symbols, quoted texts with their quotes, subscripts and lists, in their order.
        line: where it begins, counted from 1.
    """

    items: list[str | Subscript | Command]
    line: int

    @property
    def head(self) -> str:
        """The first item, if that is a symbol; else empty."""
        first = self.items[0] if self.items else ""
        return first if isinstance(first, str) else ""


@dataclass(frozen=True, slots=True)
class PropertyText:
    """The text of a property file.

    Attributes:
        path: the file.
        sha256: hash of the file as it is stored.
        text: its text.
    """

    path: Path
    sha256: str
    text: str

    @classmethod
    def of(cls, path: Path) -> PropertyText:
        """The text in ``path``, plain or compressed by gzip.

        Raises:
            PropertyFileError: there is no such file, it is too large, damaged, or no text.
        """
        content = foreign_bytes(
            path, largest=LARGEST_FILE, holds="a property file", error=PropertyFileError
        )
        plain = _decompressed(path, content) if content.startswith(_GZIP) else content
        try:
            text = plain.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            message = f"{path} is not a VNN-LIB file: byte {error.start} is not text"
            raise PropertyFileError(message) from error
        return cls(path, hashlib.sha256(content).hexdigest(), text)

    def fault(self, line: int, reason: str, *, hint: str = "") -> PropertyFileError:
        """The error at a line of the file, to be raised."""
        return PropertyFileError(f"{self.path}: line {line}: {reason}", hint=hint)

    def commands(self) -> Iterator[Command]:
        """The commands of the file, one after the other.

        Raises:
            PropertyFileError: brackets do not match or are nested too deeply, or something stands
                outside of them.
        """
        open_lists: list[Command] = []
        tokens = 0
        for kind, token, line in self._tokens():
            tokens = tokens + 1 if open_lists else 0
            if tokens > LARGEST_COMMAND:
                reason = f"the command that begins here has more than {LARGEST_COMMAND} parts"
                raise self.fault(open_lists[0].line, reason)
            command = self._step(open_lists, kind, token, line)
            if command is not None:
                yield command
        if open_lists:
            reason = "the command that begins here is not closed before the file ends"
            raise self.fault(open_lists[0].line, reason)

    def _step(self, open_lists: list[Command], kind: str, token: str, line: int) -> Command | None:
        """Put a token in its place; the command that it completes."""
        if kind == "open":
            if len(open_lists) == DEEPEST:
                raise self.fault(line, f"more than {DEEPEST} brackets are nested")
            inner = Command([], line)
            if open_lists:
                open_lists[-1].items.append(inner)
            open_lists.append(inner)
            return None
        if kind == "usual":
            if open_lists:
                raise self.fault(line, "an assertion inside of another command")
            return Command(["assert", Command([*token[9:-2].split(" ")], line)], line)
        if not open_lists:
            found = "a ')' without its '('" if kind == "close" else shown(token)
            raise self.fault(line, f"expected a command such as (assert …), found {found}")
        if kind != "close":
            open_lists[-1].items.append(self._item(kind, token, line))
            return None
        closed = open_lists.pop()
        return None if open_lists else closed

    def _item(self, kind: str, token: str, line: int) -> str | Subscript:
        if kind != "subscript":
            return token
        numbers = token[1:-1].split(",") if token[1:-1].strip() else []
        if not all(re.fullmatch(r"\s*\d{1,9}\s*", number) for number in numbers):
            raise self.fault(line, f"{shown(token)} is not a list of indices")
        return Subscript(tuple(map(int, numbers)))

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        """Kind, text and line of each token."""
        text, position, line = self.text, 0, 1
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.fault(line, f"unexpected {shown(text[position : position + 40])}")
            kind, token, position = match.lastgroup or "", match.group(), match.end()
            if kind != "space":
                yield kind, token, line
            line += token.count("\n")


def shown(text: str) -> str:
    """``text`` in quotes, cut to what fits into a message."""
    return repr(text if len(text) <= 40 else f"{text[:37]}…")


def _decompressed(path: Path, content: bytes) -> bytes:
    """The text in a gzip file; never more of it than is allowed is decompressed."""
    parts: list[bytes] = []
    left = LARGEST_TEXT + 1
    for _ in range(_MEMBERS):
        member = zlib.decompressobj(wbits=31)  # 31: with the header and checksum of gzip
        try:
            parts.append(member.decompress(content, left))
        except zlib.error as error:
            message = f"{path} is a damaged gzip file"
            raise PropertyFileError(message) from error
        left -= len(parts[-1])
        if left <= 0:
            message = f"{path} decompresses to more than {LARGEST_TEXT} bytes"
            raise PropertyFileError(message, hint="a small file can hide any amount of text")
        if not member.eof:
            message = f"{path} is a truncated gzip file"
            raise PropertyFileError(message)
        content = member.unused_data
        if not content.startswith(_GZIP):
            return b"".join(parts)
    message = f"{path} consists of more than {_MEMBERS} gzip parts"
    raise PropertyFileError(message)

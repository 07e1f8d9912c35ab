"""Addresses of files such as s3://bucket/images.npz, as text."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

SECRETS = re.compile(r"(?<=://)[^/@\s]*@|(?<=[\w/.])\?(?=[^\s/]*=)[^\s'\"]*")
"""User and password before a host, and the query, which may hold a signature."""


def is_address(text: object) -> bool:
    """Whether ``text`` is an address with a protocol, such as ``s3://bucket/images.npz``."""
    return isinstance(text, str) and re.match(r"[a-z][a-z0-9+.-]*://", text) is not None


def without_secrets(text: str) -> str:
    """``text`` with the passwords and signatures of its addresses left out.

    >>> without_secrets("--data https://me:key@host/a.tar?sig=b3 --limit 5")
    '--data https://…@host/a.tar?… --limit 5'
    """
    if "://" not in text:
        return text
    return SECRETS.sub(lambda found: "?…" if found[0].startswith("?") else "…@", text)


def suffix_of(address: str) -> str:
    """Ending of the file's name in lower case, without the query of an address."""
    return PurePosixPath(address.split("?")[0]).suffix.lower()


def file_name(address: str) -> str:
    """Name of the file at ``address`` without folder, ending and query."""
    return PurePosixPath(address.split("?")[0]).stem

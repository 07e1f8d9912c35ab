"""Generates docs/licences.md: the licence of every package that robcert needs to run."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

INTRODUCTION = """# Licences of the dependencies

robcert is under the [MIT licence](../LICENSE). An installation of it consists of the packages below
and of no others: what `pyproject.toml` requires for Linux with x86-64 processors, and what these
packages require in turn. Written by `python docs/make.py` from the packages' own metadata, with the
versions that were installed then. None of them is copied into robcert.

Packages whose name begins with `nvidia-` are not free software; torch needs them for GPUs, and does
without them in its builds for the CPU.

| package | version | licence as stated | required by |
|---|---|---|---|
"""

FIELD_LENGTH = 60
"""Longer entries of the metadata are the text of a licence, not its name."""


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package.

    Attributes:
        name: normalised.
        found: its metadata.
        required_by: the package that names it first.
    """

    name: str
    found: Distribution
    required_by: str


def licences_page() -> str:
    """The page as text."""
    rows = (
        f"| {one.name} | {one.found.version} | {licence(one.found)} | {one.required_by} |\n"
        for one in sorted(required("robcert"), key=lambda package: package.name)
    )
    return INTRODUCTION + "".join(rows)


def required(name: str) -> list[Package]:
    """All packages that ``name`` needs here, directly and in turn, without its extras."""
    found: dict[str, Package] = {}
    waiting = [(name, frozenset[str]())]
    while waiting:
        by, extras = waiting.pop(0)
        for text in distribution(by).requires or ():
            needed = Requirement(text)
            key = canonicalize_name(needed.name)
            if key in found or not _applies(needed, extras):
                continue
            try:
                found[key] = Package(key, distribution(needed.name), by)
            except PackageNotFoundError:  # for another Python than the marker can tell
                continue
            waiting.append((needed.name, frozenset(needed.extras)))
    return list(found.values())


def _applies(needed: Requirement, extras: frozenset[str]) -> bool:
    """Whether the marker of ``needed`` holds here, with one of ``extras`` or with none."""
    marker = needed.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})


def licence(found: Distribution) -> str:
    """The licence that the metadata states: an SPDX expression, classifiers, or a short text."""
    metadata = found.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    named = [
        entry.rpartition(" :: ")[2]
        for entry in metadata.get_all("Classifier") or ()
        if entry.startswith("License ::")
    ]
    text = (metadata.get_all("License") or [""])[0]
    short = len(text) <= FIELD_LENGTH and "\n" not in text
    if named and not (short and "Proprietary" in text):
        return "; ".join(named)
    return text if text and short else "not stated"

"""All items by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from robcert.certify.errors import InvalidParameterError

from . import cohen, igr, llr, soar

if TYPE_CHECKING:
    from .item import Item

ITEMS: dict[str, Item] = {
    item.name: item for item in (*llr.ITEMS, *igr.ITEMS, *soar.ITEMS, *cohen.ITEMS)
}
"""Items in the order of `robcert reproduce --list`."""


def item_named(name: str) -> Item:
    """The item called ``name``; upper and lower case are the same.

    Raises:
        InvalidParameterError: there is none.
    """
    by_name = {known.lower(): item for known, item in ITEMS.items()}
    if found := by_name.get(name.lower()):
        return found
    close = get_close_matches(name.lower(), by_name, n=1)
    hint = f"did you mean {by_name[close[0]].name}? " if close else ""
    message = f"there is no item {name!r}"
    raise InvalidParameterError(message, hint=f"{hint}robcert reproduce --list names all items")

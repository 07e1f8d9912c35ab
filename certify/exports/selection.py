"""Which tables of a results file a name stands for: a path, an analysis, or how a path begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.auditing import ANALYSES, SCHEMAS
from robcert.certify.errors import InvalidParameterError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.store import AnalysisGroup, ResultStore


def groups(store: ResultStore) -> list[AnalysisGroup]:
    """Every table of ``store``, in the order of the schema, oldest first."""
    names = list(dict.fromkeys(schema.name for schema in SCHEMAS))
    return [group for name in names for group in store.existing(name) if group.columns]


def groups_named(store: ResultStore, name: str) -> list[AnalysisGroup]:
    """The tables that ``name`` stands for, at least one.

    A path (``attack/linf-quick-1f3a9c02``) stands for its table, the name of an analysis
    (``attack``) for all tables of that analysis, and anything else for the tables whose path
    begins with it (``attack/l2``).

    Raises:
        StoreError: there is no such table.
    """
    wanted, everything = name.strip("/"), groups(store)
    exact = [group for group in everything if group.path.strip("/") == wanted]
    schema = {row.name: row.schema.name for row in ANALYSES}.get(wanted, wanted)
    of_analysis = [group for group in everything if group.schema_name == schema]
    beginning = [group for group in everything if wanted and group.path[1:].startswith(wanted)]
    found = exact or of_analysis or beginning
    if not found:
        message = f"{store.path} has no analysis {name}"
        raise StoreError(message, hint=f"it holds: {_listed(everything)}")
    return found


def one_group(store: ResultStore, name: str | None, purpose: str) -> AnalysisGroup:
    """The table that ``name`` stands for; without a name the only one that there is.

    Args:
        store: the results file.
        name: see :func:`groups_named`.
        purpose: what needs one table, for the message: ``--format csv``.

    Raises:
        InvalidParameterError: there are several.
        StoreError: there is none.
    """
    found = groups_named(store, name) if name else groups(store)
    if len(found) == 1:
        return found[0]
    held = f"{len(found)} tables of {name}" if name else f"{len(found)} tables"
    message = f"{store.path} holds {held}; {purpose} takes one"
    raise InvalidParameterError(message, hint=f"pass --group, one of: {_listed(found)}")


def _listed(found: Sequence[AnalysisGroup]) -> str:
    return ", ".join(group.path.strip("/") for group in found) or "nothing"

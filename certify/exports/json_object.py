"""A results file as one JSON object, and such an object as the content of a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from robcert.certify.auditing import results, standards_tables, verdict_of
from robcert.certify.gates import recorded
from robcert.certify.store import ledger, plain
from robcert.certify.visible import visible

from .selection import groups_named

if TYPE_CHECKING:
    from robcert.certify.store import ResultStore


def json_bytes(content: object) -> bytes:
    """``content``, in JSON's types, as a file that is safe to show in a terminal."""
    return f"{visible(json.dumps(content, indent=2, ensure_ascii=False))}\n".encode()


def store_json(store: ResultStore, name: str | None) -> dict[str, Any]:
    """Header, model, data, the summary of every group (or of those called ``name``), the ledger.

    And the verdict, the decisions on the gates of the last audit, and questions of standards.
    """
    wanted = {group.path for group in groups_named(store, name)} if name else None
    return {
        "format": plain(store.header),
        "model": plain(store.model),
        "data": plain(store.data),
        "groups": [
            {
                "path": result.group.path,
                "analysis": result.analysis.name,
                "complete": result.group.complete,
                "seed": result.group.seed,
                "settings": plain(result.group.settings),
                "summary": result.to_json(),
            }
            for result in results(store)
            if wanted is None or result.group.path in wanted
        ],
        "violations": plain(ledger(store).to_json()),
        "verdict": verdict_of(store).to_json(),
        "gates": [decision.to_json() for decision in recorded(store)],
        "standards": [
            plain({"title": table.title, "header": table.header, "rows": table.rows})
            for table in standards_tables(store)
        ],
    }

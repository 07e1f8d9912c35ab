"""Where the numbers come from: header, facts about the model, commands, settings."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robcert.certify.tables import fact, known

if TYPE_CHECKING:
    from robcert.certify.auditing import Readings
    from robcert.certify.store import ResultStore

MODEL_FACTS = (
    ("file", "file"),
    ("sha256", "SHA-256"),
    ("kind", "kind"),
    ("producer", "producer"),
    ("opset", "opset"),
    ("input_shape", "input shape"),
    ("output_shape", "output shape"),
    ("logits_from", "logits"),
    ("runtime", "runtime"),
    ("preprocessing", "pixels to input"),
    ("twin_unavailable", "why gradients are not available"),
    ("straight_through", "straight-through nodes"),
    ("parity", "agreement of runtime and twin"),
)


def header(store: ResultStore) -> dict[str, Any]:
    """Model, data set, versions and facts, as the template names them."""
    attributes, model, data = store.header, store.model, store.data
    count = len(store.indices)
    return {
        "version": attributes["robcert_version"],
        "created": str(attributes["created"])[:16].replace("T", " ") + " UTC",
        "model": {"name": Path(str(model["file"])).name, "sha8": str(model["sha256"])[:8]},
        "data": {"sha8": str(data["sha256"])[:8]},
        "images": f"{count} of {data['size']} images of {data['name']}",
        "results": store.path.name,
        "facts": [(label, fact(model[key])) for key, label in MODEL_FACTS if known(model.get(key))],
        "notes": list(model.get("notes") or ()),
    }


def commands(store: ResultStore, found: Readings, record: dict[str, Any]) -> list[str]:
    """The command lines that filled the file, reconstructed if they were not recorded."""
    lines = [str(record["command"])] if record.get("command") else []
    lines += [str(line) for result in found if (line := result.group.attribute("command"))]
    if not lines:
        named = ("--model", str(store.model["file"]), "--data", str(store.data["name"]))
        lines = [shlex.join(["robcert", "audit", *named])]  # a name may hold commands of a shell
    return list(dict.fromkeys(lines))


def settings(found: Readings) -> list[dict[str, str]]:
    """Path and settings of every table, as JSON."""
    return [
        {
            "path": result.group.path,
            "settings": json.dumps(
                {"seed": result.group.seed, **result.group.settings}, indent=2, sort_keys=True
            ),
        }
        for result in found
    ]

"""Rows as a Parquet file, whose columns carry claim, unit and meaning as metadata."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import RobcertError
from robcert.certify.store import plain
from robcert.certify.visible import visible

from .rows import row_columns

if TYPE_CHECKING:
    from robcert.certify.store import AnalysisGroup, ResultStore

    from .rows import RowColumn

HINT = "pip install 'robcert[parquet]', or use --format csv"


def require_parquet() -> None:
    """Raise unless Parquet files can be written.

    Raises:
        RobcertError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401  # an extra of the installation
    except ImportError:
        message = "Parquet files need pyarrow, which is not installed"
        raise RobcertError(message, hint=HINT) from None


def parquet_bytes(store: ResultStore, group: AnalysisGroup) -> bytes:
    """Content of a Parquet file with the finished rows of ``group``, as in CSV.

    Each column has the metadata ``claim``, ``unit`` and ``doc``; the file has ``robcert``, a JSON
    object with the model, the data set, the path of the table, its settings and its seed.

    Raises:
        RobcertError: pyarrow is not installed.
    """
    require_parquet()
    import pyarrow
    from pyarrow import parquet

    columns = row_columns(store, group)
    arrays = [pyarrow.array(column.values) for column in columns]
    fields = [
        pyarrow.field(column.name, array.type, metadata=_metadata(column))
        for column, array in zip(columns, arrays, strict=True)
    ]
    schema = pyarrow.schema(fields, metadata={"robcert": _origin(store, group)})
    content = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), content)
    return content.getvalue()


def _metadata(column: RowColumn) -> dict[str, str]:
    return {"claim": column.claim, "unit": column.units, "doc": column.doc}


def _origin(store: ResultStore, group: AnalysisGroup) -> str:
    """What the rows are about, as JSON."""
    origin: dict[str, Any] = {
        "robcert_version": store.header["robcert_version"],
        "model": {name: store.model[name] for name in ("file", "sha256")},
        "data": store.data,
        "group": group.path.strip("/"),
        "settings": group.settings,
        "seed": group.seed,
    }
    return visible(json.dumps(plain(origin), ensure_ascii=False))

"""The documentation page of the results file, generated from the schema."""

from __future__ import annotations

import math

from robcert.certify.auditing import SCHEMAS
from robcert.certify.store import (
    CHECKSUMS,
    COMPUTED,
    FORMAT,
    FORMAT_VERSION,
    IMAGES,
    Column,
    Schema,
)

INTRODUCTION = f"""\
# The results file

Generated from the `schema.py` of every analysis by `python docs/make.py`; a test compares the two.

One HDF5 file holds the results of one model on one data set. Any HDF5 reader opens it; h5py
reads it without robcert:

```python
import h5py
with h5py.File("results.h5") as file:
    index = file["data/index"][:]                  # data-set index of the image of each row
    group = next(iter(file["attack"].values()))    # one table per combination of settings
    done = group["computed"][:] == 1
    distance = group["distance"][:][done]
    print(group.attrs["settings"], group["distance"].attrs["doc"], group["distance"].attrs["units"])
```

## Layout

| place | what |
|---|---|
| `/` | attributes `format` (`{FORMAT}`), `format_version` ({FORMAT_VERSION}), … |
| `/model` | attributes: `sha256`, `file`, `kind`, `producer`, `input_shape`, … |
| `/data` | attributes `name`, `sha256`, `size`, `classes`; datasets `index` and `label` |
| `/clean` | the table *clean* |
| `/<schema>/<key>` | every other table |

A key is a readable prefix and eight hexadecimal digits of the SHA-256 of settings and seed, so each
combination of settings has its own table in the file. A table that belongs to another one is stored
inside it. Every table has the attributes `schema`, `schema_version`, `doc`, `axis`, `settings`
(JSON), `seed`, `complete`, `created` and `number`, which counts the tables of the file in the order
of their creation; every dataset has `doc`, `units`, `kind` and named axes.
For a model with an integer input `settings` also has `input_step`, one level of the input in pixel
units, and `input_rounding`: images and distances of such a table are on the levels, and the
perturbations keep their length in l2 and l1. Tables without either are of earlier versions, which
did not round or rounded each pixel by itself.
An attribute that is neither a number nor a text is JSON, and so is a text that HDF5 cannot hold or
that could be taken for JSON: it begins with a bracket, brace or quotation mark, or is `null`. A
text too long for an attribute (64 kB) is a scalar dataset of that name. Small arrays of a whole
analysis (block maxima, …) are stored beside the columns.

**Rows.** The first axis of a table over images follows `/data/index`, which grows when a later run
selects more images. A row is valid where `computed` is 1; otherwise it holds the fill value (NaN,
or as stated below) or an incomplete result of a killed run. `complete` is true if the last run
finished; `indices` inside `settings` lists its images (`0-99,105,200-300:2`, a range with a step;
or `mask:` and a base64 text of a zlib-packed bit mask).

**Kinds.** *certified* is proven (`verify`) or holds with the stated probability over robcert's own
randomness (`smoothing`); *estimated* may be wrong; *attacked*: an adversarial example was found;
*measured* is a plain fact.

**Kills.** Groups, attributes and lengths are changed in a copy, which then replaces the file in one
step. Rows are written in place into existing datasets; `computed` is set after them. A SIGKILL at
any moment leaves a readable file and loses at most the current batch. Images are kept in a log
beside the file until a table is finished. A power failure is not covered. While a command runs,
`.<name>.lock` prevents a second one from writing; reading is always possible (h5py:
`locking=False`).

**Damage.** A file that another process wrote is read through in a child process before it is
opened, because the HDF5 library crashes on some damaged files; this takes about 0.3 s. Then its
structure, attributes and lists of images are compared with this page, and so is whether radii,
levels and counts in settings, distances and classes are ones that an analysis can have, and whether
the name of a table is that of its settings. The first fault is one line that names its place.
`robcert doctor FILE` lists the whole rows of each table, and `--out NEW` saves them; the commands
that wrote the file compute the rest with NEW as their `--out`.

**Checksums.** A file that another process wrote is also compared with its checksums, so that one
changed bit is found: each row has its own in the column `checksum`, written before `computed`;
`/data/index`, `/data/label`, arrays of a whole analysis and the attributes of a group have theirs
in the attribute `checksum`; images are packed with zlib, which has one. Descriptions of columns
have none. HDF5's Fletcher32 would cover a chunk of rows, which a kill could leave with another
row's checksum. Files of earlier versions have no checksums and are read as before.

**Versions.** A reader rejects a `format_version` or `schema_version` that it does not know; a
change of meaning gets a new version.
"""

DATA = Schema("/data", FORMAT_VERSION, "the image of each row of every table", IMAGES)


def schema_page() -> str:
    """Markdown of every table that a results file can hold."""
    return "\n".join([INTRODUCTION, *(_table(schema) for schema in (DATA, *SCHEMAS))])


def _table(schema: Schema) -> str:
    columns = schema.columns if schema is DATA else (*schema.columns, CHECKSUMS, COMPUTED)
    rows = [_row(schema, column) for column in columns]
    head = [
        f"## {schema.name}",
        "",
        f"Version {schema.version}{_rows(schema)}: {schema.doc}.",
        "",
        "| column | type | axes | kind | units | fill | meaning |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def _rows(schema: Schema) -> str:
    """Words for what a row is, of a table that has columns of its own."""
    if not schema.columns:
        return ""
    return f", one row per {'image' if schema.axis == 'image' else 'sample'}"


def _row(schema: Schema, column: Column) -> str:
    axes = ", ".join((schema.axis, *column.trailing))
    fill = "NaN" if math.isnan(column.fill) else f"{column.fill:g}"
    optional = " (optional)" if column.images or column.optional else ""
    doc = column.doc.replace("|", "\\|")
    cells = (f"`{column.name}`", column.dtype, axes, column.kind.value, column.units, fill, doc)
    return f"| {' | '.join(cells)}{optional} |"

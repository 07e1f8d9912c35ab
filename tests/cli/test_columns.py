"""Tables in a terminal of any width: no broken words, and parts where the columns do not fit."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from robcert.certify.tables import Table
from robcert.cli.shell.columns import GAP, LONGEST_WORD, least_room, parts_of
from robcert.cli.shell.render import print_tables

if TYPE_CHECKING:
    import pytest

WORDS = st.text(alphabet="abcde", min_size=1, max_size=12)
CELLS = st.lists(WORDS, min_size=0, max_size=4).map(" ".join)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    columns = draw(st.integers(1, 9))
    row = st.lists(CELLS, min_size=columns, max_size=columns)
    return draw(st.lists(row, min_size=2, max_size=4))


@given(tables(), st.integers(40, 140))
def test_every_column_is_shown_and_no_word_is_broken(rows: list[list[str]], room: int) -> None:
    parts = parts_of(rows, room)
    shown = [number for part in parts for number in part.columns]
    assert [number for number in shown if number] == list(range(1, len(rows[0])))
    assert all(part.columns[0] == 0 for part in parts)
    for part in parts:
        assert sum(part.widths) + GAP * (len(part.widths) - 1) <= room
        for number, width in zip(part.columns, part.widths, strict=True):
            longest = max((len(word) for row in rows for word in row[number].split()), default=0)
            assert min(longest, LONGEST_WORD) <= width <= max(len(row[number]) for row in rows)
    assert len(parts_of(rows, least_room(rows))) == 1


@given(tables())
def test_a_table_with_room_has_the_width_of_its_cells(rows: list[list[str]]) -> None:
    (part,) = parts_of(rows, 1000)
    assert part.widths == tuple(max(map(len, column)) for column in zip(*rows, strict=True))


def lines_of(table: Table, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_tables([table])
    return capsys.readouterr().out.splitlines()


HEADER = ("model", *(f"bound-{k} estimated" for k in range(9)))
WIDE = Table("models", "", HEADER, (("net.onnx", *(f"0.00{k}" for k in range(9))),), "")


def test_a_narrow_terminal_gets_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in lines_of(WIDE, capsys)]
    assert max(map(len, lines)) <= 60
    assert sum("net.onnx" in line for line in lines) > 1
    text = " ".join(lines)
    assert all(text.count(f"bound-{k}") == 1 for k in range(9))
    assert text.count("estimated") == 9


def test_intervals_counts_and_names_stay_on_one_line_of_80(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("COLUMNS", "80"), ("TERM", "xterm"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    header = ("quantity", "claim", "first", "second", "difference", "interval", "ahead", "p")
    quantity = "certified accuracy of the model itself at 1/255 (linf, float32)"
    cells = ("certified", "0.0006571", "0.0005245", "-0.000133", "[-0.00019, -7.5e-05]", "35 : 9")
    name = "a-network-with-a-name-of-36-letters."
    table = Table("t", "", header, ((quantity, *cells, "3e-06"), (name, *cells, "1")), "")
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in lines_of(table, capsys)]
    assert max(map(len, lines)) <= 80
    for text in (name, "[-0.00019, -7.5e-05]", "35 : 9"):
        assert sum(text in line for line in lines) >= 2, text
    assert len(lines) < 20  # the first column is wide enough for its sentences


def test_a_pipe_gets_one_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(WIDE, capsys)
    (row,) = [line for line in lines if "net.onnx" in line]
    assert row.split() == list(WIDE.rows[0])

"""CSV that people open in a spreadsheet."""

import csv

import pytest

from robcert.certify.tables import csv_line


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", '=HYPERLINK("x",1)'])
def test_a_text_never_begins_a_formula(text: str) -> None:
    (read,) = csv.reader([csv_line([text, -1.5, 2])])
    assert read == [f"'{text}", "-1.5", "2"]


@pytest.mark.parametrize("text", ["\t=1+1", "\r=1+1", "\n=1+1", "a\x1b]0;b\x07", "a\r\nb"])
def test_a_text_is_one_visible_line(text: str) -> None:
    line = csv_line([text, "b"])
    assert line.isprintable()
    (read,) = csv.reader([line])
    assert read[0][0] in "a\\"
    assert read[1] == "b"


def test_other_texts_stay_as_they_are() -> None:
    (read,) = csv.reader([csv_line(["", "a=b", 'say "x", y', "status@2/255"])])
    assert read == ["", "a=b", 'say "x", y', "status@2/255"]

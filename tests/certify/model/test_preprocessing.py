from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from robcert.certify.errors import PreprocessingError
from robcert.certify.model.preprocessing import METADATA_KEY, Preprocessing, PreprocessOptions

if TYPE_CHECKING:
    from pathlib import Path


def test_the_form_of_the_design_is_read(tmp_path: Path) -> None:
    file = tmp_path / "preprocess.json"
    said = {
        "layout": "NHWC",
        "flatten": "column-major",
        "range": [0, 255],
        "channels": "BGR",
        "mean": [103.9, 116.8, 123.7],
        "std": [1.0, 2.0, 3.0],
        "dtype": "float32",
    }
    file.write_text(json.dumps(said))
    options = PreprocessOptions.from_file(file)
    assert json.loads(json.dumps(options.stated())) == said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[1]", "must hold one JSON object, got list"),
        ('{"men": [0]}', "unknown key 'men'"),
        ('{"layout": "HWC"}', "layout must be one of NCHW, NHWC, flat, got 'HWC'"),
        ('{"range": [0]}', "range must be two different numbers"),
        ('{"range": [1, 1]}', "range must be two different numbers"),
        ('{"std": [0.5, 0]}', "std must be a list of positive numbers"),
        ('{"mean": 0.5}', "mean must be a list of numbers"),
        ('{"mean": [NaN]}', "mean must be a list of numbers"),
        ('{"dtype": "complex64"}', "dtype must be one of"),
        ('{"layout": ["NCHW"]}', "layout must be one of"),
    ],
)
def test_a_broken_rule_names_file_and_key(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "p.json"
    file.write_text(text)
    with pytest.raises(PreprocessingError) as caught:
        PreprocessOptions.from_file(file)
    assert str(caught.value).startswith(str(file))
    assert reason in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PreprocessingError, match="cannot be read"):
        PreprocessOptions.from_file(tmp_path / "none.json")


def test_what_is_said_first_wins_part_by_part() -> None:
    user = PreprocessOptions(mean=(0.5,))
    file = PreprocessOptions(mean=(0.1,), std=(0.2,))
    assert user.over(file) == PreprocessOptions(mean=(0.5,), std=(0.2,))
    assert PreprocessOptions().empty
    assert not user.empty


def test_metadata_of_an_export_is_read_back() -> None:
    written = Preprocessing(mean=(0.3,), range=(-1.0, 1.0), input_shape=(1, 28, 28))
    metadata = {METADATA_KEY: json.dumps(asdict(written))}
    options = PreprocessOptions.from_metadata(metadata)
    again = options.completed(layout="NHWC", dtype="float32", input_shape=(1, 28, 28))
    assert again == written
    assert PreprocessOptions.from_metadata({}).empty
    with pytest.raises(PreprocessingError, match="metadata entry"):
        PreprocessOptions.from_metadata({METADATA_KEY: "x"})


def test_a_whole_number_means_what_a_decimal_means() -> None:
    # The results file tells another preprocessing by its text.
    whole = PreprocessOptions.from_json('{"range": [0, 255]}', source="here")
    decimal = PreprocessOptions.from_json('{"range": [0.0, 255.0]}', source="here")
    assert repr(whole) == repr(decimal)

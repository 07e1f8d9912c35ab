"""Texts in a results file: each is read back as it was, whatever it looks like."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from robcert.certify.auditing.schema import CLEAN
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import StoreError
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.layout import read_attribute, write_attributes
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {
    "ordinary": "net.onnx",
    "umlaut": "prüfen ≤ 3",
    "null": "null",
    "list": "[1]",
    "not quite a list": "[1].npz",
    "dictionary": '{"a": NaN}',
    "quoted": '"a"',
    "deep": "[" * 5000,
    "many digits": f"[1{'0' * 5000}]",
    "NUL": "a\0b",
    "file name of other bytes": "net\udcff.onnx",
    "long": "[" + "x" * 70_000,
}

MODEL = ModelInfo(file="net.onnx", sha256="a" * 64, kind="onnx", preprocessing='{"mean": [0.5]}')
DATA = DataInfo("digits", "b" * 64, 100)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_is_read_back_as_it_was(text: str) -> None:
    with h5py.File("texts", "w", driver="core", backing_store=False) as file:
        write_attributes(file, {"text": text, "inside": {"text": [text]}})
        assert read_attribute(file, "text") == text
        assert read_attribute(file, "inside") == {"text": [text]}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_file_with_any_names_is_opened_again(text: str, tmp_path: Path) -> None:
    model = replace(MODEL, file=text, producer=text, input_name=text, output_name=text)
    data = replace(DATA, name=text, classes=(text, "b"))
    for _ in range(2):
        with ResultStore.open(tmp_path / "r.h5", model=model, data=data) as store:
            store.add_images(np.array([1]), np.array([0]))
            group = store.group(CLEAN, prefix="", settings=None, seed=0)
            group.append(np.array([1]), {column.name: np.array([0.0]) for column in CLEAN.columns})
            names = ("file", "producer", "input_name", "output_name")
            assert [store.model[name] for name in names] == [text] * 4
            assert store.model["preprocessing"] == {"mean": [0.5]}
            assert store.data["name"] == text
            assert store.class_names == (text, "b")
    with pytest.raises(StoreError, match="output name"):
        ResultStore.open(tmp_path / "r.h5", model=replace(model, output_name="b"), data=data)

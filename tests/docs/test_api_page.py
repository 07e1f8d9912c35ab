"""The examples of docs/api.md and the notebook run as they stand."""

from __future__ import annotations

import doctest
import shutil
import warnings
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient
from places import DOCS, FIXTURES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the model that the pages name."""
    shutil.copy(FIXTURES / "fashion-honest.onnx", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_examples_of_the_page(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = doctest.testfile(str(DOCS / "api.md"), module_relative=False)
    assert found.attempted > 20
    assert found.failed == 0
    assert (folder / "fashion-honest.html").is_file()


@pytest.mark.slow
@pytest.mark.slow
def test_the_notebook(folder: Path) -> None:
    notebook = nbformat.read(DOCS / "api.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    assert all(not cell.get("outputs") for cell in notebook.cells), "outputs are not committed"
    client = NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(folder)}})
    client.execute()
    assert (folder / "fashion-honest.html").is_file()

"""The models that paths name: files, run folders, folders of models, lists."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from robcert.certify.errors import InvalidParameterError
from robcert.certify.fleet import fleet_models, is_fleet


def touched(*paths: Path, content: bytes = b"") -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or str(path).encode())


def names(*paths: Path) -> list[str]:
    return [model.name for model in fleet_models(paths)]


def test_a_folder_stands_for_its_models_and_a_run_folder_for_itself(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    run = folder / "run"
    touched(folder / "b.onnx", folder / "a.ONNX", folder / "c.safetensors", folder / "notes.md")
    touched(folder / ".hidden.onnx", run / "checkpoint.safetensors", run / "model.onnx")
    assert names(folder) == ["a.ONNX", "b.onnx", "c.safetensors", "run"]
    assert is_fleet([folder])
    assert not is_fleet([run])
    assert not is_fleet([folder / "b.onnx"])
    assert is_fleet([folder / "b.onnx", run])
    assert not is_fleet([])
    (tmp_path / "empty").mkdir()
    assert not is_fleet([tmp_path / "empty"])


def test_a_list_names_paths_from_its_folder(tmp_path: Path) -> None:
    touched(tmp_path / "in" / "a.onnx", tmp_path / "in" / "b.onnx", tmp_path / "c.onnx")
    listed = tmp_path / "list.txt"
    listed.write_text(f"# models\n\n  c.onnx \nin\n{tmp_path / 'c.onnx'}\nmissing.onnx\n")
    assert is_fleet([listed])
    assert names(listed) == ["c.onnx", "a.onnx", "b.onnx", "missing.onnx"]
    listed.write_bytes(b"\xef\xbb\xbfc.onnx\r\nmissing.onnx\r\n")
    assert names(listed) == ["c.onnx", "missing.onnx"]


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\n", b"x" * (2**20 + 1), None])
def test_what_lists_nothing_is_refused(tmp_path: Path, content: bytes | None) -> None:
    listed = tmp_path / "list.txt"
    if content is not None:
        listed.write_bytes(content)
    with pytest.raises(InvalidParameterError, match=r"list\.txt") as caught:
        fleet_models([listed])
    assert caught.value.hint == "write one path of a model in each line"


def test_a_list_of_very_many_models_is_refused_at_once(tmp_path: Path) -> None:
    """150,000 lines of six bytes: each name was compared with every other one."""
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{number:x}\n" for number in range(1000)))
    assert len(names(listed)) == 1000
    listed.write_text("".join(f"{number:x}\n" for number in range(150_000)))
    before = time.process_time()
    with pytest.raises(
        InvalidParameterError, match=r"list\.txt: an audit of more than 1000 models"
    ):
        fleet_models([listed])
    assert time.process_time() - before < 5


def test_many_deep_paths_with_equal_ends_are_named_at_once(tmp_path: Path) -> None:
    paths = [Path(f"{number}" + "/a" * 200 + "/m.onnx") for number in range(1000)]
    before = time.process_time()
    assert names(*paths) == [str(path) for path in paths]
    assert time.process_time() - before < 10


def test_names_are_short_and_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [Path("x/run/best.onnx"), Path("y/run/best.onnx"), Path("y/best.onnx"), Path("a.onnx")]
    assert names(*paths, Path("./a.onnx"), tmp_path / "a.onnx") == [
        str(Path("x/run/best.onnx")),
        str(Path("y/run/best.onnx")),
        str(Path("y/best.onnx")),
        "a.onnx",
    ]


def test_models_that_may_have_one_results_file_have_one_key(tmp_path: Path) -> None:
    same = [tmp_path / place / "m.onnx" for place in ("a", "b")]
    touched(*same, content=b"same")
    touched(tmp_path / "c" / "m.onnx", content=b"else")
    touched(tmp_path / "d" / "other.onnx", content=b"same")
    os.mkfifo(tmp_path / "m.onnx")  # reading it would never end
    first, second, *others = fleet_models(
        [*same, tmp_path / "c/m.onnx", tmp_path / "d/other.onnx", tmp_path / "m.onnx"]
    )
    assert first.key == second.key
    assert len({one.key for one in (first, *others)}) == 4

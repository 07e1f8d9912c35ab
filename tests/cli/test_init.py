"""`robcert init`: what it finds, asks and marks as guessed; its file is one that is read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer
from command_line import robcert
from onnx_models import linear, model, node, saved, weights

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError, ModelFileError
from robcert.cli import init as command
from robcert.cli.initial_configuration import EPSILONS, Entry, Search, text_of
from robcert.cli.main import app

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(folder: Path, name: str, count: int = 16, side: int = 4) -> None:
    """Images that the linear model takes if ``side`` is 4."""
    found = np.random.default_rng(0).random((count, side, side, 3))
    np.savez(folder / name, images=found.astype(np.float32))


def proposal(folder: Path, answers: dict[str, int] | None = None) -> dict[str, Entry]:
    """The keys for ``folder``; ``answers`` are numbers of choices by the start of a question."""

    def ask(question: str, choices: Sequence[str]) -> str:
        asked.append(question)
        place = next(n for start, n in (answers or {}).items() if question.startswith(start))
        return choices[place]

    asked: list[str] = []
    found = Search(folder, None, None, ask if answers is not None else None).proposal()
    for start in answers or {}:
        assert any(question.startswith(start) for question in asked)
    return {entry.key: entry for entry in found}


def test_without_a_terminal_the_only_model_and_images_are_taken_and_marked(folder: Path) -> None:
    (folder / "net").mkdir()
    saved(folder / "net", linear())
    pixels(folder, "images.npz")
    pixels(folder, "small.npz", side=3)
    ended = robcert("init")
    assert ended.status == 0, ended.stderr
    assert "guessed, to be checked: model, data, norm, eps, limit" in ended.stderr
    text = (folder / "robcert.toml").read_text()
    found = tomllib.loads(text)
    assert (found["model"], found["data"]) == ("net/model.onnx", "images.npz")
    assert (found["limit"], found["profile"], found["norm"]) == (16, "quick", "linf")
    assert found["gates"] == ["masking == clear", "violations == 0"]
    assert 'data = "images.npz"  # guessed: the only one' in text
    assert text in ended.stdout


def test_the_file_that_it_writes_is_one_that_commands_read(folder: Path) -> None:
    saved(folder, linear())
    pixels(folder, "images.npz")
    assert robcert("init", "--yes").status == 0
    root: Any = typer.main.get_command(app)
    with root.make_context("robcert", ["audit"]) as context:
        found = root.commands["audit"].make_context("audit", [], parent=context).params
    assert (found["model"], found["data"]) == ([Path("model.onnx")], "images.npz")
    assert found["gate"] == ["masking == clear", "violations == 0"]


def test_a_file_is_replaced_only_on_demand(folder: Path) -> None:
    (folder / "robcert.toml").write_text("limit = 3")
    ended = robcert("init")
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [
        "error: robcert.toml exists",
        "hint: edit it, or pass --overwrite",
    ]
    assert (folder / "robcert.toml").read_text() == "limit = 3"
    assert robcert("init", "--overwrite").status == 0
    assert tomllib.loads((folder / "robcert.toml").read_text())["limit"] == 100


def test_without_a_model_the_keys_are_left_to_fill_in(folder: Path) -> None:
    ended = robcert("init")
    assert "to fill in: model, data" in ended.stderr
    found = tomllib.loads((folder / "robcert.toml").read_text())
    assert set(found) == {"profile", "norm", "eps", "limit"}


def test_the_first_of_several_models_is_marked(folder: Path) -> None:
    made = saved(folder, linear())
    (folder / "other.onnx").write_bytes(Path(made).read_bytes())
    assert proposal(folder)["model"].comment == "guessed: it could be other.onnx"


def test_what_cannot_be_found_out_is_asked(folder: Path) -> None:
    made = saved(folder, linear())
    (folder / "other.onnx").write_bytes(Path(made).read_bytes())
    for name in ("a.npz", "b.npz"):
        pixels(folder, name)
    answers = {"Which model": 1, "Which images": 1, "Which norm": 1}
    found = proposal(folder, answers)
    assert (found["model"].value, found["data"].value) == ("other.onnx", "b.npz")
    assert (found["norm"].value, found["eps"].value) == (str(tuple(Norm)[1]), ["0.5"])
    assert not found["model"].comment + found["data"].comment + found["norm"].comment


def test_the_default_distances_are_those_of_the_norms() -> None:
    for norm, text in EPSILONS.items():
        top, _, bottom = text.partition("/")
        assert float(top) / float(bottom or 1) == norm.usual_radius


def test_an_output_is_chosen_where_several_could_be_the_scores(folder: Path) -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("MatMul", "flat w", "one"),
            node("MatMul", "flat v", "two"),
        ],
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={"one": None, "two": None},
        weights={"w": weights(5, 48), "v": weights(5, 48)[::-1].copy()},
    )
    saved(folder, made)
    assert proposal(folder)["output"].comment == "guessed: it could be two"
    assert proposal(folder, {"Which output": 1, "Which norm": 0})["output"].value == "two"


def test_a_bad_model_is_an_error_and_writes_nothing(folder: Path) -> None:
    (folder / "bad.onnx").write_text("no model")
    with pytest.raises(ModelFileError):
        proposal(folder)
    assert robcert("init").status == 2
    assert not (folder / "robcert.toml").exists()


def test_no_name_of_a_file_leaves_its_string_or_comment() -> None:
    hostile = 'a"\ngates = []\x7f\x1b[31m.onnx'
    entry = Entry("model", hostile, f"guessed: it could be {hostile}")
    found = tomllib.loads(text_of([entry]))
    assert found == {"model": hostile}


def test_a_name_that_toml_cannot_hold_is_one_line() -> None:
    with pytest.raises(InvalidParameterError, match=r"the name .* is not UTF-8"):
        text_of([Entry("model", "net\udcff.onnx")])


def test_answers_are_numbers_of_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["7", "two", "2"])
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: next(typed))
    assert command._ask("Which", ("a", "b")) == "b"
    assert next(typed, None) is None

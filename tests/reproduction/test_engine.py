"""`robcert reproduce` from end to end with linear networks: numbers, files, resuming, refusals."""

from __future__ import annotations

import csv
import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import torch
from command_line import robcert
from safetensors.torch import load_file
from tiny_items import CONFIDENT, EVERY_KIND, TINY, halves

from robcert.certify.store import ResultStore
from robcert.reproduction import ITEMS
from robcert.reproduction.engine import Reproduction

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended

SCALE = 0.02
"""Four epochs of the 200 of the recipe."""


@pytest.fixture(scope="module", autouse=True)
def _items() -> Any:
    patch = pytest.MonkeyPatch()
    for item in (TINY, EVERY_KIND, CONFIDENT):
        patch.setitem(ITEMS, item.name, item)
    yield
    patch.undo()


def _run(folder: Path, *more: object, item: str = TINY.name) -> Ended:
    data = folder / "images.npz"
    if not data.exists():
        halves(data)
    options = ("--data", data, "--scale", SCALE, "--out", folder / "out")
    return robcert("reproduce", item, *options, *more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    ended = _run(folder, "--json")
    assert ended.status == 0, ended.stderr
    (folder / "printed.json").write_text(ended.stdout)
    return folder


def test_numbers_are_of_trained_networks(finished: Path) -> None:
    found = json.loads((finished / "printed.json").read_text())
    theirs, plain, noisy = found["rows"]
    assert [number["ours"] for number in theirs["numbers"]] == [None, None]
    clean, error = plain["numbers"]
    assert clean["ours"]["value"] == 100.0  # separable
    assert clean["difference"] == pytest.approx(10.0)
    assert clean["difference_limits"][0] < 10.0
    assert error["ours"]["n"] == found["images"] == 16
    assert noisy["numbers"][1]["difference"] is None
    assert {one["quantity"] for one in found["shrunk"]} >= {"epochs", "evaluated images"}
    assert found["failed"] == {}


def test_the_files_hold_the_numbers(finished: Path) -> None:
    out = finished / "out"
    page = (out / "index.html").read_text()
    for text in (TINY.source, TINY.errata[0], TINY.choices[0], "weights of its authors", "<svg"):
        assert text in page
    assert "://" not in page.replace("http://www.w3.org", "")
    rows = list(csv.DictReader((out / "Tiny-Tab1.csv").read_text().splitlines()))
    assert (rows[0]["row"], rows[0]["published"], rows[0]["ours"]) == ("plain", "90", "100")
    assert float(rows[0]["difference"]) == 10
    assert float(rows[0]["difference lower"]) <= 10 <= float(rows[0]["difference upper"])
    assert r"\toprule" in (out / "Tiny-Tab1.tex").read_text()
    with ResultStore.read(out / "results" / "plain-seed0.h5") as store:
        assert [group.settings["restarts"] for group in store.existing("attack")] == [1]


def test_a_finished_reproduction_computes_nothing_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Reproduction, "_train")
    monkeypatch.delattr(Reproduction, "_analyse")
    ended = _run(finished, "--json")
    assert ended.status == 0, ended.stderr
    assert ended.stdout == (finished / "printed.json").read_text()


def test_the_commands_of_the_page_do_what_was_done(finished: Path) -> None:
    """The same weights come out, and an analysis that differed would have another table."""
    from robcert.reproduction import ReproductionRequest, Scale
    from robcert.reproduction.plan import analysis_commands, jobs, train_command
    from robcert.reproduction.request import evaluated_images

    request = ReproductionRequest(
        TINY, finished / "out", data=str(finished / "images.npz"), scale=Scale(SCALE)
    )
    images = evaluated_images(request)
    for job in jobs(request):
        before = load_file(job.run / "checkpoint.safetensors")
        trained = robcert(*shlex.split(train_command(request, job))[1:], "--overwrite", "-q")
        assert trained.status == 0, trained.stderr
        after = load_file(job.run / "checkpoint.safetensors")
        assert all(torch.equal(after[name], before[name]) for name in before)
        with ResultStore.read(job.results) as store:
            tables = [group.path for group in store.existing("attack")]
        for command in analysis_commands(request, job, images):
            ended = robcert(*shlex.split(command)[1:], "-q", "--overwrite", "--json")
            assert ended.status == 0, ended.stderr
        with ResultStore.read(job.results) as store:
            assert [group.path for group in store.existing("attack")] == tables


def test_a_run_that_ended_between_models_continues_with_the_same_numbers(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    train = Reproduction._train

    def only_first(self: Reproduction, job: Any, known: Any) -> None:
        if trained:
            raise KeyboardInterrupt
        trained.append(job.model.name)
        train(self, job, known)

    monkeypatch.setattr(Reproduction, "_train", only_first)
    (tmp_path / "images.npz").write_bytes((finished / "images.npz").read_bytes())
    ended = _run(tmp_path)
    assert ended.status == 130
    assert "to continue, run" in ended.stderr
    first = (tmp_path / "out" / "models" / "plain-seed0" / "model.onnx").stat().st_mtime_ns
    monkeypatch.setattr(Reproduction, "_train", train)
    again = _run(tmp_path, "--json")
    assert again.status == 0, again.stderr
    assert (tmp_path / "out" / "models" / "plain-seed0" / "model.onnx").stat().st_mtime_ns == first
    here, there = (
        json.loads(text) for text in (again.stdout, (finished / "printed.json").read_text())
    )
    assert here["rows"] == there["rows"]


def test_more_seeds_keep_the_finished_ones(finished: Path) -> None:
    ended = _run(finished, "--seeds", "2", "--json")
    assert ended.status == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["rows"][1]["numbers"][1]["ours"]["seeds"] == 2
    assert found["limits"].startswith("mean and range")
    assert "seed 0: trained" not in ended.stderr


def test_every_kind_of_analysis_gives_its_numbers_and_curves(tmp_path: Path) -> None:
    ended = _run(tmp_path, "--json", item=EVERY_KIND.name)
    assert ended.status == 0, ended.stderr
    numbers = json.loads(ended.stdout)["rows"][0]["numbers"]
    assert all(number["ours"] is not None for number in numbers)
    gamma, bound, certified, black_box = (number["ours"]["value"] for number in numbers)
    assert gamma >= 0
    assert all(0 <= share <= 100 for share in (bound, certified, black_box))
    saved = json.loads((tmp_path / "out" / "numbers" / "plain-seed0.json").read_text())
    course = saved["analyses"]["along"]["curves"]["course"]
    epochs = [epoch for epoch, _ in course]
    assert epochs[0] == 0
    assert epochs == sorted(epochs)
    assert epochs[-1] >= 3
    assert (tmp_path / "out" / "index.html").read_text().count('class="line') >= 2


@pytest.mark.slow
def test_mean_confidence_is_that_of_the_masking_check(tmp_path: Path) -> None:
    ended = _run(tmp_path, "--json", item=CONFIDENT.name)
    assert ended.status == 0, ended.stderr
    clean, random, one_step = (
        number["ours"]["value"] for number in json.loads(ended.stdout)["rows"][0]["numbers"]
    )
    assert 50 <= one_step <= clean <= 100  # of two classes
    assert random == pytest.approx(clean, abs=5)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--scale", "0.5"), "scale 0.02, not 0.5"),
        (("--data", "fashion-mnist-2000"), "data"),
    ],
)
def test_another_setting_in_the_same_folder_is_refused(
    finished: Path, more: tuple[str, ...], said: str
) -> None:
    ended = _run(finished, *more)
    assert ended.status == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 2  # the error and its hint


def test_another_item_and_a_foreign_folder_are_refused(finished: Path, tmp_path: Path) -> None:
    assert "item Tiny-Tab1, not Tiny-Fig1" in _run(finished, item=EVERY_KIND.name).stderr
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    ended = _run(tmp_path)
    assert ended.status == 2
    assert "contains files, but no reproduction" in ended.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs an item"),
        (("LLR-Tab99",), "there is no item 'LLR-Tab99'"),
        (("LLR-Tab2", "--list"), "--list lists all items"),
        (("LLR-Tab2", "--scale", "0"), "--scale must lie in (0, 1]"),
        (("LLR-Tab2", "--scale", "much"), "much"),
        (("LLR-Tab2", "--seeds", "0"), "seeds must be at least 1"),
        (("LLR-Tab2", "--data", "no-such-set"), "no-such-set"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = robcert("reproduce", *arguments)
    assert (ended.status, ended.stdout) == (2, "")
    assert said in ended.stderr.splitlines()[0]
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverges_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robcert.certify.errors import DivergedError
    from robcert.reproduction import engine
    from robcert.trainers.train import train

    def diverging(plan: Any, **options: Any) -> Any:
        if "noisy" in str(plan.out):
            message = "the loss is not a finite number in epoch 1"
            raise DivergedError(message)
        return train(plan, **options)

    monkeypatch.setattr(engine, "train", diverging)
    ended = _run(tmp_path, "--json")
    assert ended.status == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["failed"] == {"noisy, seed 0": "the loss is not a finite number in epoch 1"}
    assert found["rows"][1]["numbers"][0]["ours"] is not None
    assert found["rows"][2]["numbers"][0]["ours"] is None
    assert "noisy, seed 0 has no numbers" in (tmp_path / "out" / "index.html").read_text()

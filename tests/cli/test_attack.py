"""`robcert attack` and `robcert corruption`: transfer, random changes and the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended, robcert
from onnx import TensorProto, helper, save

from robcert.certify.attacks.catalogue import CATALOGUE
from robcert.certify.auditing.open import bundled
from robcert.certify.store.store import ResultStore

MODEL, SOURCE = str(bundled("fashion-honest.onnx")), str(bundled("fashion-gaussian.onnx"))
COMMON = ("-m", MODEL, "-d", "fashion-mnist-2000", "--limit", "6", "--profile", "quick", "-q")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def attack(*arguments: str) -> Ended:
    return robcert("attack", *COMMON, "--out", "r.h5", *arguments)


def refused(ended: Ended, *words: str) -> None:
    assert ended.status == 2, ended
    assert ended.stdout == ""
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr
    assert not Path("r.h5").exists()


def tiny(path: str, *, side: int = 28, classes: int = 10) -> str:
    """A linear ONNX model of 1 x side x side pixels."""
    size = side * side
    weight = np.random.default_rng(0).normal(size=(size, classes)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", classes])],
        [helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.ravel())],
    )
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_a_source_alone_replaces_the_suite_and_can_be_read_again() -> None:
    asked = ("--source", SOURCE, "--source", SOURCE, "--eps", "8/255", "--eps", "4/255")
    ended = attack(*asked, "--json")
    assert ended.status == 0, ended
    outcome = json.loads(ended.stdout)
    transfer = outcome["summary"]["transfer"]
    assert list(outcome["summary"]) == ["transfer"]
    assert len(transfer["sources"]) == 1  # the same file twice is one source
    entry = transfer["sources"][0]["robust_accuracy"][0]
    assert entry["epsilon"] == 4 / 255
    assert entry["lower"] <= entry["value"] <= entry["upper"]
    shown = robcert("show", "r.h5")
    assert "accuracy on adversarial images of other models" in shown.stdout
    assert "fashion-gaussian.onnx" in shown.stdout
    again = robcert("show", "r.h5", "--json")
    stored = next(g for g in json.loads(again.stdout)["groups"] if g["analysis"] == "transfer")
    assert stored["summary"] == transfer
    assert robcert("report", "r.h5").status == 0
    assert "other models" in Path("r.html").read_text(encoding="utf-8")


def test_random_changes_have_a_command_of_their_own() -> None:
    changes = ("--spatial", "10,0.05", "--spatial", "50,0.3", "--gaussian", "0.1", "--draws", "2")
    few = ("-m", MODEL, "-d", "fashion-mnist-2000", "--limit", "6", "-q", "-o", "r.h5")
    ended = robcert("corruption", *few, *changes, "--json")
    assert ended.status == 0, ended
    outcome = json.loads(ended.stdout)
    assert (outcome["command"], list(outcome["summary"])) == ("corruption", ["spatial", "gaussian"])
    before = set(outcome["settings"]["groups"])
    old = attack(*changes, "--json")  # the old spelling fills the same groups
    assert set(json.loads(old.stdout)["settings"]["groups"]) == before
    assert robcert("corruption", *few, "--gaussian", "0.1", "--clip").status == 0
    with ResultStore.read(Path("r.h5")) as store:
        clipped = [group.settings["clip"] for group in store.existing("corruption")]
    assert sorted(clipped) == [False, False, True]


def test_the_old_spelling_of_random_changes_beside_a_suite() -> None:
    changes = ("--spatial", "10,0.05", "--spatial", "50,0.3", "--gaussian", "0.1", "--draws", "2")
    ended = attack(*changes, "--attack", "fgsm", "--source", SOURCE, "--plot", "p.svg", "--json")
    assert ended.status == 0, ended
    summary = json.loads(ended.stdout)["summary"]
    assert {"robust_accuracy", "transfer", "spatial", "gaussian"} <= set(summary)
    assert [one["strength"] for one in summary["spatial"]["accuracy"]] == [[10, 0.05], [50, 0.3]]
    assert summary["gaussian"]["draws"] == 2
    assert "<svg" in Path("p.svg").read_text(encoding="utf-8")
    shown = robcert("show", "r.h5")
    assert "accuracy under random rotation and shift" in shown.stdout
    assert "σ = 0.1" in shown.stdout


@pytest.mark.slow
def test_who_has_no_radius_to_be_fixed_is_named() -> None:
    asked = ("-m", MODEL, "--limit", "1", "--fixed-radius", "--attack", "pgd", "-o", "r.h5")
    assert "the radius has no effect" not in robcert("attack", *asked).stderr
    ended = robcert("attack", *asked, "--attack", "fmn", "--attack", "gaussian")
    line = "note: fmn, gaussian search for the smallest distance; the radius has no effect"
    assert line in ended.stderr.splitlines()
    assert "not for the smallest distance (except fmn, gaussian)." in " ".join(ended.stdout.split())
    ended = robcert("attack", "-m", MODEL, "--limit", "1", "--fixed-radius", "--attack", "fmn")
    assert "Median distance of the nearest adversarial image" in ended.stdout
    assert "Searched within" not in ended.stdout


@pytest.mark.parametrize("name", ["fgsm", "fmn", "deepfool", "square", "gaussian"])
def test_whether_an_attack_has_a_radius_is_what_its_rows_say(name: str) -> None:
    found = []
    for radius in ("1/255", "64/255"):
        ended = attack("--attack", name, "--fixed-radius", "--eps", radius, "--json")
        assert ended.status == 0, ended
        found.append(json.loads(ended.stdout)["summary"]["median_distance"])
    assert (found[0] == found[1]) is not CATALOGUE[name].at_radius


def test_without_early_stopping_surviving_images_cost_more() -> None:
    asked = ("--attack", "pgd", "--fixed-radius", "--eps", "1/255", "--json")
    assert attack(*asked).status == 0
    assert attack(*asked, "--no-early-stopping").status == 0
    with ResultStore.read(Path("r.h5")) as store:
        groups = store.existing("attack")
        spent = {
            bool(group.settings["every_step"]): group.column("n_backward").sum() for group in groups
        }
    assert spent[False] < spent[True]


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_a_picture_of_given_radii(ending: str) -> None:
    given = ("--attack", "fgsm", "--fixed-radius", "--eps", "4/255", "--eps", "8/255")
    assert attack(*given, "--plot", f"folder/p.{ending}").status == 0
    assert Path(f"folder/p.{ending}").stat().st_size > 1000


def test_bars_bring_the_suite_back() -> None:
    bar = ("--fail-under", "clean_accuracy=0.1", "--attack", "fgsm")
    assert attack("--source", SOURCE, *bar).status == 0


def test_sources_that_do_not_fit() -> None:
    refused(attack("--source", "missing.onnx"), "missing.onnx")
    Path("bad.onnx").write_bytes(b"not a model")
    refused(attack("--source", "bad.onnx"), "bad.onnx")
    refused(attack("--source", tiny("small.onnx", side=14)), "small.onnx")
    refused(attack("--source", tiny("few.onnx", classes=7)), "few.onnx", "which has 7")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--spatial", "30"), ("--spatial takes DEGREES,SHIFT", "30,0.1")),
        (("--spatial", "300,0.1"), ("a motion rotates",)),
        (("--gaussian", "much"), ("'much'",)),
        (("--gaussian", "-1"), ("standard deviation",)),
        (("--gaussian", "0.1", "--draws", "0"), ("draws must be at least 1",)),
        (("--draws", "5"), ("--draws has no effect without --spatial or --gaussian",)),
        (("--clip-noise",), ("clipping has no effect",)),
        (("--source-attack", "pgd-ce"), ("--source-attack has no effect",)),
        (("--plot", "picture.txt"), ("picture.txt has no extension of a figure",)),
        (("--gaussian", "0.1", "--plot", "p.png"), ("--plot draws accuracy against distance",)),
        (
            ("--norm", "l2", "--source", SOURCE, "--source-attack", "soar-pgd20"),
            ("soar-pgd20 does not support the norm l2",),
        ),
    ],
)
def test_values_that_make_no_sense(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(attack(*arguments), *words)


def test_all_attacks_are_listed_with_their_norms() -> None:
    lines = robcert("attacks").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(CATALOGUE)
    (line,) = [line for line in lines if line.startswith("boundary ")]
    assert line.endswith("(l2, linf; no gradient)")


def test_each_attack_has_a_column_wherever_the_numbers_are_shown() -> None:
    asked = ("--attack", "noise", "--attack", "pgd", "--per-attack", "--fixed-radius")
    ended = attack(*asked, "--eps", "16/255", "--json")
    assert ended.status == 0, ended
    alone = json.loads(ended.stdout)["summary"]["per_attack"]
    assert [one["name"] for one in alone] == ["noise", "pgd"]
    noise, pgd = (one["robust_accuracy"][0]["value"] for one in alone)
    assert pgd < noise
    header = "accuracy   95 % interval"
    for text in (attack(*asked, "--eps", "16/255").stdout, robcert("show", "r.h5").stdout):
        line = next(line for line in text.splitlines() if header in line)
        assert line.split()[-2:] == ["noise", "pgd"], text
    written = robcert("report", "r.h5", "--format", "csv", "--group", "attack", "--out", "r.csv")
    assert written.status == 0, written
    names = Path("r.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"distance_per_attack@noise", "distance_per_attack@pgd"} <= set(names)
    assert robcert("report", "r.h5").status == 0
    page = Path("r.html").read_text(encoding="utf-8")
    assert "it ran on every image, whatever the others found" in page

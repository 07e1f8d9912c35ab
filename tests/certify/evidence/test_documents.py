"""Statement, bill of materials and model card: their formats and their numbers."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import h5py
import pytest
from attacked_files import write_inputs
from command_line import robcert
from published_schemas import violations

from robcert.certify.auditing.verdict import findings_of, verdict
from robcert.certify.evidence.checks import GATE, Check, Outcome, checks_of
from robcert.certify.evidence.documents import BILL, CARD, STATEMENT, EvidencePlan, write_evidence
from robcert.certify.evidence.model_card import model_index
from robcert.certify.evidence.numbers import main_numbers
from robcert.certify.evidence.statement import statement
from robcert.certify.evidence.yaml_text import yaml_text
from robcert.certify.hdf5 import CHECKSUM
from robcert.certify.store.store import ResultStore
from robcert.certify.tables.wording import pixel

if TYPE_CHECKING:
    from pathlib import Path

    from attacked_files import Attacked

CLEAN = "threshold: clean_accuracy"
FOREIGN = "<script> `x` \x1b[31m\n# H"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    """An audit of a linear model of which one label is wrong; one of its gates fails."""
    made = write_inputs(tmp_path_factory.mktemp("audited"), wrong=1)
    parts = ("--only", "attack", "--only", "verify", "--profile", "quick", "--eps", "0.001")
    gates = ("--fail-under", "clean_accuracy=0.9", "--fail-under", "robust_accuracy@0.001=0.1")
    options = (*parts, *gates, "--quiet", "--allow-low-accuracy", "--out", made.results)
    ended = robcert("audit", *made.inputs, *options)
    assert ended.status == 1, ended.stderr
    return made


@pytest.fixture(scope="module")
def folder(made: Attacked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evidence")
    ended = robcert("evidence", made.results, "--out", out)
    assert ended.status == 0, ended.stderr
    assert ended.stdout.split() == [str(out / name) for name in (STATEMENT, BILL, CARD)]
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_statement_follows_the_specification(folder: Path) -> None:
    found = read(folder / STATEMENT)
    assert violations(found, "test-result.json") == []
    for broken in ("result", "configuration"):
        without = {**found, "predicate": {**found["predicate"]}}
        del without["predicate"][broken]
        assert violations(without, "test-result.json") != []


def test_the_statement_is_about_the_model_and_names_every_check(
    made: Attacked, folder: Path
) -> None:
    found = read(folder / STATEMENT)
    digest = sha256(made.model.read_bytes()).hexdigest()
    assert found["subject"] == [{"name": "model.onnx", "digest": {"sha256": digest}}]
    predicate = found["predicate"]
    assert predicate["result"] == "FAILED"
    assert predicate["failedTests"] == [CLEAN]
    assert "threshold: robust_accuracy@0.001" in predicate["passedTests"]
    results, data = predicate["configuration"]
    assert results["digest"]["sha256"] == sha256(made.results.read_bytes()).hexdigest()
    assert data["annotations"]["images"] == 6
    settings = results["annotations"]["settings"]
    assert {key.split("/")[0] for key in settings} >= {"attack", "verify"}
    assert all("seed" in one for one in settings.values())


@pytest.mark.parametrize(
    ("outcome", "result"),
    [(Outcome.PASSED, "PASSED"), (Outcome.WARNED, "WARNED"), (Outcome.FAILED, "FAILED")],
)
def test_the_result_is_that_of_the_worst_check(
    made: Attacked, outcome: Outcome, result: str
) -> None:
    with ResultStore.read(made.results) as store:
        found = findings_of(store)
        checks = (Check(GATE, "x", outcome, "m"), Check(GATE, "y", Outcome.PASSED, "m"))
        said = statement(store, found, verdict(found), checks)
    assert said["predicate"]["result"] == result


def test_numbers_are_those_of_the_summaries(made: Attacked) -> None:
    with ResultStore.read(made.results) as store:
        found = findings_of(store)
    numbers = {number.full_name: number for number in main_numbers(found)}
    assert numbers["clean_accuracy"].value == pytest.approx(5 / 6)
    proofs = found.verification
    assert proofs is not None
    assert len(proofs.certified_accuracy) > 0
    for proven in proofs.certified_accuracy:
        number = numbers[f"verified_accuracy@{pixel(proven.epsilon)}"]
        stated = (number.value, number.lower, number.upper, number.n)
        assert stated == (proven.value, proven.lower, proven.upper, proven.n)
    attack = found.attack
    assert attack is not None
    assert len(attack.robust_accuracy) > 0
    for entry in attack.robust_accuracy:
        number = numbers[f"robust_accuracy@{pixel(entry.epsilon)}"]
        assert (number.value, number.lower, number.upper) == (
            entry.value,
            entry.lower,
            entry.upper,
        )
        assert (str(number.claim), number.norm, number.n) == ("attacked", "linf", 6)
    proofs = found.verification
    assert proofs is not None
    assert numbers["verified_accuracy@0.001"].value == proofs.robust_accuracy[0].certified
    assert str(numbers["verified_accuracy@0.001"].claim) == "certified"


def test_the_bill_follows_the_published_schema(folder: Path) -> None:
    found = read(folder / BILL)
    assert violations(found, "bom-1.6.schema.json") == []
    found["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["x"] = 1
    assert violations(found, "bom-1.6.schema.json") != []


def test_the_card_of_the_bill_has_intervals_where_there_are_some(
    made: Attacked, folder: Path
) -> None:
    card = read(folder / BILL)["metadata"]["component"]["modelCard"]
    metrics = {one["type"]: one for one in card["quantitativeAnalysis"]["performanceMetrics"]}
    with ResultStore.read(made.results) as store:
        attack = findings_of(store).attack
    assert attack is not None
    entry = attack.robust_accuracy[0]
    metric = metrics["robust_accuracy@0.001"]
    assert float(metric["value"]) == entry.value
    interval = metric["confidenceInterval"]
    assert [float(interval[end]) for end in ("lowerBound", "upperBound")] == [
        entry.lower,
        entry.upper,
    ]
    assert metric["slice"].startswith("attacked: ")
    assert "confidenceInterval" in metrics["verified_accuracy@0.001"]
    assert "confidenceInterval" not in metrics["median_distance"]
    assert card["considerations"]["technicalLimitations"]


def test_the_metadata_of_the_model_card_follow_the_documentation(made: Attacked) -> None:
    with ResultStore.read(made.results) as store:
        index = model_index(store, findings_of(store))
    assert violations(index, "model-index.json") == []
    (entry,) = index["model-index"]
    assert entry["name"] == "model"
    metrics = entry["results"][0]["metrics"]
    assert metrics[0]["type"] == "accuracy"
    assert metrics[0]["args"]["claim"] == "measured"
    del index["model-index"][0]["results"][0]["dataset"]["type"]
    assert violations(index, "model-index.json") != []


def test_the_model_card_begins_with_its_metadata(made: Attacked, folder: Path) -> None:
    text = (folder / CARD).read_text(encoding="utf-8")
    with ResultStore.read(made.results) as store:
        stated = yaml_text(model_index(store, findings_of(store)))
    assert text.startswith(f"---\n{stated}---\n")
    assert "## Robustness" in text
    assert "| accuracy under attack | linf, ε = 0.001 | attacked |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1e-05, "b": -1e22, "c": 0.5}, "a: 1.0e-05\nb: -1.0e+22\nc: 0.5\n"),
        ({"a": "x: #\n\x1b", "b": True}, 'a: "x: #\\\\u000a\\\\u001b"\nb: true\n'),
        ({"a": [], "b": {}, "c": [[1, 2]]}, "a: []\nb: {}\nc:\n  - - 1\n    - 2\n"),
        ({"a": [{"b": [1]}]}, "a:\n  - b:\n      - 1\n"),
    ],
)
def test_yaml_of_plain_values(value: dict[str, Any], text: str) -> None:
    assert yaml_text(value) == text


def test_no_text_of_a_file_is_markup_in_a_page(made: Attacked, tmp_path: Path) -> None:
    """Every text of the header, of the model and of the data set is one that a stranger wrote."""
    foreign, out = tmp_path / "foreign.h5", tmp_path / "evidence"
    shutil.copyfile(made.results, foreign)
    with h5py.File(foreign, "r+") as file:
        for place, names in (("/", ["robcert_version"]), ("model", ["sha256", "file"])):
            for name in names:
                file[place].attrs[name] = FOREIGN
        file["data"].attrs["name"] = FOREIGN
        for place in ("model", "data"):
            del file[place].attrs[CHECKSUM]
    ended = robcert("evidence", foreign, "--out", out, "--counter-examples")
    assert ended.status == 0, ended.stderr
    for page in (out / CARD, out / "counter-examples" / "README.md"):
        text = page.read_text(encoding="utf-8").split("\n---\n")[-1]
        assert "script" in text
        for raw in ("<script>", "`x`", "\n# H", "\x1b"):
            assert raw not in text


def test_names_that_are_no_text_go_through_every_file(tmp_path: Path) -> None:
    """Names of files with bytes that are not UTF-8, and with marks that turn the writing."""
    inputs = write_inputs(tmp_path)
    odd = os.fsdecode("\u202e".encode() + b"\xff")
    model, data = tmp_path / f"net{odd}.onnx", tmp_path / f"images{odd}.npz"
    inputs.model.rename(model)
    inputs.data.rename(data)
    results, out = tmp_path / f"r{odd}.h5", tmp_path / f"evidence{odd}"
    sarif, junit, page = (tmp_path / f"checks{odd}.{end}" for end in ("sarif", "xml", "md"))
    files = ("--sarif", sarif, "--junit", junit, "--markdown", page, "--out", results)
    options = ("--attack", "pgd", "--quiet", "--allow-low-accuracy", "--save-images", *files)
    ended = robcert("attack", "--model", model, "--data", data, "--mean", "0.5", *options)
    assert ended.status == 0, ended.stderr
    for command in (("evidence", results, "--out", out, "--counter-examples"), ("report", results)):
        ended = robcert(*command)
        assert ended.status == 0, ended.stderr
    bundle = out / "counter-examples"
    written = [sarif, junit, page, results.with_suffix(".html"), bundle / "manifest.json"]
    for path in (*written, *(out / name for name in (STATEMENT, BILL, CARD))):
        assert "\u202e" not in path.read_text(encoding="utf-8")
    assert read(out / STATEMENT)["subject"][0]["name"] == model.name
    assert read(bundle / "manifest.json")["model"]["file"] == model.name


def test_the_same_results_give_the_same_files(made: Attacked, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert robcert("evidence", made.results, "--out", tmp_path / name).status == 0
    for name in (STATEMENT, BILL, CARD):
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two


def test_bad_input_is_one_line_and_leaves_nothing(made: Attacked, tmp_path: Path) -> None:
    out = tmp_path / "evidence"
    for bad in (("--data", made.data), ("--counter-examples", "--per-class", "0")):
        ended = robcert("evidence", made.results, "--out", out, *bad)
        assert ended.status == 2
        assert "error: " in ended.stderr
        assert not out.exists()
    inputs = write_inputs(tmp_path)
    taylor = ("surface", *inputs.inputs, "--resolution", "3", "--steps", "1", "--quiet")
    assert robcert(*taylor, "--allow-low-accuracy", "--out", inputs.results).status == 0
    ended = robcert("evidence", inputs.results, "--out", out)
    assert ended.status == 2
    assert "no accuracy" in ended.stderr
    assert not out.exists()


def test_a_plan_without_counter_examples_writes_none(made: Attacked, tmp_path: Path) -> None:
    with ResultStore.read(made.results) as store:
        found = findings_of(store)
        paths = write_evidence(store, found, checks_of(store, found), EvidencePlan(tmp_path))
    assert {path.name for path in paths} == {path.name for path in tmp_path.iterdir()}


def test_the_library_of_in_toto_reads_the_statement(folder: Path) -> None:
    pytest.importorskip("in_toto_attestation")
    json_format = pytest.importorskip("google.protobuf.json_format")
    from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
    from in_toto_attestation.v1 import statement_pb2

    found = read(folder / STATEMENT)
    stated = json_format.ParseDict(found, statement_pb2.Statement())
    assert stated.subject[0].name == "model.onnx"
    result = json_format.ParseDict(found["predicate"], test_result_pb2.TestResult())
    assert list(result.failed_tests) == [CLEAN]


def test_the_library_of_hugging_face_reads_the_model_card(folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(folder / CARD)
    names = [one.metric_type for one in card.data.eval_results]
    assert names[0] == "accuracy"
    assert "robust_accuracy" in names
    assert card.data.eval_results[0].metric_value == pytest.approx(5 / 6)

"""`--junit`, `--sarif`, `--markdown`: when the files are written, and what they hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from attacked_files import attacked, write_inputs
from command_line import robcert
from junitparser import JUnitXml
from published_schemas import violations

from robcert.certify.errors import ContradictionError
from robcert.certify.store.ledger import Ledger
from robcert.cli.shell.check_files import path_in_repository

if TYPE_CHECKING:
    from pathlib import Path

    from attacked_files import Attacked
    from command_line import Ended

NAMES = ("checks.xml", "checks.sarif", "summary.md")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    return attacked(tmp_path_factory.mktemp("attacked"), "--eps", "8/255", wrong=1)


def options(folder: Path) -> tuple[object, ...]:
    junit, sarif, markdown = (folder / name for name in NAMES)
    return ("--junit", junit, "--sarif", sarif, "--markdown", markdown)


def attack_again(made: Attacked, folder: Path, *more: object) -> Ended:
    """The attack that the results file holds, so that nothing is computed again."""
    command = ("attack", *made.inputs, "--attack", "pgd", "--profile", "quick", "--quiet")
    where = ("--allow-low-accuracy", "--eps", "8/255", "--out", made.results)
    return robcert(*command, *where, *options(folder), *more)


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_are_written_also_where_a_threshold_fails(made: Attacked, tmp_path: Path) -> None:
    gates = ("--fail-under", "clean_accuracy=0.99", "--fail-under", "clean_accuracy=0.5")
    ended = attack_again(made, tmp_path, *gates)
    assert ended.status == 1
    assert written(tmp_path) == set(NAMES)
    (suite,) = JUnitXml.fromfile(str(tmp_path / NAMES[0]))
    assert (suite.name, suite.failures) == ("robcert attack", 1)
    cases = [(case.name, bool(case.result)) for case in suite][:2]
    high, low = (f"threshold: clean_accuracy >= {share} (point)" for share in ("0.99", "0.5"))
    assert cases == [(high, True), (low, False)]
    log = json.loads((tmp_path / NAMES[1]).read_text())
    assert violations(log, "sarif-2.1.0.json") == []
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == ["gate"]
    summary = (tmp_path / NAMES[2]).read_text()
    assert summary.startswith("## robcert: ")
    assert "| failed | threshold: clean\\_accuracy \\>= 0.99 (point) | " in summary
    assert "| accuracy | – | measured | 83.3 % |" in summary


def test_files_are_written_where_everything_passes(made: Attacked, tmp_path: Path) -> None:
    assert attack_again(made, tmp_path).status == 0
    assert written(tmp_path) == set(NAMES)
    (suite,) = JUnitXml.fromfile(str(tmp_path / NAMES[0]))
    assert suite.failures == 0
    assert json.loads((tmp_path / NAMES[1]).read_text())["runs"][0]["results"] == []


def test_nothing_is_written_where_the_input_is_bad(made: Attacked, tmp_path: Path) -> None:
    for bad in (("--fail-under", "nonsense=1"), ("--limit", "0"), ("--mean", "a")):
        assert attack_again(made, tmp_path, *bad).status == 2
        assert written(tmp_path) == set()


def test_files_are_written_where_a_certificate_is_refuted(
    made: Attacked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuted(_: Ledger) -> None:
        message = "image 0 is certified"
        raise ContradictionError(message)

    monkeypatch.setattr(Ledger, "require_sound", refuted)
    assert attack_again(made, tmp_path).status == 2
    assert written(tmp_path) == set(NAMES)


@pytest.mark.parametrize("option", ["--junit", "--sarif", "--markdown"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    option: str, tmp_path: Path
) -> None:
    made = write_inputs(tmp_path)
    for path in (tmp_path, made.model, made.data, made.results, made.model / "below"):
        ended = robcert("attack", *made.inputs, "--out", made.results, option, path)
        assert ended.status == 2
        assert ended.stderr.startswith(f"error: {option}")
        assert len(ended.stderr.splitlines()) == 2
        assert not made.results.exists()


def test_two_options_cannot_name_one_file(tmp_path: Path) -> None:
    made, path = write_inputs(tmp_path), tmp_path / "one"
    ended = robcert("attack", *made.inputs, "--junit", path, "--sarif", path)
    assert ended.status == 2
    assert "--sarif" in ended.stderr


@pytest.mark.parametrize(
    "command", [("verify", "--budget", "1s"), ("masking-check",), ("audit", "--only", "inspect")]
)
def test_every_command_that_checks_has_the_options(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    made = write_inputs(tmp_path)
    out = ("--profile", "quick", "--quiet", "--limit", "2", "--out", made.results)
    ended = robcert(*command, *made.inputs, *out, "--allow-low-accuracy", *options(tmp_path))
    assert ended.status == 0, ended.stderr
    assert set(NAMES) <= written(tmp_path)
    (suite,) = JUnitXml.fromfile(str(tmp_path / NAMES[0]))
    assert suite.name == f"robcert {command[0]}"


def test_a_model_is_named_from_the_root_of_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    (repository / "models").mkdir()
    model = repository / "models" / "a.onnx"
    monkeypatch.chdir(repository / "models")
    assert path_in_repository(model, "a.onnx") == "models/a.onnx"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository / "models"))
    assert path_in_repository(model, "a.onnx") == "a.onnx"
    assert path_in_repository(tmp_path / "b.onnx", "b.onnx") == "b.onnx"
    assert path_in_repository(None, "bundled.onnx") == "bundled.onnx"


@pytest.mark.parametrize("key", ["junit", "sarif", "markdown"])
def test_a_configuration_replaces_no_file_that_is_not_a_report(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who wrote it may have meant another folder, or harm; a report of an earlier run is one."""
    made = write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "robcert.toml").write_text(f'{key} = "work.txt"\n')
    work = tmp_path / "work.txt"
    work.write_text("weeks of work")
    run = ("attack", *made.inputs, "--attack", "pgd", "--quiet", "--allow-low-accuracy")
    ended = robcert(*run, "--out", made.results)
    assert ended.status == 2
    assert f"robcert.toml: {key}: work.txt exists, and robcert did not write it" in ended.stderr
    assert work.read_text() == "weeks of work"
    for options in ((f"--{key}", "work.txt"), ()):  # typed, and then its own
        ended = robcert(*run, "--out", made.results, *options)
        assert ended.status == 0, ended.stderr
        assert "weeks" not in work.read_text()

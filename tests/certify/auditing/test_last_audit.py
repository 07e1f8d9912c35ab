"""Terminal, JSON, `show`, report and API tell the verdict of the audit that ran last."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from command_line import robcert
from places import FIXTURES

from robcert.certify import read_audit
from robcert.certify.auditing.summaries import last_audit
from robcert.certify.auditing.verdict import findings_of
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

MODEL = FIXTURES / "fashion-honest.onnx"


def audited(folder: Path, norm: str) -> str:
    """What the terminal prints of an audit in ``norm``; one results file for all."""
    line = ("--model", MODEL, "--data", "fashion-mnist-2000", "--limit", 2, "--only", "attack")
    ended = robcert("audit", *line, "--norm", norm, "--profile", "quick", "--out", folder / "r.h5")
    assert ended.status == 0
    return ended.stdout


def norm_in(text: str) -> str:
    """Norm of the sentence on attacks."""
    (found,) = set(re.findall(r"Attacked: accuracy[^(]*\((linf|l2|l1)\)", " ".join(text.split())))
    return str(found)


def told(folder: Path) -> set[str]:
    """Norms by `show`, its JSON, the page and the API."""
    path = folder / "r.h5"
    page = (folder / "r.html").read_text(encoding="utf-8")
    api = read_audit(path)
    assert api.attack.norm == norm_in(" ".join(api.verdict.sentences))
    shown = json.loads(robcert("show", path, "--json").stdout)["verdict"]["sentences"]
    return {
        norm_in(robcert("show", path).stdout),
        norm_in(" ".join(shown)),
        norm_in(page),
        norm_in(" ".join(api.verdict.sentences)),
    }


@pytest.mark.slow
def test_the_audit_that_ran_last_counts_for_everyone(tmp_path: Path) -> None:
    for norm in ("linf", "l2", "linf"):
        assert norm_in(audited(tmp_path, norm)) == norm
        assert told(tmp_path) == {norm}
    repeated = ("--norm", "linf", "--only", "attack", "--limit", 2, "--profile", "quick")
    line = ("--model", MODEL, "--data", "fashion-mnist-2000", "--out", tmp_path / "r.h5")
    as_json = json.loads(robcert("audit", *line, *repeated, "--json").stdout)
    assert norm_in(" ".join(as_json["summary"]["verdict"]["sentences"])) == "linf"


@pytest.mark.slow
def test_files_without_a_count_take_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robcert.certify.auditing.analysis._next_run", lambda store: 0)
    audited(tmp_path, "linf")
    audited(tmp_path, "l2")
    with ResultStore.read(tmp_path / "r.h5") as store:
        group = last_audit(store)
        assert group is not None
        assert group.settings["attack"]["norm"] == "l2"


@pytest.mark.slow
def test_a_later_attack_on_fewer_images_does_not_replace_the_accuracy_of_all(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.h5"
    line = ("attack", "--model", MODEL, "--data", "fashion-mnist-2000", "--out", path)
    for attack, limit in (("fgsm", 6), ("pgd", 2)):
        ended = robcert(*line, "--attack", attack, "--limit", limit, "--eps", "8/255")
        assert ended.status == 0
    with ResultStore.read(path) as store:
        attacked = findings_of(store).attack
    assert attacked is not None
    assert attacked.n == 6

"""An audit of a small model whose answers are known, its summary, its report, its exports."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from command_line import robcert
from linear_models import SHAPE, linear_classifier
from torch import nn

from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.attacks.suites import Suite
from robcert.certify.auditing import ANALYSES
from robcert.certify.auditing import analysis as audit
from robcert.certify.auditing.settings import PARTS, AuditSettings, selected
from robcert.certify.comparison.overview import overview
from robcert.certify.core import Norm
from robcert.certify.data.load import ImageSet, from_arrays
from robcert.certify.errors import InvalidParameterError
from robcert.certify.local_linearity.settings import LinearitySettings
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.model.classifier import Classifier, ModelInfo
from robcert.certify.radius_bounds.analysis import BoundsSettings
from robcert.certify.report.page import render, write_report
from robcert.certify.session import Session
from robcert.certify.smoothing.analysis import SmoothingSettings
from robcert.certify.store.store import ResultStore
from robcert.certify.verification.settings import VerificationSettings

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = 400
REPORTED = 12
SETTINGS = AuditSettings(
    linearity=LinearitySettings(steps=3),
    bounds=BoundsSettings(blocks=30, block_size=10, points=5, steps=2, restarts=1),
    attack=AttackSettings(suite=Suite.QUICK, save_images=True),
    verify=VerificationSettings.of_audit(
        "quick", attack=AttackSettings(suite=Suite.QUICK, save_images=True), epsilon=8 / 255
    ),
    smoothing=SmoothingSettings(sigma=0.1, n=256, radii=(0.05,)),
    masking=MaskingSettings(
        steps=3, restarts=1, targets=1, unbounded_steps=5, noise_draws=3, queries=10
    ),
)


def linear_model() -> Classifier:
    classifier = linear_classifier()
    info = ModelInfo(file="linear.onnx", sha256="1" * 64, kind="module", notes=("a <b> note",))
    return replace(classifier, info=info)


def images_of(classifier: Classifier) -> ImageSet:
    generator = torch.Generator().manual_seed(3)
    x = (0.5 + 0.1 * torch.randn(IMAGES, *SHAPE, generator=generator)).clamp(0, 1)
    labels = classifier.logits(x).argmax(1).numpy()
    labels[1] = (labels[1] + 1) % classifier.num_classes  # one image is misclassified
    return from_arrays("grey", x.numpy(), labels)


def run(
    folder: Path, classifier: Classifier, settings: AuditSettings = SETTINGS
) -> tuple[Path, dict[str, Any]]:
    images = images_of(classifier)
    path = folder / "results.h5"
    chosen = np.arange(REPORTED)
    with ResultStore.open(path, model=classifier.info, data=images.info) as store:
        store.add_images(chosen, None if images.labels is None else images.labels[chosen])
        session = Session(classifier, images, chosen, store)
        key = audit.analyse(session, settings, command="robcert audit -m linear.onnx")
        summary = audit.summarise(store, key).to_json()
    return path, summary


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return run(tmp_path_factory.mktemp("audit"), linear_model())


@pytest.fixture(scope="module")
def page(audited: tuple[Path, dict[str, Any]]) -> str:
    with ResultStore.read(audited[0]) as store:
        return render(store)


def test_every_part_has_a_summary(audited: tuple[Path, dict[str, Any]]) -> None:
    _, summary = audited
    assert set(summary) == {*PARTS, "verdict"}
    assert not [part for part in PARTS if "not_available" in summary[part]]
    assert summary["attack"]["clean_accuracy"]["value"] == (REPORTED - 1) / REPORTED
    assert json.loads(json.dumps(summary)) == summary


def test_a_second_run_computes_nothing(
    audited: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, summary = audited

    def forbidden(*_: object, **__: object) -> None:
        pytest.fail("a finished row was computed again")

    monkeypatch.setattr("robcert.certify.store.group.AnalysisGroup.append", forbidden)
    assert run(path.parent, linear_model())[1] == summary


def test_the_report_is_one_page_that_loads_nothing(audited: tuple[Path, dict[str, Any]]) -> None:
    page = write_report(audited[0]).read_text(encoding="utf-8")
    for trace in ("http:", "https:", "<link", "<script", "url(", "@import", 'src="/'):
        assert trace not in page
    assert "default-src 'none'" in page
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == page.count("</svg>") >= 4
    assert "data:image/png;base64," in page


@pytest.mark.parametrize(
    "text",
    [
        "linear.onnx",
        "12 of 400 images of grey",
        "robcert audit -m linear.onnx",
        "a &lt;b&gt; note",
        '<span class="claim certified">certified</span>',
        '<span class="claim estimated">estimated</span>',
        '<span class="claim attacked">attacked</span>',
        "ledger: certified ≤ attacked, estimated ≤ attacked?",
        "Glossary",
        "Limits",
    ],
)
def test_the_report_says(page: str, text: str) -> None:
    assert text in page


def test_show_prints_the_groups_and_every_claim(audited: tuple[Path, dict[str, Any]]) -> None:
    ended = robcert("show", str(audited[0]))
    assert ended.status == 0
    for text in ("linear.onnx", "attack/linf", "[attacked]", "[estimated]", "[certified]"):
        assert text in ended.stdout


def test_show_json_agrees_with_the_audit(audited: tuple[Path, dict[str, Any]]) -> None:
    path, summary = audited
    shown = json.loads(robcert("show", str(path), "--json").stdout)
    by_name = {group["analysis"]: group["summary"] for group in shown["groups"]}
    for name in ("bounds", "attack", "verify", "smoothing", "masking"):
        assert by_name[name] == summary[name]
    with ResultStore.read(path) as store:
        (group,) = store.existing("attack")  # the proofs read it and add no table of their own
        distance = group.column("distance", group.indices)
    within = int(((distance > 0) & (distance <= 8 / 255)).sum())
    assert 0 < within < REPORTED - 1
    compared = {"radius": 0, "deviation": 0, "proven": 0}
    for comparison in shown["violations"]["comparisons"]:
        quantity = "proven" if comparison["proven"] else comparison["quantity"]
        compared[quantity] += comparison["compared"]
    # limits and point estimates of L, omega and rho, own gamma and rho, unless misclassified
    assert compared["radius"] == 8 * (REPORTED - 1)
    # gamma and its bound, where an adversarial image lies within their epsilon
    assert compared["deviation"] == 2 * within
    assert compared["proven"] == REPORTED - 1  # certified radii
    assert shown["violations"]["compared"] == sum(compared.values())


def test_csv_holds_the_stored_numbers(audited: tuple[Path, dict[str, Any]]) -> None:
    path = audited[0]
    with ResultStore.read(path) as store:
        (group,) = store.existing("attack")
        distance = group.column("distance", group.indices)
        name = group.path
    ended = robcert("show", str(path), "--group", name, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert [int(row["index"]) for row in rows] == list(range(REPORTED))
    assert [float(row["distance"]) for row in rows] == distance.tolist()
    assert "adversarial" not in rows[0]


def test_csv_holds_what_a_column_has_for_each_radius_and_loss(
    audited: tuple[Path, dict[str, Any]],
) -> None:
    for schema, column, ends in (
        ("verify", "status", ["8/255", "1/255", "2/255", "4/255", "16/255"]),
        ("bounds-sample", "residual", ["1/255", "2/255", "4/255", "8/255", "16/255"]),
        ("evidence", "loss_change", ["ce", "margin", "prob-margin"]),
    ):
        with ResultStore.read(audited[0]) as store:
            (group,) = store.existing(schema)
            stored, name = group.column(column, group.indices), group.path
        ended = robcert("show", audited[0], "--group", name, "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(ended.stdout)))
        found = [[float(row[f"{column}@{end}"]) for end in ends] for row in rows]
        assert np.array_equal(found, stored, equal_nan=True), schema
        assert [key for key in rows[0] if key.startswith(f"{column}@")] == [
            f"{column}@{end}" for end in ends
        ]


def test_csv_of_several_groups_asks_which(audited: tuple[Path, dict[str, Any]]) -> None:
    ended = robcert("show", str(audited[0]), "--format", "csv")
    assert ended.status == 2
    assert "--group" in ended.stderr


@pytest.mark.slow
def test_without_a_twin_the_rest_is_done_and_the_reason_given(tmp_path: Path) -> None:
    info = replace(linear_model().info, twin_unavailable="operator Frob of node n1 is unknown")
    blind = replace(linear_model(), twin=None, info=info)
    path, summary = run(tmp_path, blind)
    for part in ("linearity", "bounds"):
        assert "Frob" in summary[part]["not_available"]
    assert summary["attack"]["n"] == REPORTED
    assert summary["masking"]["verdict"] == "unknown"
    assert "Frob" in write_report(path).read_text(encoding="utf-8")


def test_images_without_labels_are_about_stability(tmp_path: Path) -> None:
    classifier = linear_model()
    images = replace(images_of(classifier), labels=None)
    path = tmp_path / "results.h5"
    chosen = np.arange(REPORTED)
    settings = replace(SETTINGS, parts=("attack",))
    with ResultStore.open(path, model=classifier.info, data=images.info) as store:
        store.add_images(chosen, None)
        key = audit.analyse(Session(classifier, images, chosen, store), settings)
        summary = audit.summarise(store, key).to_json()
    assert summary["attack"]["clean_accuracy"]["value"] == 1.0
    assert "stability" in write_report(path).read_text(encoding="utf-8")


def test_parts_are_selected_by_name() -> None:
    assert selected((), ()) == PARTS
    assert selected(("attack", "inspect"), ()) == ("inspect", "attack")
    assert selected((), ("bounds",)) == tuple(part for part in PARTS if part != "bounds")
    with pytest.raises(InvalidParameterError, match="there is no part 'attacks'"):
        selected(("attacks",), ())
    with pytest.raises(InvalidParameterError, match="leave no part to run"):
        selected(("attack",), ("attack",))


def test_a_budget_that_is_used_up_leaves_the_reason(tmp_path: Path) -> None:
    classifier = linear_model()
    images = images_of(classifier)
    chosen = np.arange(REPORTED)
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        store.add_images(chosen, images.labels[chosen] if images.labels is not None else None)
        session = Session(classifier, images, chosen, store, deadline=0.0)
        summary = audit.summarise(store, audit.analyse(session, SETTINGS)).to_json()
    assert all("time budget" in summary[part]["not_available"] for part in PARTS[1:])


def test_seconds_are_those_of_all_runs_interrupted_ones_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (attack,) = (row for row in ANALYSES if row.name == "attack")
    assert attack.part is not None
    ends, began = iter([True, False, False]), iter([0.0, 5.0, 100.0, 102.0, 200.0, 203.0])

    run_attack = attack.part.run

    def interrupted(session: Session, settings: AuditSettings) -> str:
        if next(ends):
            run_attack(replace(session, indices=session.indices[:2]), settings)
            raise KeyboardInterrupt
        return run_attack(session, settings)

    row = replace(attack, part=replace(attack.part, run=interrupted))
    monkeypatch.setattr(audit, "ANALYSES", (row,))
    monkeypatch.setattr(audit, "time", SimpleNamespace(monotonic=lambda: next(began)))
    settings = replace(SETTINGS, parts=("attack",))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, linear_model(), settings)
    for total in (7.0, 10.0):
        path, _ = run(tmp_path, linear_model(), settings)
        with ResultStore.read(path) as store:
            assert overview(store).seconds == total


def test_profiles_change_effort_only() -> None:
    for profile in ("quick", "standard", "thorough"):
        settings = AuditSettings.of_profile(profile, norm=Norm.L2, epsilon=0.5)
        for part in (settings.linearity, settings.bounds, settings.masking):
            assert (part.norm, part.epsilon) == (Norm.L2, 0.5)
        assert settings.attack.norm is Norm.L2


@pytest.mark.slow
def test_a_crossing_is_counted_and_listed(tmp_path: Path) -> None:
    """A staircase has no slope: its L-bound is infinite, and a wrong claim is found by search."""

    class Stairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            level = torch.floor(x.flatten(1).sum(1) * 4) / 4 - 10.0
            return torch.stack([level, -level], 1)

    classifier = Classifier.from_module(Stairs(), image_shape=SHAPE, num_classes=2)
    info = ModelInfo(file="stairs.onnx", sha256="2" * 64, kind="module")
    path, summary = run(tmp_path, replace(classifier, info=info))
    page = write_report(path).read_text(encoding="utf-8")
    assert summary["bounds"]["lipschitz"]["status"] != "ok"
    assert summary["verdict"]["tone"] != "good"
    assert "violations" in page

"""A node that would compute other rows is told from one that computes the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from every_analysis import network, pictures

from robcert.certify import api
from robcert.certify.cluster.facts import bits_here, bits_of, facts_here, require_same
from robcert.certify.errors import WorkerError
from robcert.certify.model import Runtime

if TYPE_CHECKING:
    from pathlib import Path

AT = np.arange(3)


def test_the_same_versions_agree() -> None:
    facts = facts_here()
    assert {"robcert", "torch", "onnxruntime", "numpy", "Python", "processor"} <= facts.keys()
    require_same(facts, dict(facts), "10.0.0.7", gpu=True)


@pytest.mark.parametrize("name", ["robcert", "source of robcert", "onnxruntime", "processor"])
def test_another_version_is_one_line_with_node_and_both_versions(name: str) -> None:
    facts = facts_here()
    with pytest.raises(WorkerError) as caught:
        require_same(facts, {**facts, name: "9.9"}, "10.0.0.7", gpu=False)
    line = str(caught.value)
    assert "the Ray node 10.0.0.7 would compute other rows" in line
    assert f"{name} 9.9 (here {facts[name]})" in line
    assert "\n" not in line
    assert caught.value.hint


def test_another_gpu_matters_where_the_model_is_on_one() -> None:
    facts = facts_here()
    other = {**facts, "GPU": "another"}
    require_same(facts, other, "10.0.0.7", gpu=False)
    with pytest.raises(WorkerError, match="GPU another"):
        require_same(facts, other, "10.0.0.7", gpu=True)


@pytest.mark.usefixtures("forks")
def test_the_bits_of_a_model_are_those_of_its_scores_and_gradients(tmp_path: Path) -> None:
    images = pictures(tmp_path)
    classifier = api.load_model(network(tmp_path), images)
    here = bits_here(classifier, images, AT)
    assert here == bits_of(classifier, images, AT)
    assert here != bits_of(classifier, images, AT + 1)
    scores = classifier.runtime.logits
    last = replace(classifier, runtime=Runtime(lambda x: scores(x) * (1 + 2**-23)))
    assert bits_of(last, images, AT) != here
    twin = classifier.twin
    assert twin is not None
    other = replace(twin, logits=lambda x: twin.logits(x) * (1 + 2**-23))
    slopes = replace(classifier, twin=other)
    assert bits_of(slopes, images, AT) != here

"""Tasks as bytes: another process computes the same bits from them, without file and images."""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from every_analysis import network, pictures
from torch import fx, nn

from robcert.certify import api
from robcert.certify.auditing import SessionRequest, open_session

ray = pytest.importorskip("ray", reason="tasks travel by Ray")

from robcert.certify.cluster import packing, unpacking  # noqa: E402 - they import Ray

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")


class Network(nn.Module):
    """A network with constants, keyword arguments and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.shift = nn.Parameter(torch.arange(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cat([self.linear(x), self.linear(x)[:, :2]], dim=1)
        return y.sum(dim=1, keepdim=True) + self.shift


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, bytes]]:
    """An object store in this process, without a cluster."""
    values: dict[int, bytes] = {}

    def put(value: object) -> int:
        values[len(values)] = pickle.dumps(value)
        return len(values) - 1

    monkeypatch.setattr(ray, "put", put)
    monkeypatch.setattr(ray, "get", lambda number: pickle.loads(values[number]))  # noqa: S301
    yield values
    unpacking._here.references.clear()
    unpacking._here.parts.clear()
    unpacking._sent.clear()


@pytest.mark.usefixtures("store")
def test_a_graph_module_is_copied_node_by_node() -> None:
    module = fx.symbolic_trace(Network()).eval()
    copy = unpacking.unpacked(packing.Packer().put(module))
    assert isinstance(copy, fx.GraphModule)
    assert copy is not module
    assert [str(node) for node in copy.graph.nodes] == [str(node) for node in module.graph.nodes]
    x = torch.rand(5, 4)
    assert torch.equal(copy(x), module(x))
    assert not copy.training


@pytest.mark.usefixtures("store")
def test_what_a_cached_function_found_travels_with_it() -> None:
    calls = []

    @functools.cache
    def once() -> tuple[int, ...]:
        calls.append(0)
        return (1, 2)

    packer = packing.Packer()
    before = unpacking.unpacked(packer.put(lambda: once))()
    assert once() == (1, 2)
    after = unpacking.unpacked(packer.put(lambda: once))()
    assert not isinstance(before, functools.partial)
    assert isinstance(after, functools.partial)
    assert after() == (1, 2)


def test_the_weights_of_a_model_are_stored_once(store: dict[int, bytes], tmp_path: Path) -> None:
    classifier = api.load_model(network(tmp_path), pictures(tmp_path))
    packer = packing.Packer()
    packer.put(lambda: classifier)
    before = len(store)
    packer.put(lambda: (classifier, classifier.twin))
    assert len(store) == before + 1
    assert len(packer.parts) >= 3


@pytest.mark.usefixtures("store")
def test_a_session_computes_the_same_bits_without_file_and_images(tmp_path: Path) -> None:
    images = pictures(tmp_path)
    request = SessionRequest(network(tmp_path), images, limit=4, out=tmp_path / "r.h5", seconds=60)
    with open_session(request) as context:
        session = context.session

        def work(indices: Any) -> tuple[np.ndarray[Any, Any], ...]:
            batch = session.batch(indices)
            x = batch.x.clone().requires_grad_()
            slopes = torch.autograd.grad(session.classifier.twin_logits(x).sum(), x)[0]
            scores = session.classifier.logits(batch.x)
            return batch.x.numpy(), batch.y.numpy(), scores.numpy(), slopes.numpy()

        copied = unpacking.unpacked(packing.Packer().put(work))
        at = np.array([3, 1])
        expected = work(at)
    pixels = (images.source.read(np.arange(4)) * 255).round().astype(np.uint8)
    number = ray.put(pixels)
    unpacking.hold([(number, np.arange(4))])
    found = copied(at)
    assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]
    with pytest.raises(Exception, match="image 7 was not sent"):
        copied(np.array([7]))

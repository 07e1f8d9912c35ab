"""Which cluster `--ray` means, what a worker requests, and the lines of what cannot be."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import torch
from command_line import robcert
from every_analysis import network, pictures

from robcert.certify import api
from robcert.certify.cluster import RayRequest, Subject, opened_crew, request
from robcert.certify.cluster.start import require_answer, rooms_of
from robcert.certify.errors import InvalidParameterError, WorkerError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra."""
    monkeypatch.setattr(request, "find_spec", lambda _: None)


@pytest.fixture
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation with the extra, as far as it is asked for by name."""
    monkeypatch.setattr(request, "find_spec", lambda _: object())


def test_a_worker_requests_one_cpu_and_what_is_added() -> None:
    assert RayRequest.of("local", {}).needs == {"CPU": 1.0}
    found = RayRequest.of("10.0.0.7:6379", {"gpu": 0.5, "CPU": 2, "fast": 1})
    assert found.needs == {"CPU": 2.0, "GPU": 0.5, "fast": 1.0}
    assert found.shown == "CPU=2, GPU=0.5, fast=1"
    assert RayRequest.of("local", {}).local
    assert not found.local


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("command", ["linearity", "audit", "verify"])
def test_without_ray_one_line_names_the_extra(command: str) -> None:
    ended = robcert(command, "--ray", "local", "--model", "there-is-none.onnx")
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [
        "error: --ray needs Ray, which is not installed",
        'hint: install it: pip install "robcert[cluster]"',
    ]


@pytest.mark.usefixtures("without_ray")
def test_without_ray_python_says_the_same(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="needs Ray") as caught:
        api.corruption(network(tmp_path), pictures(tmp_path), ray="local", out=tmp_path / "r.h5")
    assert "robcert[cluster]" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--ray", ""), "error: the address of the Ray cluster is empty"),
        (("--ray", "ray://head:10001"), "error: ray://head:10001: robcert must run on a node"),
        (("--ray-resources", "gpu=1"), "error: --ray-resources without --ray has no effect"),
        (("--ray", "local", "--ray-resources", "gpu"), "error: --ray-resources names each"),
        (("--ray", "local", "--ray-resources", "gpu=-1"), "error: --ray-resources names each"),
        (("--ray", "local", "--ray-resources", "gpu=1,gpu=1"), "error: --ray-resources names each"),
        (("--ray", "local", "--ray-resources", "memory=much"), "error: 'much' is not a size"),
    ],
)
def test_a_value_that_means_nothing_is_one_line(options: tuple[str, ...], line: str) -> None:
    ended = robcert("taylor", *options, "--model", "there-is-none.onnx")
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.startswith(line)
    assert "Traceback" not in ended.stderr


def test_resources_alone_and_amounts_below_zero_are_refused_in_python(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="without ray"):
        api.taylor(network(tmp_path), pictures(tmp_path), ray_resources={"gpu": 1})
    with pytest.raises(InvalidParameterError, match="cannot request -1 of GPU"):
        RayRequest.of("local", {"gpu": -1})


@pytest.mark.usefixtures("with_ray")
def test_a_gpu_is_requested_where_the_model_is_on_one_and_nowhere_else(tmp_path: Path) -> None:
    images = pictures(tmp_path)
    classifier = api.load_model(network(tmp_path), images)
    wanted = RayRequest.of("local", {"gpu": 1})
    subject = Subject(classifier, images, torch.arange(2).numpy())
    with (
        pytest.raises(InvalidParameterError, match="but the model is on cpu"),
        opened_crew(wanted, subject, lambda _: None),
    ):
        pass


def test_room_is_counted_on_living_nodes_by_the_scarcest_resource() -> None:
    nodes = [
        {"Alive": True, "NodeManagerAddress": "a", "Resources": {"CPU": 8.0, "GPU": 2.0}},
        {"Alive": True, "NodeManagerAddress": "b", "Resources": {"CPU": 3.0}},
        {"Alive": False, "NodeManagerAddress": "c", "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    assert rooms_of(nodes, RayRequest.of("auto", {})) == {"a": 8, "b": 3}
    assert rooms_of(nodes, RayRequest.of("auto", {"gpu": 1})) == {"a": 2, "b": 0}
    assert rooms_of(nodes, RayRequest.of("auto", {"cpu": 2, "gpu": 0.5})) == {"a": 4, "b": 0}


def test_an_address_where_nothing_answers_is_one_line_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        require_answer(RayRequest.of(f"127.0.0.1:{port}", {}))
    with pytest.raises(WorkerError, match=f"nothing answers at the Ray address 127.0.0.1:{port}"):
        require_answer(RayRequest.of(f"127.0.0.1:{port}", {}))
    for left_to_ray in ("local", "auto"):
        require_answer(RayRequest.of(left_to_ray, {}))

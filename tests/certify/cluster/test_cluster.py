"""Rows of workers on the nodes of a real Ray cluster, several of which are on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from every_analysis import ANALYSES, network, pictures
from stored_content import content, differing

from robcert.certify import api
from robcert.certify.cluster import facts
from robcert.certify.errors import WorkerError
from robcert.certify.store import ResultStore

ray = pytest.importorskip("ray", reason="the extra robcert[cluster] is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES = 3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("forks"),
]

IMAGES = 48
"""So many that there is time to disturb the work in the middle."""


@dataclass(frozen=True)
class Nodes:
    """A cluster with its head, which has room for no worker, and other nodes."""

    cluster: Any

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, object_store_memory=10**8)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 0, "object_store_memory": 10**8}
    made = Nodes(Cluster(initialize_head=True, head_node_args=head))
    try:
        for _ in range(NODES):
            made.add()
        made.cluster.wait_for_nodes()
        yield made
    finally:
        made.cluster.shutdown()


def computed(tmp_path: Path, analysis: str, out: str, **options: Any) -> dict[str, bytes]:
    """The content of the results file of one analysis."""
    function, settings = ANALYSES[analysis]
    how = {"limit": 24, "batch_size": 4, "allow_low_accuracy": True, **options}
    function(network(tmp_path), pictures(tmp_path), settings, **how, out=tmp_path / out)
    return content(tmp_path / out)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_rows_of_nodes_are_those_of_one_worker(analysis: str, nodes: Nodes, tmp_path: Path) -> None:
    alone = computed(tmp_path, analysis, "one.h5", workers=1)
    together = computed(tmp_path, analysis, "ray.h5", ray=nodes.address)
    assert len(alone) > 20
    assert not differing(alone, together)


def test_rows_outlive_a_node_that_is_killed_in_the_middle(nodes: Nodes, tmp_path: Path) -> None:
    alone = computed(tmp_path, "attack", "one.h5", workers=1, limit=IMAGES)
    lost = nodes.add()
    nodes.cluster.wait_for_nodes()
    killed: list[int] = []

    def progress(task: str, done: int, total: int) -> None:
        if task == "attack" and 0 < done < total // 2 and not killed:
            nodes.cluster.remove_node(lost, allow_graceful=False)
            killed.append(done)

    options = {"ray": nodes.address, "limit": IMAGES, "batch_size": 2, "progress": progress}
    together = computed(tmp_path, "attack", "ray.h5", **options)
    assert killed
    assert not differing(alone, together)


def test_rows_outlive_workers_that_are_killed_in_the_middle(nodes: Nodes, tmp_path: Path) -> None:
    alone = computed(tmp_path, "attack", "one.h5", workers=1, limit=IMAGES)
    killed: list[int] = []

    def progress(task: str, done: int, total: int) -> None:
        if task == "attack" and 0 < done < total // 2 and len(killed) < 2:
            for process in set(actors()) - set(killed):
                os.kill(process, signal.SIGKILL)
                killed.append(process)
                break

    options = {"ray": nodes.address, "limit": IMAGES, "batch_size": 2, "progress": progress}
    together = computed(tmp_path, "attack", "ray.h5", **options)
    assert killed
    assert not differing(alone, together)


def test_a_run_whose_driver_is_killed_resumes(nodes: Nodes, tmp_path: Path) -> None:
    alone = computed(tmp_path, "attack", "one.h5", workers=1, limit=IMAGES)
    images = pictures(tmp_path)
    assert images.labels is not None
    pixels = images.pixels(np.arange(len(images))).numpy()
    np.savez(tmp_path / "images.npz", images=pixels, labels=images.labels)
    out = tmp_path / "ray.h5"
    line = ("attack", "--suite", "quick", "--limit", str(IMAGES), "--batch-size", "2", "--quiet")
    command = [sys.executable, "-m", "robcert.cli.main", *line, "--save-images"]
    command += ["-m", str(network(tmp_path)), "-d", str(tmp_path / "images.npz")]
    command += ["--ray", nodes.address, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while not (before := rows_of(out)) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < before < IMAGES
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    with ResultStore.read(out) as store, ResultStore.read(tmp_path / "one.h5") as other:
        (found,), (expected,) = store.existing("attack"), other.existing("attack")
        for name in expected.columns:
            rows = expected.indices
            assert found.column(name, rows).tobytes() == expected.column(name, rows).tobytes()
    assert alone


def test_a_node_with_other_versions_is_one_line(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = facts.facts_here()
    monkeypatch.setattr(facts, "facts_here", lambda: {**here, "onnxruntime": "0.1"})
    with pytest.raises(
        WorkerError, match=r"would compute other rows: it has onnxruntime"
    ) as caught:
        computed(tmp_path, "corruption", "ray.h5", ray=nodes.address)
    assert f"{here['onnxruntime']} (here 0.1)" in str(caught.value)


def test_a_node_that_computes_other_bits_is_one_line(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "bits_here", lambda *_: "other bits")
    with pytest.raises(WorkerError, match="differ there in their last bits"):
        computed(tmp_path, "corruption", "ray.h5", ray=nodes.address)


def test_a_resource_that_no_node_has_is_one_line(nodes: Nodes, tmp_path: Path) -> None:
    images = pictures(tmp_path)
    options: dict[str, Any] = {"limit": 4, "out": tmp_path / "r.h5", "ray": nodes.address}
    with pytest.raises(WorkerError, match="no node of the Ray cluster has CPU=1, fast=1"):
        api.taylor(network(tmp_path), images, **options, ray_resources={"fast": 1})


def actors() -> list[int]:
    """Processes of this machine that are workers of robcert."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::Actor"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def rows_of(path: Path) -> int:
    """Finished rows of the attack in the file."""
    if not path.exists():
        return 0
    with ResultStore.read(path) as store:
        return sum(int(table.computed().sum()) for table in store.existing("attack"))

"""What strangers put into files and options ends in one line, never in "a bug in robcert"."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx
import pytest
from command_line import Ended, robcert
from safetensors import safe_open
from safetensors.torch import save_file

from robcert.certify.auditing.open import bundled
from robcert.trainers.loop.checkpoint import Description, save_checkpoint
from robcert.trainers.networks import Architecture, NetworkSpec
from robcert.trainers.recipe import TrainConfig

MODEL = str(bundled("fashion-honest.onnx"))
DEEP = "[" * 200_000
HUGE = "9" * 400
ENDLESS = "9" * 10_000


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(ended: Ended, *words: str) -> None:
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.status == 2, ended
    assert len(errors) == 1, ended.stderr
    assert "bug in robcert" not in ended.stderr
    for word in words:
        assert word in errors[0], ended.stderr


PREPROCESSING = {
    "deep": (DEEP, "nests too deep"),
    "deep inside": (f'{{"mean": {DEEP}', "nests too deep"),
    "endless integer": (f'{{"mean": [{ENDLESS}]}}', "is not JSON"),
    "huge integer": (f'{{"mean": [{HUGE}]}}', "mean must be a list of numbers"),
    "huge float": ('{"std": [1e999]}', "std must be a list of numbers"),
    "NaN": ('{"range": [0, NaN]}', "range must be two different numbers"),
    "a list in a list": ('{"mean": [[0.5]]}', "mean must be a list of numbers"),
    "an object as layout": ('{"layout": {"a": 1}}', "layout must be one of"),
    "null": ("null", "one JSON object"),
}


@pytest.mark.parametrize("name", PREPROCESSING)
def test_preprocessing_of_a_file(name: str) -> None:
    text, reason = PREPROCESSING[name]
    Path("p.json").write_text(text)
    refused(robcert("inspect", "-m", MODEL, "--preprocess", "p.json"), "p.json", reason)


@pytest.mark.parametrize("name", [n for n in PREPROCESSING if n != "null"])
def test_preprocessing_in_the_metadata_of_a_model(name: str) -> None:
    text, reason = PREPROCESSING[name]
    model = onnx.load(MODEL)
    del model.metadata_props[:]
    model.metadata_props.add(key="robcert.preprocess", value=text)
    onnx.save(model, "model.onnx")
    refused(robcert("inspect", "-m", "model.onnx"), "robcert.preprocess", reason)


@pytest.mark.parametrize("text", [DEEP, ENDLESS, HUGE, '{"state": {"epoch": 1e999}}'])
def test_provenance_that_cannot_be_read_is_ignored(text: str) -> None:
    model = onnx.load(MODEL)
    for entry in model.metadata_props:
        if entry.key == "robcert.provenance":
            entry.value = text
            break
    else:
        model.metadata_props.add(key="robcert.provenance", value=text)
    onnx.save(model, "model.onnx")
    assert robcert("inspect", "-m", "model.onnx").status == 0


def checkpoint(description: str) -> None:
    """A checkpoint with another description than the one that robcert wrote."""
    spec = NetworkSpec(Architecture("linear"), (1, 4, 4), 3)
    weights = spec.build().state_dict()
    made = Description(spec, TrainConfig(), {}, {}, {})
    save_checkpoint(Path("whole.safetensors"), weights, made)
    with safe_open("whole.safetensors", framework="pt") as content:
        text = content.metadata()["robcert"]
        tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    text = description.replace("WHOLE", text[:-1])
    save_file(tensors, "c.safetensors", metadata={"robcert": text})


def network(sizes: str) -> str:
    """A description with another network."""
    return f'WHOLE, "network": {{"architecture": {{"name": "linear"}}, {sizes}}}}}'


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        ENDLESS,
        "null",
        f'WHOLE, "network": {DEEP}}}',
        'WHOLE, "network": {"architecture": {"name": "linear"}, "num_classes": 3}}',
        network(f'"image_shape": [1, 4, 4], "num_classes": {HUGE}'),
        network('"image_shape": [1, 4, 4], "num_classes": -3'),
        network('"image_shape": [-1, 4, 4], "num_classes": 3'),
        network('"image_shape": [1, 4], "num_classes": 3'),
        network('"image_shape": [1, 1e9, 4], "num_classes": 3'),
        network(f'"image_shape": [{HUGE}, 4, 4], "num_classes": 3'),
        network('"image_shape": [1, 1000000000, 1000000000], "num_classes": 3'),
        'WHOLE, "network": null}',
        'WHOLE, "training": 3}',
        f'WHOLE, "training": {{"epochs": {HUGE}, "batch_size": 1e999}}}}',
        'WHOLE, "data": [1]}',
        'WHOLE, "state": "done"}',
        'WHOLE, "versions": 7}',
        f'WHOLE, "format_version": {HUGE}}}',
    ],
)
def test_descriptions_of_checkpoints(text: str) -> None:
    checkpoint(text)
    refused(robcert("inspect", "-m", "c.safetensors"), "c.safetensors")


@pytest.mark.parametrize("text", [DEEP, ENDLESS, "[1]", f'{{"epochs": {HUGE}}}'])
def test_configurations_of_training(text: str) -> None:
    Path("config.json").write_text(text)
    refused(robcert("train", "standard", "--config", "config.json", "--out", "run"))
    assert not Path("run").exists()


def archive(name: str, *, method: int, encrypted: bool) -> None:
    """A zip file whose only member is packed by ``method``, or marked as encrypted."""
    with zipfile.ZipFile(name, "w") as file:
        file.writestr("data.pkl", b"0" * 100)
    content = bytearray(Path(name).read_bytes())
    central = content.index(b"PK\x01\x02")
    for flags, place in ((6, 0), (8, central)):
        content[place + flags] |= encrypted
        content[place + flags + 2] = method
    Path(name).write_bytes(content)


@pytest.mark.parametrize("name", ["m.onnx", "m.pt", "m.pth", "m.zip", "m.safetensors", "m.npz"])
@pytest.mark.parametrize(("method", "encrypted"), [(0, True), (99, False), (14, False)])
def test_archives_in_place_of_a_model(name: str, method: int, encrypted: bool) -> None:
    archive(name, method=method, encrypted=encrypted)
    refused(robcert("inspect", "-m", name), name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space")
@pytest.mark.parametrize("mebibytes", [300, 1200])
def test_a_limit_on_addresses_is_told(mebibytes: int) -> None:
    limit = mebibytes * 2**20
    done = subprocess.run(
        [sys.executable, "-m", "robcert.cli.main", "inspect", "-m", MODEL],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert "memory" in done.stderr
    assert "bug in robcert" not in done.stderr
    assert "Traceback" not in done.stderr

"""`robcert verify --save-proof` and `robcert check-proof`."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np
import onnx_models as om
import pytest
import torch
from command_line import robcert
from proved_nets import SHAPE, network, sealed

from robcert.certify.importer import load_classifier
from robcert.certify.proof_check import HEADER_BYTES, ProofCheckError, check, proof_file

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended

COMMON = ("--threads", "1", "--budget", "3s", "--limit", "3", "--allow-low-accuracy")


@dataclass(frozen=True)
class Files:
    model: Path
    proof: Path
    told: Ended


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A model, and proofs for images with the labels that it gives them."""
    folder = tmp_path_factory.mktemp("proofs")
    model, data, proof = network(folder, seed=1), folder / "images.npz", folder / "proof.h5"
    x = np.random.default_rng(3).random((12, *SHAPE)).astype(np.float32)
    labels = load_classifier(model).logits(torch.from_numpy(x)).argmax(1).numpy()
    np.savez(data, images=x, labels=labels)
    told = robcert(
        *("verify", "--model", model, "--data", data, "--eps", "0.02", "--eps", "0.05"),
        *("--save-proof", proof, "--out", folder / "r.h5", "--json", *COMMON),
    )
    return Files(model, proof, told)


def test_proofs_are_saved_and_checked(files: Files) -> None:
    assert files.told.status == 0, files.told.stderr
    assert "proofs saved, and checked again" in files.told.stderr
    told = robcert("check-proof", files.proof, "--model", files.model)
    assert told.status == 0, told.stderr
    assert "proved: margin" in told.stdout
    assert "in every float32 evaluation" in told.stdout
    model, pixels, images = told.stdout.splitlines()[-3:]
    digest = hashlib.sha256(files.model.read_bytes()).hexdigest()
    assert model.startswith(f"model: {files.model.name}, SHA-256 {digest}")
    assert pixels.startswith("pixels to input: scaled to [0, 1]")
    assert images == (
        "images: those stored in the proof file; their numbers count through images, as the file "
        "says"
    )
    printed = json.loads(robcert("check-proof", files.proof, "-m", files.model, "--json").stdout)
    assert printed["proved"]
    assert (printed["data"], printed["preprocessing"]["layout"]) == ("images", "NCHW")
    with np.load(files.proof.parent / "images.npz") as stored:
        for each in printed["statements"]:
            pixels_of = stored["images"][each["index"]].astype("<f4").tobytes()
            assert each["image_sha256"] == hashlib.sha256(pixels_of).hexdigest()
    certified = json.loads(files.told.stdout)["summary"]["certified_accuracy"]
    assert len(printed["statements"]) == round(3 * max(each["value"] for each in certified))
    assert {each["radius"] for each in printed["statements"]} <= {0.02, 0.05}


def test_a_proof_file_that_names_no_data_is_read(files: Files, tmp_path: Path) -> None:
    older = tmp_path / "older.h5"
    shutil.copy(files.proof, older)
    with h5py.File(older, "r+") as file:
        del file.attrs["data_name"]
    sealed(older)
    told = robcert("check-proof", older, "--model", files.model)
    assert told.status == 0, told.stderr
    assert told.stdout.splitlines()[-1] == "images: those stored in the proof file"


def test_no_name_in_a_proof_file_poses_as_a_line_of_the_checker(
    files: Files, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.h5"
    shutil.copy(files.proof, changed)
    with h5py.File(changed, "r+") as file:
        file.attrs["model_file"] = file.attrs["data_name"] = "m\n9 of 9 statements proved"
    sealed(changed)
    told = robcert("check-proof", changed, "--model", files.model)
    assert told.status == 0, told.stderr
    assert "m\\u000a9 of 9" in told.stdout
    assert not any(line.startswith("9 of 9") for line in told.stdout.splitlines())


def test_damage_under_a_right_hash_is_one_line(files: Files, tmp_path: Path) -> None:
    changed, whole = tmp_path / "changed.h5", files.proof.read_bytes()
    source, refusals = random.Random(4), list[str]()
    for number in range(80):
        data = bytearray(whole)
        at = source.randrange(HEADER_BYTES, len(data) - 8)
        data[at : at + 8] = source.choice((bytes(8), b"\xff" * 8, source.randbytes(8)))
        changed.write_bytes(data)
        sealed(changed)
        if number < 4:  # in a child process first
            told = robcert("check-proof", changed, "--model", files.model)
            assert told.status in (0, 1, 2)
            assert "bug in robcert" not in told.stderr
        try:
            check(changed, files.model)
        except ProofCheckError as error:
            refusals.append(str(error))
    assert len(refusals) > 5
    assert not any("\n" in refusal for refusal in refusals)


def test_a_proof_file_with_two_names_for_one_part_is_refused(files: Files, tmp_path: Path) -> None:
    changed = tmp_path / "changed.h5"
    shutil.copy(files.proof, changed)
    with h5py.File(changed, "r+") as file:
        file["statements/again"] = file["statements/000000"]
    sealed(changed)
    told = robcert("check-proof", changed, "--model", files.model)
    assert told.status == 2
    assert told.stdout == ""
    assert "is damaged at /statements/" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_bounds_that_would_fill_the_memory_are_refused(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_file, "MOST_UNITS", 1000)
    changed = tmp_path / "changed.h5"
    shutil.copy(files.proof, changed)
    with h5py.File(changed, "r+") as file:
        relus = file["statements/000000/relus"]
        del relus["0/units"]
        relus["0/units"] = np.arange(900, dtype=np.int32)
        for number in range(len(relus), 10):
            relus[str(number)] = relus["0"]
    sealed(changed)
    with pytest.raises(ProofCheckError, match="too many bounds"):
        check(changed, files.model)


def test_what_is_not_proved_ends_with_1(files: Files, tmp_path: Path) -> None:
    changed = tmp_path / "changed.h5"
    shutil.copy(files.proof, changed)
    with h5py.File(changed, "r+") as file:
        file["statements/000000"].attrs["radius"] = 0.9
    sealed(changed)
    told = robcert("check-proof", changed, "--model", files.model)
    assert told.status == 1
    assert "NOT proved" in told.stdout
    assert told.stderr == ""
    as_json = robcert("check-proof", changed, "--model", files.model, "--json")
    assert as_json.status == 1
    assert not json.loads(as_json.stdout)["proved"]


def test_a_changed_byte_is_one_line(files: Files, tmp_path: Path) -> None:
    changed = tmp_path / "changed.h5"
    data = bytearray(files.proof.read_bytes())
    data[-100] ^= 1
    changed.write_bytes(data)
    told = robcert("check-proof", changed, "--model", files.model)
    assert told.status == 2
    assert told.stdout == ""
    assert told.stderr.startswith("error: ")
    assert "was changed after it was written" in told.stderr
    assert len(told.stderr.splitlines()) == 1
    other = robcert("check-proof", files.model, "--model", files.model)
    assert other.status == 2
    assert "is not a proof file" in other.stderr


def test_a_model_without_proofs_is_refused_before_any_work(tmp_path: Path) -> None:
    nodes = [om.node("Flatten", "x", "f"), om.node("Tanh", "f", "a"), om.node("MatMul", "a w", "z")]
    weights = {"w": np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)}
    made = om.model(nodes, inputs={"x": (1, *SHAPE)}, outputs={"z": None}, weights=weights)
    model, data = om.saved(tmp_path, made), tmp_path / "images.npz"
    x = np.random.default_rng(3).random((12, *SHAPE)).astype(np.float32)
    np.savez(data, images=x)
    told = robcert(
        *("verify", "--model", model, "--data", data, "--save-proof", tmp_path / "p.h5"),
        *("--out", tmp_path / "r.h5", "-q", *COMMON),
    )
    assert told.status == 2
    assert "no proof about this model can be saved" in told.stderr
    assert "(Tanh)" in told.stderr
    assert not (tmp_path / "p.h5").exists()
    where = robcert(
        *("verify", "--model", model, "--data", data, "--save-proof", model),
        *("--out", tmp_path / "r.h5", "-q", *COMMON),
    )
    assert where.status == 2
    assert "cannot be written" in where.stderr


def test_proofs_of_the_demo_model_are_refused_before_any_work(tmp_path: Path) -> None:
    told = robcert("verify", "--save-proof", tmp_path / "p.h5", "--out", tmp_path / "r.h5")
    assert told.status == 2
    first, hint = told.stderr.splitlines()  # no note about the demo model before it
    assert first.startswith("error: --save-proof needs --model")
    assert hint.startswith("hint: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".", "results.h5"])
def test_a_proof_file_is_neither_a_folder_nor_the_results(
    files: Files, tmp_path: Path, name: str
) -> None:
    told = robcert(
        *("verify", "--model", files.model, "--data", files.proof.parent / "images.npz"),
        *("--save-proof", tmp_path / name, "--out", tmp_path / "results.h5", *COMMON),
    )
    assert told.status == 2
    assert told.stderr.splitlines()[-2].startswith("error: the proofs cannot be written to")

"""Images that are read as needed give the training that images in memory give."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from photographs import write_photographs
from PIL import Image
from torchvision.transforms import functional as published

from robcert.certify.data import FileSource, from_arrays
from robcert.certify.data.arrays import ArraySource
from robcert.certify.errors import DataError, InvalidParameterError
from robcert.trainers.data import photographs, sources
from robcert.trainers.data.images import EpochDraws, LabelledImages, epoch_order, in_order
from robcert.trainers.data.process_slice import ProcessSlice
from robcert.trainers.data.sources import Reading, Split, training_images
from robcert.trainers.data.streamed import StreamedImages
from robcert.trainers.loop.checkpoint import read_tensors
from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import Run, RunPlan
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Evaluation, TrainConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.trainers.methods.objective import Losses

CPU = torch.device("cpu")
TINY = TrainConfig(
    architecture=Architecture("mlp", width=4),
    epochs=1,
    batch_size=8,
    evaluation=Evaluation(attack_every=0),
)
CUT = replace(TINY, image_size=8)


def trained(split: Split, out: Path, config: TrainConfig = TINY) -> dict[str, Tensor]:
    """State of a training: weights and momentum."""
    fit(RunPlan(config, split.train, split.evaluation, out=out))
    return read_tensors(out / "state.safetensors")


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def as_tar(folder: Path) -> Path:
    """The images of ``folder`` as a tar archive of WebDataset, in the same order."""
    path = folder.with_suffix(".tar")
    files = sorted(folder.rglob("*.png"))
    with tarfile.open(path, "w") as archive:
        for number, file in enumerate(files):
            archive.add(file, f"{number:03}.png")
            label = folder / f"{number:03}.cls"
            label.write_text(str(["bright", "dark"].index(file.parent.name)))
            archive.add(label, label.name)
    return path


def as_array(folder: Path) -> Path:
    files = sorted(folder.rglob("*.png"))
    np.save(folder.with_name("images.npy"), np.stack([np.array(Image.open(f)) for f in files]))
    labels = [["bright", "dark"].index(file.parent.name) for file in files]
    np.save(folder.with_name("labels.npy"), np.array(labels))
    return folder.with_name("images.npy")


@pytest.mark.parametrize("kind", ["folder", "tar", "array"])
def test_the_training_is_that_of_images_in_memory(kind: str, tmp_path: Path) -> None:
    folder = write_photographs(tmp_path / "set", 40, side=8)
    source = str({"folder": Path, "tar": as_tar, "array": as_array}[kind](folder))
    held = trained(training_images(source), tmp_path / "held")
    split = training_images(source, reading=Reading(stream=True))
    assert isinstance(split.train, StreamedImages)
    assert_same(held, trained(split, tmp_path / "streamed"))


def test_squares_of_photographs_do_not_depend_on_the_readers(tmp_path: Path) -> None:
    source = str(write_photographs(tmp_path / "set", 40))
    runs = []
    for workers in (0, 3):
        split = training_images(source, reading=Reading(8, workers=workers))
        runs.append(trained(split, tmp_path / f"by-{workers}", CUT))
    assert_same(*runs)


def test_squares_change_with_seed_and_epoch_and_not_with_the_batch(tmp_path: Path) -> None:
    split = training_images(str(write_photographs(tmp_path, 20)), reading=Reading(8))
    row = torch.tensor([3])

    def pixels(seed: int, epoch: int, *before: int) -> Tensor:
        order = [torch.tensor([*before, 3])]
        ((x, _),) = split.train.batches(order, CPU, EpochDraws(seed, epoch))
        return x[-1]

    first = pixels(0, 0)
    assert torch.equal(first, pixels(0, 0, 5, 1))
    assert not torch.equal(first, pixels(0, 1))
    assert not torch.equal(first, pixels(1, 0))
    still = [split.train.batch(row, CPU)[0] for _ in range(2)]
    assert torch.equal(*still)


def test_slices_of_two_processes_make_up_the_whole_batch(tmp_path: Path) -> None:
    images = training_images(str(write_photographs(tmp_path, 24)), reading=Reading(8)).train
    order = [torch.tensor([4, 0, 7, 2]), torch.tensor([1, 9, 3, 8])]
    whole = list(images.batches(order, CPU, EpochDraws(0, 0)))
    parts = [
        list(images.batches([ProcessSlice(rank, 2).of(o) for o in order], CPU, EpochDraws(0, 0)))
        for rank in range(2)
    ]
    for number, batch in enumerate(whole):
        for which in range(2):  # pixels and labels
            halves = [part[number][which] for part in parts]
            assert torch.equal(torch.cat(halves), batch[which])
    shared = [n for rank in range(2) for n, *_ in in_order(images, 5, CPU, ProcessSlice(rank, 2))]
    assert sorted(shared) == [n for n, *_ in in_order(images, 5, CPU)]


def test_evaluation_cuts_out_the_centre_as_torchvision_does() -> None:
    draws = np.random.default_rng(0)
    for high, wide in ((40, 60), (61, 33), (32, 32), (206, 309)):
        image = Image.fromarray(draws.integers(0, 256, (high, wide, 3), np.uint8))
        theirs = np.array(published.center_crop(published.resize(image, [32]), [28]))
        assert np.array_equal(np.array(photographs.square(image, 28, None, 0)), theirs)


def test_a_random_square_is_resized_as_by_torchvision() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))
    draws = EpochDraws(0, 0)
    left, top, right, bottom = photographs.random_box(70, 50, draws.of(7))
    box = (top, left, bottom - top, right - left)
    theirs = np.array(published.resized_crop(image, *box, [16, 16]))
    assert np.array_equal(np.array(photographs.square(image, 16, draws, 7)), theirs)


def test_random_boxes_cover_the_areas_and_places_that_are_usual() -> None:
    draws = torch.Generator().manual_seed(0)
    boxes = np.array([photographs.random_box(400, 300, draws) for _ in range(4000)])
    wide, high = (boxes[:, 2:] - boxes[:, :2]).T
    area, ratio = wide * high / 120_000, np.log(wide / high) / np.log(4 / 3)
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (400, 300)).all()
    assert area.min() == pytest.approx(0.08, abs=0.01)
    # 400x300 holds a box of 99 % only if its ratio is 4/3, so that large ones are drawn again
    assert 0.4 < area.mean() < 0.54
    small = area < 0.5  # these always fit, and are uniform
    assert area[small].mean() == pytest.approx(0.29, abs=0.02)
    assert ratio[small].mean() == pytest.approx(0, abs=0.06)
    assert np.abs(ratio).max() < 1.1
    place = boxes[small, 0] / (400 - wide[small])
    assert place.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("width", "height"), [(1000, 5), (3, 900)])
def test_of_a_narrow_photograph_the_centre_is_taken(width: int, height: int) -> None:
    left, top, right, bottom = photographs.random_box(width, height, torch.Generator())
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert abs(left - (width - right)) <= 1
    assert max(right - left, bottom - top) / min(right - left, bottom - top) < 1.5


class CrashError(Exception):
    """Ends a run as a kill does: nothing is saved on the way."""


def test_a_killed_run_continues_in_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = training_images(str(write_photographs(tmp_path / "set", 60)), reading=Reading(8))
    config = replace(CUT, epochs=2)
    whole = trained(split, tmp_path / "whole", config)
    plan = RunPlan(config, split.train, split.evaluation, tmp_path / "parts", save_seconds=0)
    step, begun = Run.step, []

    def dying(run: Run, x: Tensor, y: Tensor, *, number: int, replay: int, of: int) -> Losses:
        begun.append(number)
        if number == 9 and begun.count(9) == 1:
            assert of == 6
            raise CrashError
        return step(run, x, y, number=number, replay=replay, of=of)

    monkeypatch.setattr(Run, "step", dying)
    with pytest.raises(CrashError):
        fit(plan)
    fit(plan, resume=True)
    assert begun == [*range(10), *range(9, 12)]
    assert_same(whole, read_tensors(tmp_path / "parts" / "state.safetensors"))
    losses = [
        [line.split(",")[2] for line in (tmp_path / run / "metrics.csv").read_text().splitlines()]
        for run in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_after_a_damaged_image_is_replaced_the_run_continues(workers: int, tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "set", 60)
    config = replace(CUT, normalize=False)
    split = training_images(str(source), reading=Reading(8, workers=workers))
    whole = trained(split, tmp_path / "whole", config)
    damaged = source / image_at(split.train, batch=2)
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    plan = RunPlan(config, split.train, split.evaluation, tmp_path / "parts")
    with pytest.raises(DataError, match=rf"image .*{damaged.name}: it is damaged") as said:
        fit(plan)
    assert "\n" not in str(said.value)
    assert "--resume continues" in said.value.hint
    damaged.write_bytes(content)
    run = Run(plan)
    run.resume()
    assert run.position.batch == 2
    fit(plan, resume=True)
    assert_same(whole, read_tensors(tmp_path / "parts" / "state.safetensors"))


def test_a_damaged_evaluation_image_costs_no_epoch(tmp_path: Path) -> None:
    write_photographs(tmp_path / "train", 40)
    damaged = write_photographs(tmp_path / "val", 8) / "dark" / "002.png"
    split = training_images(str(tmp_path), reading=Reading(8))
    whole = trained(split, tmp_path / "whole", CUT)
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    plan = RunPlan(CUT, split.train, split.evaluation, tmp_path / "parts")
    with pytest.raises(DataError, match=r"002\.png: it is damaged"):
        fit(plan)
    damaged.write_bytes(content)
    run = Run(plan)
    run.resume()
    assert run.position.batch == len(split.train) // CUT.batch_size
    fit(plan, resume=True)
    assert_same(whole, read_tensors(tmp_path / "parts" / "state.safetensors"))


def image_at(images: LabelledImages, *, batch: int) -> str:
    """Name of the first image of a batch of the first epoch."""
    assert isinstance(images, StreamedImages)
    assert isinstance(images.files.source, FileSource)
    order = epoch_order(len(images), TINY.batch_size, seed=TINY.seed, epoch=0)
    return images.files.source.name(int(images.rows[order[batch][0]]))


class Deadly(ArraySource):
    """Kills the process that reads an image, unless it is the one that made this."""

    maker = os.getpid()

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        if os.getpid() != self.maker:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(indices)


@pytest.mark.skipif(sys.platform != "linux", reason="the readers are forks")
def test_the_death_of_a_reader_is_one_line() -> None:
    pixels = np.full((8, 4, 4), 255, np.uint8)
    made = from_arrays("noise", pixels, np.zeros(8))
    source = Deadly("noise", pixels, (1, 4, 4), channels_last=False)
    images = StreamedImages.of(replace(made, source=source), workers=1)
    with pytest.raises(DataError, match="a process that reads images has ended"):
        list(images.batches([torch.arange(8)], CPU))


def test_large_sets_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(write_photographs(tmp_path / "set", 40, side=8))
    small = training_images(source)
    assert small.notes[-1] == "all 40 images are held in memory (0.00732 MiB)"
    monkeypatch.setattr(sources, "MOST_HELD", 40 * 192 - 1)
    large = training_images(source, reading=Reading(workers=2))
    assert isinstance(large.train, StreamedImages)
    assert large.notes[-1] == (
        "40 images (0.00732 MiB) are read as needed by 2 processes; up to 0.00732 MiB are held "
        "in memory"
    )
    forced = training_images(source, reading=Reading(stream=False))
    assert not isinstance(forced.train, StreamedImages)
    assert forced.notes[-1].endswith(", as asked")


def test_squares_of_photographs_cannot_be_held() -> None:
    with pytest.raises(InvalidParameterError, match="are not held"):
        Reading(8, stream=False)


def test_squares_are_not_cut_out_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.full((30, 4, 4), 255, np.uint8), labels=np.arange(30))
    with pytest.raises(DataError, match="set holds arrays of one size"):
        training_images(str(tmp_path / "set.npz"), reading=Reading(8))


@pytest.mark.parametrize("stream", [True, False])
def test_several_sizes_need_a_size_to_cut(stream: bool, tmp_path: Path) -> None:
    source = str(write_photographs(tmp_path / "set", 30))
    with pytest.raises(DataError, match=r"images of set have several sizes: \d+x\d+ and") as said:
        training_images(source, reading=Reading(stream=stream))
    assert said.value.hint.startswith("--image-size 224")


@pytest.mark.parametrize("stream", [True, False])
def test_classes_of_other_names_are_refused(stream: bool, tmp_path: Path) -> None:
    write_photographs(tmp_path / "train", 30, side=8)
    write_photographs(tmp_path / "val", 10, side=8)
    (tmp_path / "val" / "dark").rename(tmp_path / "val" / "dusk")
    with pytest.raises(DataError, match="train has 2 classes and val 2: dark, dusk only in one"):
        training_images(str(tmp_path), reading=Reading(stream=stream))


def test_folders_of_two_splits_are_streamed(tmp_path: Path) -> None:
    write_photographs(tmp_path / "train", 40)
    write_photographs(tmp_path / "val", 10)
    split = training_images(str(tmp_path), reading=Reading(8))
    assert (len(split.train), len(split.evaluation), split.evaluation.name) == (40, 10, "val")
    held_out = training_images(str(tmp_path), validation=True, reading=Reading(8))
    assert (len(held_out.train), len(held_out.evaluation)) == (38, 2)
    assert (held_out.evaluation.name, held_out.evaluation.test_name) == ("train", "val")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak in /proc")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """A tenfold set has 60 MB more of pixels."""
    script = str(Path(__file__).with_name("streamed_peak.py"))
    peaks = []
    for count in (240, 2400):
        command = [sys.executable, script, str(count), str(tmp_path / str(count))]
        ended = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append([int(peak) for peak in ended.stdout.split()])
    few, many = np.array(peaks) / 1024
    assert (many - few < 25).all(), peaks

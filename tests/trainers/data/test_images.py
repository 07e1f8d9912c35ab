from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from robcert.certify.errors import DataError
from robcert.trainers.data.augmentation import Augmentation
from robcert.trainers.data.images import (
    LabelledImages,
    TrainingImages,
    channel_statistics,
    epoch_order,
)
from robcert.trainers.data.sources import default_images, training_images

if TYPE_CHECKING:
    from pathlib import Path


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def held(images: LabelledImages) -> Tensor:
    """Pixels in memory."""
    assert isinstance(images, TrainingImages)
    return images.pixels


def test_an_epoch_meets_every_image_once() -> None:
    order = torch.cat(epoch_order(96, 16, seed=1, epoch=0))
    assert order.sort().values.tolist() == list(range(96))
    assert not torch.equal(order, torch.cat(epoch_order(96, 16, seed=1, epoch=1)))


def test_an_incomplete_batch_is_dropped_unless_it_is_all() -> None:
    assert [len(batch) for batch in epoch_order(10, 4, seed=0, epoch=0)] == [4, 4]
    assert [len(batch) for batch in epoch_order(3, 4, seed=0, epoch=0)] == [3]


def test_statistics_are_those_of_the_pixels() -> None:
    pixels = torch.randint(256, (50, 2, 5, 5), generator=draws()).to(torch.uint8)
    floats = pixels.double() / 255
    for stored in (pixels, floats.float()):
        mean, std = channel_statistics([stored])
        assert mean == pytest.approx(floats.mean((0, 2, 3)).tolist(), abs=1e-4)
        assert std == pytest.approx(floats.std((0, 2, 3), unbiased=False).tolist(), abs=1e-4)


def test_a_crop_is_a_shift_with_zeros() -> None:
    x = torch.rand(64, 2, 6, 6, generator=draws()) + 0.1
    out = Augmentation(crop=2)(x, draws())
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    for image in range(64):
        windows = padded[image].unfold(1, 6, 1).unfold(2, 6, 1)
        same = (windows == out[image][:, None, None]).all(4).all(3).all(0)
        assert same.any()


def test_about_half_of_the_images_are_mirrored_and_whole() -> None:
    x = torch.rand(200, 1, 4, 4, generator=draws())
    out = Augmentation(flip=True)(x, draws())
    mirrored = (out == x.flip(3)).all(3).all(2).all(1)
    assert 70 < int(mirrored.sum()) < 130  # Bin(200, 1/2): outside with probability 2e-5
    assert torch.equal(out[~mirrored], x[~mirrored])


def test_cutout_blanks_one_square() -> None:
    x = torch.ones(100, 3, 9, 9)
    blank = (Augmentation(cutout=4)(x, draws()) == 0)[:, 0].flatten(1).sum(1)
    assert int(blank.max()) == 16
    assert int(blank.min()) >= 4  # a centre in the corner leaves half of each side


def test_float_images_stay_as_they_are(tmp_path: Path) -> None:
    pixels = np.linspace(0, 1, 40 * 12, dtype=np.float32).reshape(40, 1, 3, 4)
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.arange(40) % 2)
    split = training_images(str(tmp_path / "set.npz"))
    assert (len(split.train), len(split.evaluation)) == (36, 4)
    assert held(split.train).dtype == torch.float32
    x, _ = split.train.batch(torch.arange(36), torch.device("cpu"))
    rest, _ = split.evaluation.batch(torch.arange(4), torch.device("cpu"))
    both = torch.cat([x, rest]).flatten().sort().values
    torch.testing.assert_close(both, torch.from_numpy(pixels).flatten(), rtol=0, atol=1e-7)


def write_idx(folder: Path, part: str, count: int) -> None:
    header = np.array([2051, count, 4, 4], ">i4").tobytes()
    pixels = np.arange(count * 16, dtype=np.uint32).astype(np.uint8).tobytes()
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels))
    labels = np.array([2049, count], ">i4").tobytes() + bytes(n % 10 for n in range(count))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def test_a_standard_set_has_its_own_test_images(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", 30)
    write_idx(tmp_path, "t10k", 20)
    split = training_images("fashion-mnist", root=tmp_path)
    assert (len(split.train), len(split.evaluation)) == (30, 20)
    assert held(split.train).dtype == torch.uint8
    assert split.evaluation.name == "fashion-mnist"
    assert "test images of fashion-mnist, so its accuracy" in split.notes[0]


def test_validation_leaves_the_test_images_alone(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", 40)
    write_idx(tmp_path, "t10k", 20)
    split = training_images("fashion-mnist", root=tmp_path, validation=True)
    assert (len(split.train), len(split.evaluation)) == (38, 2)
    whole = training_images("fashion-mnist", root=tmp_path)
    both = torch.cat([held(split.train), held(split.evaluation)]).flatten(1)
    assert sorted(map(tuple, both.tolist())) == sorted(
        map(tuple, held(whole.train).flatten(1).tolist())
    )
    assert split.evaluation.test_name == "fashion-mnist"
    again = training_images("fashion-mnist", root=tmp_path, validation=True)
    assert torch.equal(held(again.evaluation), held(split.evaluation))


def test_without_the_default_set_the_bundled_images_serve(tmp_path: Path) -> None:
    split = default_images(root=tmp_path, fetch=False)
    assert len(split.train) == 1800
    assert len(split.evaluation) == 200
    assert "trial run" in split.notes[-1]


def test_images_and_labels_must_match() -> None:
    with pytest.raises(DataError, match="3 images and 2 labels"):
        TrainingImages(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(2).long())

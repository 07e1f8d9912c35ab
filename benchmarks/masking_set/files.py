"""Models of the masking check's validation set as ONNX files."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.model import Preprocessing
from robcert.trainers.export import INPUT, onnx_bytes
from robcert.trainers.loop import write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .entries import Entry
    from .networks import Kit


def exported(entry: Entry, kit: Kit, path: Path) -> None:
    """Write ``entry`` as an ONNX file that takes pixels."""
    content = onnx_bytes(
        entry.make(kit).eval(),
        image_shape=kit.images.image_shape,
        preprocessing=Preprocessing(),
        data_name="",
        provenance={"about": entry.about},
        repeats_itself=not entry.random,
    )
    write_whole(path, quantised(content, kit.some(256)) if entry.int8 else content)


def quantised(content: bytes, images: Tensor) -> bytes:
    """The ONNX file ``content`` on 8 bits, its ranges measured on ``images (b, c, h, w)``."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # has no types
        """One image at a time."""

        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            one = next(self.rest, None)
            return None if one is None else {INPUT: one[None].numpy()}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(content)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # the quantiser advises passes that change nothing here
        try:
            quantize_static(before, after, Reader(), quant_format=QuantFormat.QDQ)
        finally:
            root.setLevel(level)
        return after.read_bytes()

"""Export of the validation set's models as ONNX files."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.whole_file import write_whole
from robcert.trainers.export import INPUT, OnnxMetadata, onnx_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .entries import Entry
    from .networks import Kit


def exported(entry: Entry, kit: Kit, path: Path) -> None:
    """Write the model of ``entry`` as an ONNX file whose input are pixels."""
    content = onnx_bytes(
        entry.make(kit).eval(),
        image_shape=kit.images.image_shape,
        metadata=OnnxMetadata(provenance={"about": entry.about}),
        deterministic=not entry.random,
    )
    write_whole(path, quantised(content, kit.some(256)) if entry.int8 else content)


def quantised(content: bytes, images: Tensor) -> bytes:
    """The ONNX file ``content`` quantised to 8 bits, calibrated on ``images (b, c, h, w)``."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # has no type annotations
        """Gives the images one by one."""

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
        # the quantiser recommends a preprocessing that changes nothing here
        root.setLevel(logging.ERROR)
        try:
            quantize_static(before, after, Reader(), quant_format=QuantFormat.QDQ)
        finally:
            root.setLevel(level)
        return after.read_bytes()

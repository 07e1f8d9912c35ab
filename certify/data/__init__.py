"""Images from arrays, files, folders, addresses and by name."""

from .hdf5_file import part_outside
from .image_set import DataInfo, ImageSet, Shard
from .load import from_arrays, load_images, select
from .named import NAMED, bundled_sets, is_name

__all__ = [
    "NAMED",
    "DataInfo",
    "ImageSet",
    "Shard",
    "bundled_sets",
    "from_arrays",
    "is_name",
    "load_images",
    "part_outside",
    "select",
]

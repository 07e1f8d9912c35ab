"""Images from arrays, files, folders, addresses and by name."""

from .hdf5_file import part_outside
from .image_file import centre_crop
from .image_set import DataInfo, FileSource, ImageSet, Shard
from .load import from_arrays, load_images, select
from .named import NAMED, bundled_sets, is_name
from .torch_dataset import from_dataset

__all__ = [
    "NAMED",
    "DataInfo",
    "FileSource",
    "ImageSet",
    "Shard",
    "bundled_sets",
    "centre_crop",
    "from_arrays",
    "from_dataset",
    "is_name",
    "load_images",
    "part_outside",
    "select",
]

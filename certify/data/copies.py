"""Images that are copies of others in their set: they are no independent sample."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

SHARE = 0.05
"""Share of copies up to which nothing is said: many sets have a few, which hardly matter."""


class Copies:
    """Counts the images of a set that equal an earlier one, by a hash of 8 bytes of each.

    Args:
        images: number of images in the set.
    """

    def __init__(self, images: int) -> None:
        self._hashes = np.zeros(images, np.uint64)
        self._seen = 0

    def add(self, image: bytes | memoryview) -> None:
        """Count one image: its pixels, or the content of its file."""
        digest = blake2b(image, digest_size=8).digest()
        self._hashes[self._seen] = int.from_bytes(digest)
        self._seen += 1

    def doubts(self) -> tuple[str, ...]:
        """A doubt if more than a few images are copies."""
        copies = self._seen - len(np.unique(self._hashes[: self._seen]))
        if copies <= SHARE * self._seen:
            return ()
        return (
            f"{copies} of {self._seen} images are copies of another one: intervals and estimates "
            "count them as independent, and so say more than the images show",
        )

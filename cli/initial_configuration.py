"""What a new robcert.toml says: found in the folder and the model, asked, or guessed."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robcert.certify.addresses import is_address
from robcert.certify.core import Norm
from robcert.certify.errors import DataError, InvalidParameterError, RobcertError
from robcert.certify.visible import visible_line

from .shell import names

if TYPE_CHECKING:
    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier

MODELS = (".onnx", ".safetensors")
IMAGES = (".npz", ".npy")
SKIPPED = ("robcert-results", "node_modules", "__pycache__")
"""Folders that are not searched, beside hidden ones."""

GUESSED = "guessed"

EPSILONS = {Norm.LINF: "8/255", Norm.L2: "0.5", Norm.L1: "12"}
"""The default distance of each norm, as text."""

Ask = Callable[[str, Sequence[str]], str]
"""Function of a question and its possible answers, the likeliest first; empty for no answer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the file.

    Attributes:
        key: the key.
        value: its value; None for a key that the user has to fill in.
        comment: where the value is from, or what to do about it.
        off: whether the line is a comment, as a proposal.
    """

    key: str
    value: str | int | list[str] | None
    comment: str = ""
    off: bool = False

    def line(self) -> str:
        """The line of TOML."""
        value = '"…"' if self.value is None else _toml(self.value)
        off = "# " if self.off or self.value is None else ""
        said = f"  # {visible_line(self.comment)}" if self.comment else ""  # names of files
        return f"{off}{self.key} = {value}{said}"


@dataclass(frozen=True, slots=True)
class Search:
    """Where to look, and what the command line gave.

    Attributes:
        folder: the folder of the new file.
        model: model file; None to search it.
        data: images; None to search them.
        ask: asks the user; None where there is nobody to ask.
    """

    folder: Path
    model: Path | None
    data: str | None
    ask: Ask | None

    def proposal(self) -> tuple[Entry, ...]:
        """The keys of the file, in its order.

        Raises:
            RobcertError: the model cannot be loaded, or there are several and none is chosen.
        """
        model, of_model = self._model()
        if model is None:
            of_data = Entry("data", None, "images: a name, a file or a folder")
            return (of_model, of_data, *self._usual(None))
        classifier, output = self._loaded(model)
        images, of_data = self._images(classifier)
        return (
            of_model,
            *output,
            of_data,
            *self._preprocessing(classifier, images),
            *self._usual(images),
            _gates(classifier, images),
        )

    def _model(self) -> tuple[Path | None, Entry]:
        if self.model is not None:
            return self.model, Entry("model", self._relative(self.model))
        found = list(files_of(self.folder, MODELS))
        if not found:
            comment = "no model in this folder: name one; without, the demo model is used"
            return None, Entry("model", None, comment)
        chosen, comment = self._choice("Which model", [self._relative(one) for one in found])
        return self.folder / chosen, Entry("model", chosen, comment)

    def _loaded(self, model: Path) -> tuple[Classifier, tuple[Entry, ...]]:
        """The model, with the key of its output if several could be the class scores."""
        from robcert.certify.errors import AmbiguousOutputError
        from robcert.certify.importer import LoadOptions, load_classifier

        try:
            return load_classifier(model), ()
        except AmbiguousOutputError as error:
            chosen, comment = self._choice("Which output has the class scores", error.choices)
            options = LoadOptions(output=chosen)
            return load_classifier(model, options), (Entry("output", chosen, comment),)

    def _images(self, classifier: Classifier) -> tuple[ImageSet | None, Entry]:
        from robcert.certify.auditing import SessionRequest, default_data
        from robcert.certify.data import load_images

        if self.data is not None:
            images = load_images(self.data)
            images.require_fit(classifier.image_shape, classifier.num_classes)
            named = self.data in names.DATA_SETS or is_address(self.data)
            value = self.data if named else self._relative(Path(self.data))
            return images, Entry("data", value)
        fitting = {self._relative(path): one for path, one in _fitting(self.folder, classifier)}
        if fitting:
            chosen, comment = self._choice("Which images", list(fitting))
            return fitting[chosen], Entry("data", chosen, comment)
        try:
            images = default_data(SessionRequest(), classifier, lambda line: None)
        except DataError:
            size = " x ".join(map(str, classifier.image_shape))
            return None, Entry("data", None, f"images of {size}: a name, a file or a folder")
        return images, Entry("data", images.name, "the images that the model names or that fit")

    def _preprocessing(self, classifier: Classifier, images: ImageSet | None) -> Iterator[Entry]:
        """A preprocessing that is significantly better than what the file says, as a proposal."""
        from robcert.certify.model import better_alternative

        better = None if images is None else better_alternative(classifier, images)
        if better is None:
            return
        said = f"classifies {better.right} of {better.n} images correctly, now {better.now}"
        words = shlex.split(better.options)
        answer = self.ask(f"{better.name} {said}. Use it", ("yes", "no")) if self.ask else ""
        for option, value in zip(words[::2], words[1::2], strict=True):
            yield Entry(option.removeprefix("--"), value, f"{GUESSED}: {said}", answer != "yes")

    def _usual(self, images: ImageSet | None) -> tuple[Entry, ...]:
        """The keys that have a default whatever the model is."""
        norm, comment = Norm.LINF, f"{GUESSED}: linf, l2 or l1"
        if self.ask is not None:
            norm, comment = Norm(self.ask("Which norm of distances", tuple(Norm))), ""
        limit = 100 if images is None else min(100, len(images))
        return (
            Entry("profile", "quick", "standard or thorough for numbers to quote"),
            Entry("norm", str(norm), comment),
            Entry("eps", [EPSILONS[norm]], f"{GUESSED}: distances in pixel units of [0, 1]"),
            Entry("limit", limit, f"{GUESSED}: more images give narrower intervals"),
        )

    def _choice(self, question: str, choices: Sequence[str]) -> tuple[str, str]:
        """One of ``choices`` with a comment: the answer, the only one, or the first."""
        if len(choices) == 1:
            return choices[0], f"{GUESSED}: the only one that was found"
        if self.ask is not None:
            return self.ask(question, choices), ""
        others = ", ".join(choices[1:4]) + (", …" if len(choices) > 4 else "")
        return choices[0], f"{GUESSED}: it could be {others}"

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()


def text_of(entries: Sequence[Entry]) -> str:
    """The file."""
    head = (
        "# Defaults of robcert's options; those on the command line win. Every option of robcert",
        "# audit is a key: robcert audit --help. Paths start from this folder.",
    )
    return "\n".join([*head, "", *(entry.line() for entry in entries), ""])


def files_of(folder: Path, endings: Sequence[str]) -> Iterator[Path]:
    """Files with these endings in ``folder`` and its direct subfolders, sorted."""
    inner = sorted(
        one
        for one in folder.iterdir()
        if one.is_dir() and not one.name.startswith(".") and one.name not in SKIPPED
    )
    for place in (folder, *inner):
        yield from sorted(
            one for one in place.iterdir() if one.suffix.lower() in endings and one.is_file()
        )


def _fitting(folder: Path, classifier: Classifier) -> Iterator[tuple[Path, ImageSet]]:
    """Files of images that the model takes."""
    from robcert.certify.data import load_images

    for path in files_of(folder, IMAGES):
        try:
            images = load_images(path)
            images.require_fit(classifier.image_shape, classifier.num_classes)
        except RobcertError:
            continue
        yield path, images


def _gates(classifier: Classifier, images: ImageSet | None) -> Entry:
    """Gates that need no number from the user, and proposals in the comment."""
    from robcert.certify.model import clean_check

    accuracy = None if images is None else clean_check(classifier, images).accuracy
    more = ["'robust_accuracy >= 0.4'", "'regression from baseline.h5'"]
    if accuracy is not None and accuracy.lower > 0.01:
        more.insert(0, f"'clean_accuracy >= {int(100 * accuracy.lower)}% (point)'")
    return Entry("gates", ["masking == clear", "violations == 0"], f"also: {', '.join(more)}")


def _toml(value: str | int | list[str]) -> str:
    """``value`` in TOML; its basic strings are those of JSON, which also must escape DEL.

    Raises:
        InvalidParameterError: it is the name of a file that is not UTF-8, as all of TOML is.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        message = f"the name {text} is not UTF-8, which a configuration file cannot hold"
        raise InvalidParameterError(message, hint="rename the file") from None
    return re.sub("\x7f", r"\\u007f", text)


def require_new(path: Path, *, overwrite: bool) -> None:
    """Raise if ``path`` exists and may not be replaced.

    Raises:
        InvalidParameterError: it does.
    """
    if path.exists() and not overwrite:
        message = f"{path} exists"
        raise InvalidParameterError(message, hint="edit it, or pass --overwrite")

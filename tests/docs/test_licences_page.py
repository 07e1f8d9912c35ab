"""docs/licences.md lists every dependency with the licence that its metadata states."""

from __future__ import annotations

import tomllib
from importlib.metadata import Distribution, PathDistribution
from typing import TYPE_CHECKING

import pytest
from docs_pages import table_rows, text_of
from licences_page import licence, licences_page, required
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from pathlib import Path

PAGE = text_of("docs/licences.md")


def named(page: str) -> set[str]:
    return {row[0] for row in table_rows(page)[1:]}


def direct() -> set[str]:
    """What pyproject.toml requires here."""
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    needed = [Requirement(text) for text in project["dependencies"]]
    return {
        canonicalize_name(one.name)
        for one in needed
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }


def test_the_page_has_every_package_that_is_required_directly() -> None:
    assert direct() <= named(PAGE)
    assert direct() <= named(licences_page())
    assert "pytest" not in named(licences_page())  # an extra


def test_the_page_states_what_the_installed_packages_state() -> None:
    """Where the installed version is the one of the page; others may have other licences."""
    stated = {row[0]: (row[1], row[2]) for row in table_rows(PAGE)[1:]}
    here = {one.name: (one.found.version, licence(one.found)) for one in required("robcert")}
    same = [name for name in stated.keys() & here if stated[name][0] == here[name][0]]
    assert {name: stated[name] for name in same} == {name: here[name] for name in same}


def test_packages_are_followed_to_those_that_they_need() -> None:
    by = {package.name: package.required_by for package in required("robcert")}
    assert by["numpy"] == "robcert"
    assert by["markupsafe"] == "jinja2"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: other"], "MIT OR Apache-2.0"),
        (["Classifier: License :: OSI Approved :: BSD License"], "BSD License"),
        (["License: 2-clause BSD"], "2-clause BSD"),
        (["License: LicenseRef-NVIDIA-Proprietary", "Classifier: License :: Other"],
         "LicenseRef-NVIDIA-Proprietary"),
        ([f"License: {'long text ' * 20}"], "not stated"),
        ([], "not stated"),
    ],
)  # fmt: skip
def test_a_licence_is_what_the_metadata_states(lines: list[str], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "made-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("\n".join(["Name: made", "Version: 1", *lines]) + "\n")
    found: Distribution = PathDistribution(folder)
    assert licence(found) == said

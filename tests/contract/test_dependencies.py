"""Every package that a server brings with it is listed with its licence, and is free to ship."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.contract.dependencies import NEEDS, closure, licence, table

PAGE = Path("docs/dependencies.md")
PERMISSIVE = re.compile(
    r"MIT(-0|-CMU)?( License)?|MIT No Attribution|Apache(-2\.0| Software License)|0BSD"
    r"|BSD(-[23]-Clause| License)?|3-Clause BSD License|ISC( License \(ISCL\)?)?|PSF-2\.0|Zlib"
    r"|CC0-1\.0|Python Software Foundation License"
)


def test_the_page_lists_what_is_installed() -> None:
    rows = PAGE.read_text("utf-8").split("<!-- table -->")[1].strip()
    listed = {row.split("|")[1].strip() for row in rows.splitlines()[2:]}
    here = {row.split("|")[1].strip() for row in table().splitlines()[2:]}
    assert here == listed, "run python -m tests.contract.dependencies"


@pytest.mark.parametrize("name", sorted(closure(NEEDS["the server with traces"])))
def test_a_package_of_the_server_is_under_a_permissive_licence(name: str) -> None:
    from importlib.metadata import distribution

    told = licence(distribution(name))
    parts = [part.strip(" ()") for part in re.split(r" AND | OR |, ", told)]
    assert all(PERMISSIVE.fullmatch(part) for part in parts), told


def required(extra: str) -> set[str]:
    """The distributions that an extra names, by itself or by others that it names."""
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    found, waiting = set[str](), [extra]
    while waiting:
        for text in project["optional-dependencies"][waiting.pop()]:
            requirement = Requirement(text)
            if requirement.name == "salience":
                waiting.extend(requirement.extras)
            else:
                found.add(requirement.name)
    return found


@pytest.mark.parametrize("extra", ["service", "export"])
def test_on_gpus_an_extra_brings_the_same_and_no_second_runtime(extra: str) -> None:
    """The two runtimes are files of one directory: whichever comes later spoils the other."""
    runtimes = {"onnxruntime"}, {"onnxruntime-gpu"}
    here, there = required(extra), required(f"{extra}-gpu")
    assert (here - there, there - here) == runtimes

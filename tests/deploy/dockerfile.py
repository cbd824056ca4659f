"""Reads the Dockerfile, and builds the environment of its image as it says, without a container."""

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path
from typing import NamedTuple

from tests.deploy.manifests import ROOT

COLLECTOR = ROOT / "deploy" / "collector"
FILE = COLLECTOR / "Dockerfile"
#: Where the image has its environment.
PREFIX = "/opt/inferometer"


class Instruction(NamedTuple):
    """One instruction, with its lines joined."""

    name: str
    text: str


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, its FROM first; those before the first are a stage, too."""
    joined = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", FILE.read_text("utf-8"), flags=re.MULTILINE))
    found: list[list[Instruction]] = [[]]
    for line in filter(str.strip, joined.splitlines()):
        name, _, text = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, text.strip()))
    return found


def texts(stage: int, name: str) -> list[str]:
    """What a stage says under one name."""
    return [text for instruction, text in stages()[stage] if instruction == name]


def environment() -> dict[str, str]:
    """What the last stage sets."""
    (text,) = texts(-1, "ENV")
    return dict(re.findall(r"(\w+)=(\S+)", text))


def build(folder: Path) -> Path:
    """Do what the first stage says, with the interpreter of the tests; returns the environment it makes.

    Its COPY and RUN are carried out to the letter, but for the folders that lie elsewhere.
    """
    base, source, prefix = folder / "base", folder / "src", folder / "inferometer"
    venv.create(base, with_pip=True)
    source.mkdir()
    elsewhere = {PREFIX: str(prefix), "/dist": str(folder / "dist")}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    clean["PATH"] = f"{base / 'bin'}:{clean['PATH']}"
    for name, text in stages()[1]:
        if name == "COPY":
            *froms, into = text.split()
            for path in map(ROOT.joinpath, froms):
                _copy(path, source / into / ("" if path.is_dir() else path.name))
        elif name == "RUN":
            for theirs, ours in elsewhere.items():
                text = text.replace(theirs, ours)  # noqa: PLW2901 - one after the other
            done = subprocess.run(
                ["/bin/sh", "-ec", text], cwd=source, env=clean, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    return prefix


def _copy(path: Path, to: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(path, to)


def healthcheck() -> list[str]:
    """The command of the HEALTHCHECK."""
    (text,) = texts(-1, "HEALTHCHECK")
    command: list[str] = json.loads(text.partition("CMD")[2])
    return command

"""Coverage-guided fuzzing of the trace importer, with atheris: whatever it is given, a trace or a sentence comes out.

    python tests/analyzer/fuzz_kineto.py [-runs=100000] [CORPUS]

Without a corpus it starts from the cases of the robustness matrix.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["analyzer.importers"]):
    from analyzer.importers import _kineto_document, kineto

from collector.errors import UserError
from tests.analyzer.damage import CASES

#: Small pieces, so that short inputs are cut too.
_kineto_document.CHUNK_BYTES = 64


def one_input(data: bytes) -> None:
    """Read it as a text in pieces, whose length is its first byte."""
    length = max(1, data[0]) if data else 1
    try:
        kineto.read(Path("fuzzed"), (data[at : at + length] for at in range(1, len(data), length)))
    except UserError as error:
        if "\n" in str(error):
            raise


def main() -> None:
    """Fuzz until told otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            (Path(folder) / str(number)).write_bytes(b"\x40" + case.content[:4096])
        atheris.Setup([*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

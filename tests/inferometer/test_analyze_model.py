"""The model of a trace on the command line: what its steps must read, and refusals in one sentence."""

import json
from pathlib import Path

import pytest

from inferometer.cli import main

TRACE = Path(__file__).parents[2] / "sample_traces" / "vllm_h200" / "traces" / "single_stream.pt.trace.json.gz"
LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "torch_dtype": "bfloat16",
}  # fmt: skip


def config(folder: Path, **changes: object) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(LLAMA_8B | changes))
    return str(path)


def decode_bytes(capsys: pytest.CaptureFixture[str]) -> float:
    steps = json.loads(capsys.readouterr().out)["roofline"]["steps"]
    return float(next(row["moved_bytes_p50"] for row in steps if row["phase"] == "decode"))


def test_a_model_says_what_each_step_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["analyze", str(TRACE), "--model", config(tmp_path)])
    assert "decode steps: 15.0 GB or more, 63 % of the memory roof" in capsys.readouterr().out

    assert 0 == main(["analyze", str(TRACE), "--model", config(tmp_path), "--format", "json"])
    whole = decode_bytes(capsys)
    assert 0 == main(["analyze", str(TRACE), "--model", config(tmp_path), "--model-gpus", "2", "--format", "json"])
    assert whole / 2 == pytest.approx(decode_bytes(capsys))


@pytest.mark.parametrize("changes", [{"model_type": "t5"}, {"torch_dtype": "int3"}, {"hidden_size": 0}])
def test_a_model_that_is_not_known_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object]
) -> None:
    assert 2 == main(["analyze", str(TRACE), "--model", config(tmp_path, **changes)])

    told = capsys.readouterr()
    assert "" == told.out
    assert "config.json" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000])
def test_a_damaged_trace_of_any_format_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "trace"
    path.write_text(f'[{{"startEnqMs": {content}')

    assert 2 == main(["analyze", str(path)])
    assert "Traceback" not in capsys.readouterr().err

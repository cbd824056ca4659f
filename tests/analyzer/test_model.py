"""What a model's config.json says a step must read: Llama-3.1-8B by hand, experts, quantisation, and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.model import Model, load_model
from collector.errors import UserError

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "torch_dtype": "bfloat16",
}  # fmt: skip
MIXTRAL = LLAMA_8B | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000}


def load(folder: Path, config: object) -> Model:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return load_model(path)


def test_a_decode_step_reads_the_weights_without_the_embedding(tmp_path: Path) -> None:
    model = load(tmp_path, LLAMA_8B)

    assert 131_072 == model.kv_bytes_per_token
    assert model.step_bytes(1, None) == pytest.approx(15.01e9, rel=1e-3)
    assert model.step_bytes(32, 12_000) == pytest.approx(15.01e9 + 1.57e9, rel=1e-3)
    assert model.step_flops(32, 32) == pytest.approx(32 * 2 * 7.504e9, rel=1e-3)


def test_of_experts_only_those_of_one_token_count(tmp_path: Path) -> None:
    model = load(tmp_path, MIXTRAL)

    expert = 3 * 4096 * 14336
    attention = 2 * 4096 * 128 * (32 + 8)
    assert 32 * (attention + 2 * expert + 4096 * 8) == model.active_parameters


def test_layers_without_experts_are_counted_as_dense(tmp_path: Path) -> None:
    config = MIXTRAL | {
        "model_type": "qwen2_moe",
        "num_experts": 8,
        "moe_intermediate_size": 1408,
        "mlp_only_layers": [3],
    }
    all_sparse = load(tmp_path, config | {"mlp_only_layers": []})
    one_dense = load(tmp_path, config)

    difference = 3 * 4096 * 14336 - (2 * 3 * 4096 * 1408 + 4096 * 8)
    assert difference == one_dense.active_parameters - all_sparse.active_parameters


@pytest.mark.parametrize(
    ("scheme", "weight_bytes", "dtype"),
    [
        ({"quant_method": "fp8"}, 1, "fp8"),
        ({"quant_method": "gptq", "bits": 4}, 0.5, "bf16"),
        ({"quant_method": "awq", "bits": 4}, 0.5, "bf16"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 0.5, "bf16"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {"weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8}}
                },
            },
            1,
            "int8",
        ),
    ],
)
def test_quantised_weights_are_fewer_bytes_and_the_head_is_not(
    tmp_path: Path, scheme: dict[str, Any], weight_bytes: float, dtype: str
) -> None:
    model = load(tmp_path, LLAMA_8B | {"quantization_config": scheme})

    assert (weight_bytes, dtype, 2) == (model.weight_bytes, model.dtype, model.head_bytes)


def test_a_window_hides_how_much_of_the_context_is_read(tmp_path: Path) -> None:
    model = load(tmp_path, LLAMA_8B | {"model_type": "mistral", "sliding_window": 4096})

    assert model.step_bytes(1, None) == model.step_bytes(1, 100_000)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({}, "None"),
        ([1], "no config.json"),
        (LLAMA_8B | {"hidden_size": "many"}, "hidden_size"),
        (LLAMA_8B | {"hidden_size": -1}, "hidden -1"),
        (LLAMA_8B | {"torch_dtype": None}, "type of the weights"),
        (LLAMA_8B | {"quantization_config": {"quant_method": "vq"}}, "vq"),
        (LLAMA_8B | {"quantization_config": {"quant_method": "gptq", "bits": 5}}, "gptq"),
        (MIXTRAL | {"num_experts_per_tok": 9}, "experts"),
    ],
)
def test_what_is_not_known_is_refused_in_one_sentence(tmp_path: Path, config: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(tmp_path, config)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path / "nowhere.json")
    (tmp_path / "large.json").write_bytes(b" " * (1 << 21))
    with pytest.raises(UserError, match="larger than any"):
        load_model(tmp_path / "large.json")


@given(
    st.dictionaries(
        st.sampled_from(sorted({*MIXTRAL, "head_dim", "quantization_config"})),
        st.integers() | st.text(max_size=5) | st.none() | st.dictionaries(st.text(), st.integers()),
    )
)
def test_any_config_is_a_model_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> None:
    try:
        model = load(tmp_path_factory.getbasetemp(), MIXTRAL | changes)
    except UserError:
        return
    assert model.step_bytes(1, None) > 0

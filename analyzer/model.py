"""What a decoder model costs a step at the least: weights to read, keys and values to read, operations to do.

Read from the ``config.json`` that Hugging Face models carry. Known are dense decoders with grouped-query attention
and gated MLPs (Llama, Mistral, Qwen 2 and 3), and the same with experts (Mixtral, Qwen 2 and 3 MoE).

Every figure is a lower bound: norms, biases, scales of quantised weights and activations are left out, and of a
model's experts only as many count as one token is sent to, since all tokens of a step may choose the same.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from collector.errors import UserError

#: A config is a few kB.
MAX_BYTES = 1 << 20

_DENSE = ("llama", "mistral", "qwen2", "qwen3")
_EXPERTS = ("mixtral", "qwen2_moe", "qwen3_moe")
_FLOATS = {"bfloat16": (2.0, "bf16"), "float16": (2.0, "fp16"), "float32": (4.0, "fp32")}


@dataclass(frozen=True, kw_only=True)
class Model:
    """The sizes of one model that a step depends on."""

    name: str
    #: Parameters of linear layers that a token passes, of all layers together, without the output projection.
    active_parameters: int
    #: Bytes of one of them, and what their products are computed in.
    weight_bytes: float
    dtype: str
    #: Parameters of the output projection, which engines leave in the model's own type.
    head_parameters: int
    head_bytes: float
    #: Bytes of keys and values one token leaves behind in all layers.
    kv_bytes_per_token: float
    #: Tokens that attention looks back on at most; None where on all.
    window_tokens: int | None
    #: GPUs that share each layer; None where nobody said.
    gpus: int | None = None

    def step_bytes(self, generation: float, cached_tokens: float | None) -> float:
        """Bytes that a step reads at the least on each GPU.

        Args:
            generation: Requests that generate; without any the output projection may be left out.
            cached_tokens: Tokens of context that are attended to, over all requests; None where not known.
        """
        head = self.head_parameters * self.head_bytes if generation else 0.0
        known = cached_tokens if cached_tokens is not None and self.window_tokens is None else generation
        return (self.active_parameters * self.weight_bytes + head + known * self.kv_bytes_per_token) / (self.gpus or 1)

    def step_flops(self, tokens: float, generation: float) -> float:
        """Operations of a step's matrix products on each GPU; attention comes on top."""
        return 2.0 * (self.active_parameters * tokens + self.head_parameters * generation) / (self.gpus or 1)


class _Config(msgspec.Struct):
    """The part of a ``config.json`` that is used; older and newer names side by side."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    torch_dtype: str | None = None
    dtype: str | None = None
    quantization_config: dict[str, Any] | None = None
    sliding_window: int | None = None
    use_sliding_window: bool = True
    num_local_experts: int | None = None
    num_experts: int | None = None
    num_experts_per_tok: int | None = None
    moe_intermediate_size: int | None = None
    shared_expert_intermediate_size: int = 0
    decoder_sparse_step: int = 1
    mlp_only_layers: list[int] = []
    name: str | None = msgspec.field(default=None, name="_name_or_path")


class _Kind(msgspec.Struct):
    """What is looked at before anything else."""

    model_type: str | None = None


def load_model(path: Path, gpus: int | None = None) -> Model:
    """Read a model's sizes from its ``config.json``.

    Args:
        path: The file.
        gpus: GPUs that share each layer (tensor parallelism), where that is known.

    Raises:
        UserError: It cannot be read, is no such file, or describes a model that is not known here.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(text) > MAX_BYTES:
        raise UserError(f"{path} is larger than any config.json: name the one of the model")
    try:
        kind = msgspec.json.decode(text, type=_Kind).model_type
        if kind not in _DENSE + _EXPERTS:
            known = ", ".join(_DENSE + _EXPERTS)
            raise UserError(f"{path} describes a model of type “{str(kind)[:40]}”; this version knows {known}")
        config = msgspec.json.decode(text, type=_Config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no config.json of a model: {str(error)[:200]}") from error
    return replace(_model(config, path), gpus=gpus)


def _model(config: _Config, path: Path) -> Model:
    sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size)
    if not all(0 < size <= _MOST for size in (*sizes, config.vocab_size)):
        raise UserError(
            f"{path} gives a size that no model has: hidden {sizes[0]}, layers {sizes[1]}, heads {sizes[2]}"
        )
    head_dim = config.head_dim or config.hidden_size // config.num_attention_heads
    kv_heads = config.num_key_value_heads or config.num_attention_heads
    named = (config.torch_dtype or config.dtype or "none").removeprefix("torch.")
    if named not in _FLOATS:
        raise UserError(f"{path} must name the type of the weights, one of {', '.join(_FLOATS)}: it says {named[:20]}")
    if not 0 < head_dim <= _MOST or not 0 < kv_heads <= _MOST:
        raise UserError(f"{path} gives a size that no model has: heads of {head_dim}, {kv_heads} for keys")
    float_bytes, dtype = _FLOATS[named]
    weight_bytes, computed = _quantised(config.quantization_config, float_bytes, dtype, path)
    attention = 2 * config.hidden_size * head_dim * (config.num_attention_heads + kv_heads)
    return Model(
        name=str(config.name or config.model_type)[-80:],
        active_parameters=config.num_hidden_layers * attention + _mlp_parameters(config, path),
        weight_bytes=weight_bytes,
        dtype=computed,
        head_parameters=config.hidden_size * config.vocab_size,
        head_bytes=float_bytes,
        kv_bytes_per_token=2.0 * config.num_hidden_layers * kv_heads * head_dim * _kv_bytes(config, float_bytes),
        window_tokens=config.sliding_window if config.use_sliding_window else None,
    )


#: No size of a model is larger.
_MOST = 1 << 24


def _mlp_parameters(config: _Config, path: Path) -> int:
    """Parameters of the MLPs that one token passes: three matrices a gated MLP, and the router of experts."""
    dense = 3 * config.hidden_size * config.intermediate_size
    if config.model_type in _DENSE:
        return config.num_hidden_layers * dense
    experts, chosen = config.num_local_experts or config.num_experts, config.num_experts_per_tok
    width = config.moe_intermediate_size or config.intermediate_size
    every = config.decoder_sparse_step
    if not experts or not chosen or not 0 < chosen <= experts <= _MOST or not 0 < width <= _MOST or every < 1:
        raise UserError(f"{path} does not say how many experts there are, and to how many a token is sent")
    sparse = sum(
        (layer + 1) % every == 0 and layer not in config.mlp_only_layers for layer in range(config.num_hidden_layers)
    )
    shared = 3 * config.hidden_size * max(0, config.shared_expert_intermediate_size)
    one = chosen * 3 * config.hidden_size * width + shared + config.hidden_size * experts
    return sparse * one + (config.num_hidden_layers - sparse) * dense


def _quantised(scheme: dict[str, Any] | None, float_bytes: float, dtype: str, path: Path) -> tuple[float, str]:
    """Bytes of a weight, and what its products are computed in."""
    if not scheme:
        return float_bytes, dtype
    method = str(scheme.get("quant_method") or scheme.get("quant_algo") or "").lower()
    bits: object = None
    computed: Literal["fp8", "int8"] | None = None
    if method in ("fp8", "fbgemm_fp8"):
        bits, computed = 8, "fp8"
    elif method in ("gptq", "awq", "auto-round"):
        bits = scheme.get("bits") or scheme.get("w_bit")
    elif method == "bitsandbytes":
        bits = 4 if scheme.get("load_in_4bit") else 8 if scheme.get("load_in_8bit") else None
    elif method in ("compressed-tensors", "modelopt"):
        bits, computed = _grouped(scheme)
    if not isinstance(bits, int) or bits not in (2, 3, 4, 8):
        raise UserError(f"{path} names a quantisation whose bytes a weight are not known here: “{method[:40]}”")
    return bits / 8, computed or dtype


def _grouped(scheme: dict[str, Any]) -> tuple[object, Literal["fp8", "int8"] | None]:
    """Bits of a weight in a scheme of one group, and what products are computed in where activations have 8 bits."""
    groups = scheme.get("config_groups")
    held = [group for group in groups.values() if isinstance(group, dict)] if isinstance(groups, dict) else []
    found = [group["weights"] for group in held if isinstance(group.get("weights"), dict)]
    bits = [weights.get("num_bits") for weights in found]
    if len(found) != 1:
        return None, None
    inputs = held[0].get("input_activations")
    kind = found[0].get("type")
    if isinstance(inputs, dict) and inputs.get("num_bits") == bits[0] == 8:  # noqa: PLR2004 - a byte
        return bits[0], "fp8" if kind == "float" else "int8"
    return bits[0], None


def _kv_bytes(config: _Config, float_bytes: float) -> float:
    """Bytes of a cached key's element: the model's own type unless its quantisation says otherwise."""
    scheme = (config.quantization_config or {}).get("kv_cache_scheme")
    bits = scheme.get("num_bits") if isinstance(scheme, dict) else None
    return bits / 8 if isinstance(bits, int) and 0 < bits <= 8 * float_bytes else float_bytes

"""What the library transformers makes of RoPE's rules at the sizes of five models: writes rope_of_transformers.json.

    pip install transformers && python tests/rope_of_transformers.py

The course doesn't depend on transformers; its tests read the file, which says the version that it was made with.
"""

import json
from importlib.metadata import version
from pathlib import Path

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

# head_dim, base, tokens of a training text, factor, and whether the ends of YaRN's ramp are rounded
SIZES = {
    "LLaMA, 2K to 128K": (128, 10_000.0, 2_048, 64.0, True),
    "Llama 2, 4K to 128K": (128, 10_000.0, 4_096, 32.0, True),
    "DeepSeek-V3": (64, 10_000.0, 4_096, 40.0, True),
    "Qwen2.5": (128, 1_000_000.0, 32_768, 4.0, True),
    "gpt-oss": (64, 150_000.0, 4_096, 32.0, False),
    "Llama 3.1": (128, 500_000.0, 8_192, 8.0, True),
}


def frequencies(rule: str, head_dim: int, base: float, length: int, factor: float, **more) -> dict:
    """What a rule of transformers gives; "dynamic" for a text of `factor` times the length, so that it is NTK by it."""
    given = {"rope_type": rule, "rope_theta": base, "original_max_position_embeddings": length, "factor": factor}
    if rule == "dynamic":
        given["factor"] = 1.0
    config = LlamaConfig(
        head_dim=head_dim, hidden_size=head_dim, num_attention_heads=1, max_position_embeddings=length,
        rope_parameters=given | more,
    )  # fmt: skip
    made, attention_factor = ROPE_INIT_FUNCTIONS[rule](config, "cpu", seq_len=int(factor * length))
    return {"frequencies": made.tolist(), "attention_factor": attention_factor}


def main() -> None:
    found = []
    for model, (*size, truncate) in SIZES.items():
        llama3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        for rule, more in {"linear": {}, "dynamic": {}, "yarn": {"truncate": truncate}, "llama3": llama3}.items():
            head_dim, base, length, factor = size
            made = frequencies(rule, *size, **more)
            found.append({"model": model, "rule": rule, "head_dim": head_dim, "base": base, "length": length,
                          "factor": factor, "truncate": truncate, **made})  # fmt: skip
    text = json.dumps({"transformers": version("transformers"), "found": found}, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main()

"""What the library transformers makes of the gated delta rule and of KDA: writes gated_delta_of_transformers.json.

    pip install transformers && python tests/gated_delta_of_transformers.py

The course doesn't depend on transformers; its tests read the file, which says the version that it was made with. The
functions are those that run where no kernel is installed: Qwen3-Next's in chunks and token by token, Kimi Linear's too.
They compute in float32, take (batch, n, heads, d), bring q and k to length 1, and divide q by the root of d.
"""

import json
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from transformers.models.kimi_linear.modeling_kimi_linear import (
    chunk_kimi_delta_attention,
    recurrent_kimi_delta_attention,
)
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule,
    torch_recurrent_gated_delta_rule,
)

CHUNK = 4
BATCH, HEADS, TOKENS, D_KEY, D_VALUE = 2, 2, 11, 4, 3
FUNCTIONS = {
    "gated": {"in chunks": torch_chunk_gated_delta_rule, "token by token": torch_recurrent_gated_delta_rule},
    "channel": {"in chunks": chunk_kimi_delta_attention, "token by token": recurrent_kimi_delta_attention},
}


def given(rule: str) -> dict[str, Tensor]:
    """What goes in: gates of mixed sizes, of which some forget nearly all."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(BATCH, TOKENS, HEADS, *shape, generator=generator)  # noqa: E731
    gates = draw(D_KEY) if rule == "channel" else draw()
    return {
        "query": draw(D_KEY), "key": draw(D_KEY), "value": draw(D_VALUE), "g": -(2 * gates).exp() / 4,
        "beta": 2 * draw().sigmoid(), "initial_state": torch.randn(BATCH, HEADS, D_KEY, D_VALUE, generator=generator),
    }  # fmt: skip


def main() -> None:
    found = {}
    for rule, functions in FUNCTIONS.items():
        tensors = given(rule)
        made = {}
        for name, function in functions.items():
            chunk = {"chunk_size": CHUNK} if name == "in chunks" else {}
            out, state = function(**tensors, **chunk, output_final_state=True, use_qk_l2norm_in_kernel=True)
            made[name] = {"out": out.tolist(), "state": state.tolist()}
        found[rule] = {"given": {name: each.tolist() for name, each in tensors.items()}, "made": made}
    text = json.dumps({"transformers": version("transformers"), "found": found})
    Path(__file__).with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main()

"""The passkey under every rule of position: a model of 512 tokens is asked at 1,024, without training.

The model is `infini-full`. Every rule gets the same prompts, PROMPTS at each depth, so that rules can be compared
prompt by prompt. Writes positions-passkey.json, with the hash of the weights that were asked.
"""

from pathlib import Path
from typing import Any

import torch

from solutions import passkey
from solutions.checkpoints import about, load, note
from solutions.positions import extend, rope_frequencies, yarn_temperature

ASKED = "infini-full"
OLD, NEW = 512, 1024  # tokens: in training, and then
PROMPTS, DEPTHS = 100, (0.0, 0.5, 1.0)
AT_ONCE = 10  # prompts that are read side by side
BY_TURNS: dict[str, Any] = {"scaling": "by-parts", "original_length": OLD}
RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "linear": {"scaling": "linear"},
    "ntk": {"scaling": "ntk"},
    "turns 1": {**BY_TURNS, "beta": 1.0001},
    "turns 32": BY_TURNS,
    "yarn index 32": {**BY_TURNS, "scaling": "yarn", "ramp": "index"},
}


def ask(model, rule: str, asked: list[passkey.Prompts]) -> dict:
    """Share of the digits and number of whole keys found, by depth, and of each prompt whether its key was found."""
    scaling, base, head = RULES[rule], model.config.rope_base, model.config.width // model.config.heads
    factor = {"factor": NEW / OLD} if scaling else {}
    temperature = yarn_temperature(NEW / OLD) if scaling.get("scaling") == "yarn" else 1.0
    mended = extend(model, rope_frequencies(head, base, **scaling, **factor), temperature)
    written = [
        torch.cat([passkey.find(mended, some, show=False).digits for some in each.tokens.split(AT_ONCE)])
        for each in asked
    ]
    right = [digits == each.key for digits, each in zip(written, asked, strict=True)]
    whole = [each.all(dim=1) for each in right]
    return {
        "rule": rule,
        "digits": [round(float(each.float().mean()), 4) for each in right],
        "whole": [int(each.sum()) for each in whole],
        "found": ["".join("01"[found] for found in each.tolist()) for each in whole],
    }


def make(folder: Path) -> None:
    """Ask under every rule: two and a half minutes on one free thread."""
    model, generator = load(ASKED), torch.Generator().manual_seed(6)
    asked = [passkey.prompts(PROMPTS, NEW, generator, depth=depth) for depth in DEPTHS]
    rows = []
    for rule in RULES:
        rows.append(ask(model, rule, asked))
        told = ", ".join(f"{digits:.0%}" for digits in rows[-1]["digits"])
        print(f"{rule:13} digits {told}; whole keys {rows[-1]['whole']} of {PROMPTS}", flush=True)
    settings = {"tokens": NEW, "trained_on": OLD, "prompts": PROMPTS, "depths": DEPTHS, "rules": RULES}
    asked_model = {"name": ASKED, "sha256": about(ASKED)["sha256"], "steps": about(ASKED)["result"]["steps"]}
    note("positions-passkey", folder, recipe="positions-passkey", settings=settings, model=asked_model, rows=rows)

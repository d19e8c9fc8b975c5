"""The gated delta rule on harder haystacks: two layers, trained on at most 512 tokens at a time.

    prose           one key in prose
    last-of-three   a key that is said three times with other digits, of which the last are right, in the sentences
    four-keys       four keys with labels, of which one is asked, in the sentences

Prompts grow as in the passkey recipe, and segments of filler alone count up to 2,048 times: as 2^j readings of a chunk,
which are j products of matrices. What sets decay and write strength has no weight decay. four-keys has neither norm nor
gate behind the memory, and a wider convolution. Writes gated-NAME.json and gated-NAME.safetensors.
"""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solutions import passkey
from solutions.checkpoints import Draft, round_weights, save
from solutions.checkpoints.infini import HEADS, LEARNING_RATE, WIDTH, begun, chunks, fresh, lesson, score, told_as
from solutions.tiny import Config, TinyTransformer, train

BATCH, EVERY = 16, 10
SHOWN = (512, 8192)
TASKS: dict[str, dict[str, Any]] = {  # steps; until which share of them the rate is full; the layer; the prompts
    "prose": {"steps": 350, "full_rate": 0.6, "options": {}, "prompt": {"filler": "prose"}},
    "last-of-three": {"steps": 450, "full_rate": 0.6, "options": {}, "prompt": {"times_said": 3}},
    "four-keys": {
        "steps": 1500, "full_rate": 0.6, "options": {"conv": 8, "norm": False, "gate": False}, "prompt": {"keys": 4}
    },
}  # fmt: skip


def config(seed: int, vocabulary: int = passkey.VOCABULARY, **options) -> Config:
    """A model that reads prompts. options: of its layers, such as rule="delta"."""
    return Config(
        vocabulary, ("gated_delta",) * 2, width=WIDTH, heads=HEADS, seed=seed, previous_token=False,
        options={"gated_delta": options} if options else {},
    )  # fmt: skip


def groups(model: TinyTransformer) -> list[dict]:
    """The weights, and without weight decay what sets how much is forgotten and written."""
    named = dict(model.named_parameters())
    free = [named.pop(name) for name in list(named) if "to_g." in name or "to_b." in name]
    return [{"params": list(named.values())}, {"params": free, "weight_decay": 0.0}]


def train_one(
    task: str,
    seed: int,
    *,
    steps: int | None = None,
    powers: bool = True,
    label: str | None = None,
    folder: Path | None = None,
    **options,
) -> tuple[TinyTransformer, dict]:
    """A trained model of a task, and how it went. Filler counts once with powers=False.

    steps: None for as many as TASKS says; options: of its layers, beside the task's
    folder: where a draft is kept, from which an interrupted run goes on; None for none
    """
    given = TASKS[task]
    steps, prompt = steps or given["steps"], dict(given["prompt"])
    text = passkey.prose() if prompt.get("filler") == "prose" else None
    if text:
        prompt["filler"] = text.training
    model = fresh(config(seed, text.vocabulary if text else passkey.VOCABULARY, **{**given["options"], **options}))
    told = begun()
    name = label or f"gated-{task}"
    draft = Draft(name, folder, told=told) if folder else None
    began, cpu_began = time.perf_counter(), time.process_time()

    def loss(model: nn.Module, step: int) -> Tensor:
        assert isinstance(model, TinyTransformer)
        return lesson(model, step, told, BATCH, powers, **prompt)

    def show() -> dict[str, str]:
        lately = told["right"][-20:]
        return {"digits": f"{sum(lately) / len(lately):.2f}", "segments": str(told["most"])}

    losses = train(
        model, loss, steps=steps, learning_rate=LEARNING_RATE, warm_up=30, full_rate=given["full_rate"],
        betas=(0.9, 0.98), groups=groups(model), label=f"{name}, seed {seed}", show=show, draft=draft,
    )  # fmt: skip
    if draft:
        draft.done()
    round_weights(model)
    return model, {
        "task": task,
        "seed": seed,
        "steps": steps,
        "powers": powers,
        "prompt": {name: told_as(value) for name, value in prompt.items()},
        **({"words": text.words} if text else {}),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu_began, 1),
        "tokens": told["tokens"],
        "segments": told["most"],
        "losses": [round(value, 4) for value in losses[::EVERY]],
        "right": [round(sum(part) / len(part), 4) for part in chunks(told["right"], EVERY)],
    }


def tried_on(result: dict) -> dict:
    """What the prompts are like on which a model is tried: as in its training, prose it never saw in place of that."""
    prompt = dict(TASKS[result["task"]]["prompt"])
    return {**prompt, "filler": passkey.prose(result["words"]).other} if "words" in result else prompt


def make(folder: Path) -> None:
    """Train one model of each task: about 7 minutes on one thread."""
    for task in TASKS:
        model, result = train_one(task, seed=0, folder=folder)
        save(model, f"gated-{task}", folder, recipe="gated", result=result)
        for n in SHOWN:
            made = passkey.prompts(10, n, torch.Generator().manual_seed(n), depth=0.5, **tried_on(result))
            found = passkey.find(model, made.tokens)
            print(
                f"{task}, {n:6,} tokens: {score(found.digits, made.key):4.0%} of the digits; "
                f"state {found.state_bytes:,} bytes"
            )

"""The passkey model: Infini-attention, two layers, trained on at most 512 tokens at a time.

What training sees: prompts of 2 to 8 segments of 64 tokens, more as it gets better, with five digits to find. Once they
are longer than two segments, segments of filler alone are written to the memory as if they came up to 3,000 times: the
model meets the memories of long streams, though it never reads one. With simulate=False it does not. Gates have a rate
of their own, ten times that of the weights, and no decay. Writes infini.json and infini.safetensors.
"""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from solutions import passkey
from solutions.checkpoints import Draft, round_weights, save
from solutions.infini import gates
from solutions.tiny import Config, TinyTransformer, train

SEGMENT, WIDTH, HEADS, ROPE_BASE = 64, 64, 2, 1000.0
BATCH, STEPS, LEARNING_RATE, GATE_RATE = 32, 1500, 3e-3, 3e-2
FEWEST, MOST = 2, 8  # segments of a prompt: at first at most FEWEST, in the end MOST
GOOD, LATELY = 0.9, 20  # two segments more when the mean of the last LATELY steps is better than GOOD
EVERY = 10  # steps between two notes of the gates
SHOWN = (2048, 32_768)  # tokens of the prompts that are tried in the end


def config(seed: int, layers: tuple[str, ...] = ("infini",) * 2, **options) -> Config:
    """A model that reads prompts. options: of its attentions, beside the segment, such as infini={"rule": "delta"}."""
    segments = {name: {"segment": SEGMENT, **options.get(name, {})} for name in {*layers} - {"window", "full"}}
    return Config(
        passkey.VOCABULARY, layers, width=WIDTH, heads=HEADS, rope_base=ROPE_BASE, rope_share=1.0, seed=seed,
        previous_token=False, options={**options, **segments},
    )  # fmt: skip


def fresh(config: Config) -> TinyTransformer:
    """A model to train, whose tokens begin three times as far apart as elsewhere: the memory has to tell them apart."""
    model = TinyTransformer(config)
    with torch.no_grad():
        model.embedding.weight.mul_(3)
    return model


def groups(model: TinyTransformer, gate_rate: float = GATE_RATE, gate_decay: float = 0.0) -> list[dict]:
    """The weights, and the gates with a rate and a decay of their own."""
    named = dict(model.named_parameters())
    betas = [named.pop(name) for name in list(named) if name.endswith("beta")]
    return [{"params": list(named.values())}, {"params": betas, "lr": gate_rate, "weight_decay": gate_decay}]


def train_one(
    model: TinyTransformer,
    *,
    steps: int = STEPS,
    simulate: bool = True,
    gate_rate: float = GATE_RATE,
    gate_decay: float = 0.0,
    label: str = "infini",
    folder: Path | None = None,
    **prompt,
) -> dict:
    """Train a model on prompts, in place, and say how it went.

    folder: where a draft is kept, from which an interrupted run goes on; None for none
    prompt: what the prompts are like, as in `passkey.prompts`
    """
    seed, has_gates = model.config.seed, "infini" in model.config.layers
    told: dict[str, Any] = {**begun(), "gates": [], "seconds": 0.0}
    draft = Draft(label, folder, told=told) if folder else None
    began, cpu_began = time.perf_counter(), time.process_time()

    def loss(model: TinyTransformer, step: int) -> Tensor:
        if has_gates and step % EVERY == 0:
            told["gates"].append([[round(share, 4) for share in layer] for layer in gates(model).tolist()])
        return lesson(model, step, told, BATCH, simulate and has_gates, **prompt)

    def show() -> dict[str, str]:
        lately = told["right"][-LATELY:]
        shown = {"digits": f"{sum(lately) / len(lately):.2f}", "segments": str(told["most"])}
        if has_gates:
            shown["gates"] = " ".join(f"{share:.2f}" for share in gates(model).flatten().tolist())
        return shown

    losses = train(
        model, loss, steps=steps, learning_rate=LEARNING_RATE, warm_up=30, full_rate=0.6, betas=(0.9, 0.98),
        groups=groups(model, gate_rate, gate_decay), label=f"{label}, seed {seed}", show=show, draft=draft,
    )  # fmt: skip
    if draft:
        draft.done()
    round_weights(model)
    return {
        "seed": seed,
        "steps": steps,
        "simulate": simulate,
        "gate_rate": gate_rate,
        "gate_decay": gate_decay,
        **({"prompt": {name: told_as(value) for name, value in prompt.items()}} if prompt else {}),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu_began, 1),
        "segments": told["most"],
        "losses": [round(value, 4) for value in losses[::EVERY]],
        "right": [round(sum(part) / len(part), 4) for part in chunks(told["right"], EVERY)],
        **({"gates": told["gates"], "gates_at_the_end": gates(model).tolist()} if has_gates else {}),
    }


def begun() -> dict[str, Any]:
    """What a run keeps of itself: the share of digits of each step, the segments it has come to, and since when."""
    return {"right": [], "most": FEWEST, "since": 0, "tokens": 0}


def lesson(model: TinyTransformer, step: int, told: dict, batch: int, simulate: bool, **prompt) -> Tensor:
    """One step's loss, on prompts as long as the model is good for; told: see `begun`."""
    lately = told["right"][told["since"] :][-LATELY:]
    if len(lately) == LATELY and sum(lately) / LATELY > GOOD and told["most"] < MOST:
        told["most"], told["since"] = told["most"] + 2, step
    generator = torch.Generator().manual_seed(1_000_003 * model.config.seed + step)
    segments = int(torch.randint(FEWEST, told["most"] + 1, (), generator=generator))
    simulate = simulate and told["most"] > FEWEST
    made = passkey.training_batch(batch, segments, SEGMENT, generator, simulate=simulate, **prompt)
    value, right = passkey.loss(model, made)
    told["right"].append(round(right, 4))
    told["tokens"] += made.tokens.numel()
    return value


def told_as(setting: str | int | Tensor) -> str | int:
    return f"a text of {len(setting):,} tokens" if isinstance(setting, Tensor) else setting


def chunks(values: list, size: int) -> list[list]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def make(folder: Path) -> None:
    """Train the model: about 3 minutes on one thread."""
    model = fresh(config(seed=0))
    result = train_one(model, folder=folder)
    save(model, "infini", folder, recipe="infini", result=result)
    for n in SHOWN:
        for depth in (0.0, 0.5, 1.0):
            made = passkey.prompts(10, n, torch.Generator().manual_seed(n), depth=depth)
            found = passkey.find(model, made.tokens)
            right, without = (score(digits, made.key) for digits in (found.digits, found.without_memory))
            print(
                f"{n:6,} tokens, depth {depth:.1f}: {right:4.0%} of the digits, {without:4.0%} with the memory "
                f"emptied; state {found.state_bytes:,} bytes"
            )


def score(digits: Tensor, key: Tensor) -> float:
    """The share of digits that are right."""
    return (digits == key).float().mean().item()

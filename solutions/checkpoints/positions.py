"""The trained comparison of positions: one model that knows 128 positions, read at 1,024 under every rule.

The model copies symbols from an exact number of tokens back, at most 31: what it needs is never far, only the positions
are new. Loss by position is measured under every rule without training, by parts with every bound of BOUNDS, over
turns and over the index, with the temperature and without it; under some at 4,096 tokens too; and under the rules of
TUNED after 10 and 100 steps at the new length. Then lags of 200 and 600, which did not fit into the old length, are
learnt. Writes positions.json with every run, and beside it the weights of one seed.
"""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from solutions import streams
from solutions.checkpoints import round_weights, save
from solutions.positions import (
    FAR_LAGS,
    LAGS,
    RAMPS,
    SYMBOLS,
    VOCABULARY,
    copied_from,
    exact_lags,
    extend,
    loss_by_position,
    rope_frequencies,
    yarn_temperature,
)
from solutions.tiny import Config, TinyTransformer, train

SEEDS = (0, 1, 2)
LAYERS, WIDTH, HEADS, BASE = 2, 64, 2, 10_000.0
OLD, NEW = 128, 1024  # tokens of a text: in training, and then
BATCH, STEPS = 32, 400
TUNE_STEPS, TUNE_BATCH, TUNE_RATE = (10, 100), 2, 1e-3
FAR_STEPS, FAR_EVERY, FAR_BATCH, FAR_RATE, FAR_SHARE = 150, 10, 4, 3e-3, 0.5
TEST = 32  # texts that no model was trained on
EDGES = [128, 192, 256, 512, 1024]
LONG, LONG_TEST, LONG_EDGES = 4096, 4, [128, 512, 1024, 2048, 4096]
FARTHEST = 400  # tokens back, in which to look for what a model copies

BOUNDS = (1, 2, 3, 4, 8, 32)  # a pair that turns so often is kept; those between 1 and the bound are blended
JUST_ABOVE = 1.0001  # for a bound of 1: what turned is kept, what did not is divided, and nothing is between


def by_parts_of(scaling: str, bound: int, ramp: str) -> dict:
    """The settings of a rule by parts, or of YaRN, which is the same with its temperature."""
    return {"scaling": scaling, "beta": max(bound, JUST_ABOVE), "ramp": ramp, "original_length": OLD}


RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "linear": {"scaling": "linear"},
    "ntk": {"scaling": "ntk"},
    "abf": {"base": 50 * BASE},
    **{
        f"{name}{ramp} {bound}": by_parts_of(scaling, bound, ramp)
        for name, scaling in (("", "by-parts"), ("yarn ", "yarn"))
        for ramp in RAMPS
        for bound in BOUNDS
        if (ramp, bound) != ("index", 1)  # rounded outwards to two neighbours, which is "turns 1" again
    },
}
TUNED = ("none", "linear", "ntk", "abf", "turns 1", "turns 4", "turns 32", "yarn index 32")
LONG_RULES = (
    "none", "turns 1", "turns 2", "turns 3", "turns 4", "turns 32", "index 4", "yarn turns 1", "yarn index 4",
    "yarn index 32",
)  # fmt: skip
FAR_RULES = ("none", "turns 1", "turns 2", "turns 4")


def config(seed: int) -> Config:
    """The model: rotation is all it knows of positions, in every entry of its heads."""
    return Config(
        VOCABULARY, ("full",) * LAYERS, width=WIDTH, heads=HEADS, rope_base=BASE, rope_share=1.0, previous_token=False,
        seed=seed,
    )  # fmt: skip


def under(rule: str, model: TinyTransformer, new: int = NEW) -> TinyTransformer:
    """A copy of the model for texts of `new` tokens, with a rule's frequencies and its temperature."""
    given: dict[str, Any] = {"base": BASE, **RULES[rule]}
    if "scaling" in given:
        given["factor"] = new / OLD
    temperature = yarn_temperature(new / OLD) if given.get("scaling") == "yarn" else 1.0
    return extend(model, rope_frequencies(WIDTH // HEADS, **given), temperature)


def train_one(seed: int) -> tuple[TinyTransformer, dict]:
    """One model, trained at the old length, and how it went. Losses are in nats."""
    model = TinyTransformer(config(seed))
    generator = torch.Generator().manual_seed(seed)

    def loss(model: TinyTransformer, step: int) -> Tensor:
        return streams.loss(model, exact_lags(BATCH, OLD, generator))

    start, cpu_start = time.perf_counter(), time.process_time()
    losses = train(model, loss, steps=STEPS, label=f"seed {seed}")
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    round_weights(model)
    return model, {
        "seed": seed,
        "steps": STEPS,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "losses": [round(value, 4) for value in losses[:: max(STEPS // 50, 1)]],
    }


def measured(model: TinyTransformer) -> list[float]:
    """Loss by position at the new length, on texts that no model was trained on."""
    tried = exact_lags(TEST, NEW, torch.Generator().manual_seed(1_000_000))
    return [round(value, 4) for value in loss_by_position(model, tried.tokens, EDGES, tried.distance > 0).tolist()]


def far_out(model: TinyTransformer, rule: str, seed: int) -> dict:
    """Loss by position in texts of LONG tokens without training: the mean over texts that are read one by one."""
    tried, extended = exact_lags(LONG_TEST, LONG, torch.Generator().manual_seed(1_000_000)), under(rule, model, LONG)
    each = [
        loss_by_position(extended, tokens, LONG_EDGES, asked)
        for tokens, asked in zip(tried.tokens.split(1), (tried.distance > 0).split(1), strict=True)
    ]
    told = [round(value, 4) for value in torch.stack(each).mean(dim=0).tolist()]
    return {"seed": seed, "rule": rule, "loss_by_position": told}


def recall_by_lag(model: TinyTransformer) -> list[float]:
    """Share of the answers that are right, for each lag, far ones too."""
    tried = exact_lags(TEST, NEW, torch.Generator().manual_seed(1_000_000), far=FAR_SHARE)
    bands = streams.recall_by_distance(model, tried, LAGS + FAR_LAGS)
    return [round(right / asked, 4) for right, asked in bands]


def looks(model: TinyTransformer, rule: str, seed: int) -> dict:
    """Where the untrained rule sends a model that is asked for each near lag: how far back, and how often."""
    tried = exact_lags(TEST, NEW, torch.Generator().manual_seed(1_000_000))
    share, distance = copied_from(under(rule, model), tried, LAGS, FARTHEST).max(dim=1)
    return {
        "seed": seed,
        "rule": rule,
        "distance": distance.tolist(),
        "share": [round(value, 4) for value in share.tolist()],
    }


def tune(model: TinyTransformer, rule: str, seed: int) -> list[dict]:
    """Loss by position before training at the new length, and for TUNED after as many steps as TUNE_STEPS says."""
    model, generator, found = under(rule, model), torch.Generator().manual_seed(1000 + seed), []

    def look(step: int) -> None:
        if step in (0, *TUNE_STEPS):
            found.append({"seed": seed, "rule": rule, "steps": step, "loss_by_position": measured(model)})

    def loss(model: TinyTransformer, step: int) -> Tensor:
        look(step)
        return streams.loss(model, exact_lags(TUNE_BATCH, NEW, generator))

    if rule not in TUNED:
        look(0)
        return found
    train_evenly(model, loss, TUNE_STEPS[-1], TUNE_RATE, f"{rule}, seed {seed}")
    look(TUNE_STEPS[-1])
    return found


def learn_far(model: TinyTransformer, rule: str, seed: int) -> dict:
    """Recall by lag every FAR_EVERY steps, while lags are asked for that did not fit into the old length."""
    model, generator = under(rule, model), torch.Generator().manual_seed(2000 + seed)
    curve: list[dict] = []

    def look(step: int) -> None:
        if step % FAR_EVERY == 0:
            curve.append({"steps": step, "recall_by_lag": recall_by_lag(model)})

    def loss(model: TinyTransformer, step: int) -> Tensor:
        look(step)
        return streams.loss(model, exact_lags(FAR_BATCH, NEW, generator, far=FAR_SHARE))

    train_evenly(model, loss, FAR_STEPS, FAR_RATE, f"far lags, {rule}, seed {seed}")
    look(FAR_STEPS)
    first = [
        next((at["steps"] for at in curve if at["recall_by_lag"][i] >= 0.95), None) for i in range(len(LAGS + FAR_LAGS))
    ]
    return {"seed": seed, "rule": rule, "steps_to_95": first, "curve": curve}


def train_evenly(model, loss, steps: int, rate: float, label: str) -> None:
    """At one rate from the first step to the last, so that what 10 steps bring is the beginning of what 100 bring."""
    train(model, loss, steps=steps, learning_rate=rate, warm_up=1, full_rate=1.0, label=label)


def run(seed: int) -> tuple[TinyTransformer, dict]:
    """All that is measured with one seed, told as it comes."""
    model, result = train_one(seed)
    runs, copied, far, long = [], [looks(model, rule, seed) for rule in TUNED], [], []
    for each in copied:
        print(f"seed {seed}  {each['rule']:13} asked for {LAGS} back, looks {each['distance']} back", flush=True)
    for rule in RULES:
        runs += (found := tune(model, rule, seed))
        for each in found:
            losses = " ".join(f"{value:6.3f}" for value in each["loss_by_position"])
            print(f"seed {seed}  {rule:13} {each['steps']:4} steps   loss by position {losses}", flush=True)
    for rule in LONG_RULES:
        long.append(far_out(model, rule, seed))
        losses = " ".join(f"{value:6.3f}" for value in long[-1]["loss_by_position"])
        print(f"seed {seed}  {rule:13} {LONG} tokens  loss by position {losses}", flush=True)
    for rule in FAR_RULES:
        far.append(learn_far(model, rule, seed))
        first = ", ".join(map(str, far[-1]["steps_to_95"]))
        print(f"seed {seed}  {rule:13} steps to 95% of lags {LAGS + FAR_LAGS}: {first}", flush=True)
    return model, {"model": result, "runs": runs, "copied": copied, "long": long, "far": far}


def keep(folder: Path, found: list[tuple[TinyTransformer, dict]]) -> None:
    """Write what all seeds found, and the weights of the first."""
    settings = {
        "layers": LAYERS, "width": WIDTH, "heads": HEADS, "base": BASE, "old_length": OLD, "new_length": NEW,
        "batch": BATCH, "steps": STEPS, "learning_rate": 3e-3, "tune_batch": TUNE_BATCH, "tune_rate": TUNE_RATE,
        "far_batch": FAR_BATCH, "far_rate": FAR_RATE, "far_share": FAR_SHARE, "test_texts": TEST, "edges": EDGES,
        "long_length": LONG, "long_texts": LONG_TEST, "long_edges": LONG_EDGES, "bounds": BOUNDS,
        "lags": LAGS + FAR_LAGS, "farthest": FARTHEST, "rules": RULES, "chance": 1 / SYMBOLS,
    }  # fmt: skip
    (model, first), told = found[0], [each for _, each in found]
    save(
        model,
        "positions",
        folder,
        recipe="positions",
        result=first["model"],
        settings=settings,
        models=[each["model"] for each in told],
        runs=[run for each in told for run in each["runs"]],
        copied=[run for each in told for run in each["copied"]],
        long=[run for each in told for run in each["long"]],
        far=[run for each in told for run in each["far"]],
    )


def make(folder: Path) -> None:
    """Train a model of each seed, read it under every rule, train on: three quarters of an hour on one free thread."""
    keep(folder, [run(seed) for seed in SEEDS])

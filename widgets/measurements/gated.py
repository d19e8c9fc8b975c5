"""What the gated delta rule finds and holds, on one thread: `python3 course.py measure gated PART ...`.

prose           a key in prose, 512 to 131,072 tokens; the same models in sentences, random words, with a key said anew
last-of-three   a key said three times, of which the last counts; and said less and more often, and in random words
four-keys       four keys with labels, of which one is asked
capacity        how many pairs one matrix gives back, nothing learned: adding, correcting, forgetting

Each part writes results/gated_PART.json. Models and cells are kept in work/bench: run it again to go on. Seconds are
processor time.
"""

import argparse
import json
import math
from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F

from solutions.checkpoints import CHECKPOINTS, about, load, provenance
from solutions.checkpoints import gated as recipe
from solutions.gated_delta import WRITES, chunk_map
from solutions.tiny import TinyTransformer
from widgets.measurements import RESULTS
from widgets.measurements.infini import CHANCE, MODELS, SEEDS, cell, told, trained

CELLS = {512: 20, 2048: 20, 8192: 20, 32_768: 10, 131_072: 10}  # tokens -> prompts
DEPTHS = (0.1, 0.5)
ELSEWHERE = 8192  # tokens of the prompts that a model wasn't trained on
OTHERS: dict[str, dict[str, dict]] = {  # task -> what these prompts are called -> what is changed in them
    "prose": {
        "periodic sentences": {"filler": "sentences"},
        "random words": {"filler": "words"},
        "said 3 times, the last counts": {"times_said": 3},
    },
    "last-of-three": {
        "random words": {"filler": "words"},
        **{f"said {times}": {"times_said": times} for times in (1, 2, 5)},
    },
    "four-keys": {"two keys": {"keys": 2}},
}


def of_task(task: str, seed: int) -> tuple[TinyTransformer, dict]:
    """A model of the recipe. Those of seed 0 are shipped."""
    if seed == 0 and (CHECKPOINTS / f"gated-{task}.json").exists():
        return load(f"gated-{task}"), about(f"gated-{task}")["result"]
    name = f"gated-{task}-seed-{seed}"
    return trained(name, lambda: recipe.train_one(task, seed, label=name, folder=MODELS), "gated")


def cells(model: TinyTransformer, result: dict, seed: int) -> Iterator[dict]:
    """What a model finds in the prompts it was trained for, and in others."""
    prompt = recipe.tried_on(result)
    for (n, asked), depth in product(CELLS.items(), DEPTHS):
        yield {"kind": "as trained", **cell(model, n, depth, asked, min(asked, 10), seed, **prompt)}
    for (kind, changed), depth in product(OTHERS[result["task"]].items(), DEPTHS):
        yield {"kind": kind, **cell(model, ELSEWHERE, depth, CELLS[ELSEWHERE], 10, seed, **{**prompt, **changed})}


def haystack(task: str) -> Iterator[dict]:
    runs = []
    for seed in SEEDS:
        model, result = of_task(task, seed)
        said = {key: result[key] for key in ("seed", "steps", "cpu_seconds", "tokens", "segments", "right")}
        runs.append({**said, "parameters": sum(each.numel() for each in model.parameters()), "cells": []})
        for found in cells(model, result, seed):
            runs[-1]["cells"].append(found)
            told(f"{task}, seed {seed}, {found['kind']}"[:46], found)
        yield {"task": task, "prompt": result["prompt"], "batch": recipe.BATCH, "chance": CHANCE, "runs": runs}


RULES = {  # what is said of it: rule, times that the pairs are read
    "addition": ("linear", 1),
    "delta, 1 pass": ("delta", 1),
    "delta, 3 passes": ("delta", 3),
    "delta, 30 passes": ("delta", 30),
    "gated, the oldest pair halved": ("gated", 1),
}
SIZES, PAIRS, CANDIDATES, TRIALS, CHUNK = (16, 32, 64, 128), (4, 8, 16, 32, 64, 96, 128, 256, 512), 100, 20, 16


def given_back(pairs: int, d: int, rule: str, passes: int, seed: int) -> float:
    """The share of random pairs whose value is the nearest of CANDIDATES to what a d by d matrix says for its key.

    Keys are random of length 1, written with strength 1; with "gated" the first pair is halved by the last.
    """
    generator = torch.Generator().manual_seed(seed)
    random = lambda n: F.normalize(torch.randn(TRIALS, n, d, dtype=torch.float64, generator=generator), dim=-1)  # noqa: E731
    k, candidates = random(pairs), random(CANDIDATES)
    which = torch.randint(CANDIDATES, (TRIALS, pairs), generator=generator)
    v = candidates.gather(1, which[..., None].expand(-1, -1, d))
    keys, values = (each.unflatten(1, (-1, min(CHUNK, pairs))) for each in (k, v))
    b = torch.ones(keys.shape[:-1], dtype=torch.float64)
    g = b * (-math.log(2) / pairs if rule == "gated" else 0)
    maps = chunk_map(keys, g, *WRITES[rule](keys, values, g, b))
    S = k.new_zeros(TRIALS, d, d)
    for _ in range(passes):
        for P, R in zip(*(each.unbind(1) for each in maps), strict=True):
            S = P @ S + R
    return ((k @ S) @ candidates.mT).argmax(dim=-1).eq(which).double().mean().item()


def capacity() -> dict:
    rows = []
    for d, (name, (rule, passes)) in product(SIZES, RULES.items()):
        shares = {pairs: [given_back(pairs, d, rule, passes, seed) for seed in SEEDS] for pairs in PAIRS}
        right = [{"pairs": pairs, "seeds": each} for pairs, each in shares.items()]
        rows.append({"d": d, "rule": name, "passes": passes, "right": right})
        print(f"d = {d:3}, {name:30}", *(f"{pairs}: {sum(each) / len(each):.2f}" for pairs, each in shares.items()))
    return {"candidates": CANDIDATES, "trials": TRIALS, "seeds": SEEDS, "rows": rows}


PARTS = {
    "prose": lambda: haystack("prose"),
    "last-of-three": lambda: haystack("last-of-three"),
    "four-keys": lambda: haystack("four-keys"),
    "capacity": capacity,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    torch.set_num_threads(1)
    for part in parser.parse_args().parts:
        path = RESULTS / f"gated_{part.replace('-', '_')}.json"
        found = PARTS[part]()
        for so_far in [found] if isinstance(found, dict) else found:  # a part may be stopped between two models
            path.write_text(json.dumps({**so_far, "provenance": provenance()}, indent=1) + "\n", encoding="utf-8")
        print(f"Written to {path}", flush=True)


if __name__ == "__main__":
    main()

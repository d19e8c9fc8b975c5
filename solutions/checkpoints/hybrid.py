"""Hybrids: where the order of a text comes from, where its far values, and where the one full layer stands.

    full-rope     four layers of full attention, rotated             states       four layers of the gated delta rule
    full-nope     the same without positions                         full-first   the first of them full, no positions
                                                                     full-second, full-third, full-last

All read the recall stream of 96 tokens, with equal data and steps, and are tried at 96, 384 and 768. A value is looked
up, however far; a word follows from the one before it, three tokens back. Neither convolution nor norm nor gate: what
little a memory says that has seen little must stay little. Writes hybrid.json with every run, and the weights of one
seed of KEPT.
"""

import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from solutions import streams
from solutions.checkpoints import note, round_weights, save
from solutions.tiny import Config, TinyTransformer, train
from solutions.whole import write_whole

LAYERS, WIDTH, HEADS = 4, 64, 2
PLACES = ("first", "second", "third", "last")
KINDS: dict[str, tuple[tuple[str, ...], float | None]] = {  # the attention of the layers, and the base of the rotation
    "full-rope": (("full",) * LAYERS, 10_000.0),
    "full-nope": (("full",) * LAYERS, None),
    "states": (("gated_delta",) * LAYERS, None),
    **{
        f"full-{place}": (tuple("full" if layer == at else "gated_delta" for layer in range(LAYERS)), None)
        for at, place in enumerate(PLACES)
    },
}
STATE = {"conv": 1, "norm": False, "gate": False, "half_lives": (30.0, 1000.0)}
KEPT = ("full-rope", "full-nope", "states", "full-first", "full-last")  # of these the first seed's weights
SEEDS = (0, 1, 2)
BATCH, TRIPLES, STEPS = 32, 32, 250
TESTS = {96: 128, 384: 64, 768: 64}  # tokens -> sequences that no model was trained on
EDGES = (7, 48, 95, 191, 383, 767)  # of the distances that are told apart
FOUND = "hybrid-found.draft"  # the runs that are over, until all are


def config(kind: str, seed: int) -> Config:
    """A model of the comparison."""
    layers, base = KINDS[kind]
    options = {"gated_delta": STATE} if "gated_delta" in layers else {}
    return Config(
        streams.VOCABULARY, layers, width=WIDTH, heads=HEADS, rope_base=(base,) * LAYERS, options=options, seed=seed
    )


def train_one(kind: str, seed: int) -> tuple[TinyTransformer, dict]:
    """One model, trained, and what there is to say about it. Recall is a share of the answers; losses are in nats."""
    model = TinyTransformer(config(kind, seed))
    generator = torch.Generator().manual_seed(seed)

    def loss(model: nn.Module, step: int) -> Tensor:
        return streams.loss(model, streams.recall(BATCH, TRIPLES, generator))

    start, cpu_start = time.perf_counter(), time.process_time()
    losses = train(model, loss, steps=STEPS, label=f"{kind}, seed {seed}")
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    round_weights(model)
    return model, {
        "kind": kind,
        "seed": seed,
        "steps": STEPS,
        "parameters": sum(each.numel() for each in model.parameters()),
        "tokens": 3 * TRIPLES * BATCH * STEPS,
        "found": [quality(model, n) for n in TESTS],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "losses": [round(value, 4) for value in losses[::5]],
    }


@torch.no_grad()
def quality(model: TinyTransformer, n: int) -> dict:
    """What a model can do with n tokens, on sequences that none was trained on; and the bytes that it keeps of one."""
    sample = streams.recall(TESTS[n], n // 3, torch.Generator().manual_seed(1_000_000))
    bands = streams.recall_by_distance(model, sample, EDGES)
    right, asked = (sum(each) for each in zip(*bands, strict=True))
    stream = model.new_stream()
    model(sample.tokens[:1], stream)
    return {
        "tokens": n,
        "recall": right / asked,
        "recall_by_distance": [right / asked if asked else None for right, asked in bands],
        "word_loss": streams.ordinary_loss(model, sample)[0],
        "nbytes": stream.nbytes,
    }


def settings() -> dict:
    return {
        "layers": LAYERS, "width": WIDTH, "heads": HEADS, "batch": BATCH, "tokens": 3 * TRIPLES, "learning_rate": 3e-3,
        "state": STATE, "tests": TESTS, "edges": EDGES, "word_entropy": streams.WORD_ENTROPY,
        "chance": 1 / streams.VALUES,
    }  # fmt: skip


def make(folder: Path) -> None:
    """Train every model, keep the weights of the first seed, and tell about each: half an hour on one thread."""
    done = json.loads((folder / FOUND).read_text()) if (folder / FOUND).exists() else []
    for seed in SEEDS:
        for kind in KINDS:
            if any((run["kind"], run["seed"]) == (kind, seed) for run in done):
                continue
            model, result = train_one(kind, seed)
            if kind in KEPT and seed == SEEDS[0]:
                save(model, f"hybrid-{kind}", folder, recipe="hybrid", result=result)
            done.append(result)
            write_whole(folder / FOUND, json.dumps(done).encode())
            print(f"{kind:12} seed {seed} {result['cpu_seconds']:5.1f} s", end="")
            for found in result["found"]:
                print(f"   {found['tokens']}: recall {found['recall']:.3f}, words {found['word_loss']:.3f}", end="")
            print(flush=True)
    note("hybrid", folder, settings=settings(), runs=done)
    (folder / FOUND).unlink()

"""Sparse attention trained in DeepSeek's two stages, on the recall stream of `streams`.

    dense      a model of two full layers, trained on the task
    warm-up    an indexer in each layer, all else frozen: it learns what the dense attention looks at
    sparse     every query attends to TOP_K keys that the indexer chooses; the model learns from the task alone, the
               indexer from the attention alone

Each stage begins with the weights of the one before. Writes sparse-dense, sparse-warm-up and sparse-trained, and
sparse.json with what each reads at several budgets, beside other ways to choose, also at 4 times the trained length.
"""

import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from solutions import streams
from solutions.checkpoints import Draft, note, round_weights, save
from solutions.sparse import (
    SELECTORS,
    captured_mass,
    index_loss,
    indexer_parameters,
    model_parameters,
    selections,
)
from solutions.tiny import Config, TinyTransformer, train

SEED = 0
LAYERS, WIDTH, HEADS = 2, 64, 4
TOP_K = 8
BATCH, TRIPLES = 32, 32
STEPS = {"dense": 300, "warm-up": 200, "sparse": 200}
RATES = {"dense": 3e-3, "warm-up": 1e-3, "sparse": 3e-4}  # of what learns from the task; in the warm-up, of the indexer
INDEX_RATE = 1e-3  # of the indexer in the sparse stage
EVERY = 25  # steps between two looks at how it goes
GLANCE = 32  # sequences for such a look

BUDGETS = (4, 8, 16)
TEST = 256  # sequences to measure with
LONG, LONG_TEST, LONG_BUDGETS = 4 * TRIPLES, 32, (8, 16, 32)
EDGES = (3, 7, 15, 31, 63, 127, 3 * LONG)  # distances of the answers; beyond FAR no window of a budget sees them
FAR = 31


def dense_model(seed: int) -> TinyTransformer:
    """The model before it has an indexer, untrained."""
    return TinyTransformer(Config(streams.VOCABULARY, ("full",) * LAYERS, width=WIDTH, heads=HEADS, seed=seed))


def choosing(model: TinyTransformer, selector: str = "indexer", top_k: int = TOP_K, **options) -> TinyTransformer:
    """The same weights, with attention to what the selector chooses; an indexer that is not there yet is untrained."""
    return model.with_attention(("sparse",) * LAYERS, sparse={"top_k": top_k, "selector": selector, **options})


def unseen(triples: int | None = None, sequences: int | None = None) -> streams.Sample:
    """Sequences that no stage was trained on, the same every time; None for TRIPLES, and for TEST of them."""
    return streams.recall(sequences or TEST, triples or TRIPLES, torch.Generator().manual_seed(1_000_000))


def train_stage(stage: str, model: TinyTransformer, folder: Path | None = None) -> dict:
    """Train a model through one stage, in place, and say how it went.

    folder: where a draft is kept, from which an interrupted run goes on; None for none
    """
    seed, seen = model.config.seed, unseen(sequences=GLANCE)
    told: dict[str, list[dict]] = {"curve": []}
    draft = Draft(f"sparse-{stage}", folder, every=EVERY, told=told) if folder else None

    def loss(model: TinyTransformer, step: int) -> Tensor:
        if step % EVERY == 0:
            told["curve"].append({"step": step, **glance(model, seen)})
        generator = torch.Generator().manual_seed(1_000_003 * seed + 10_007 * list(STEPS).index(stage) + step)
        task, divergence = losses_of(stage, model, streams.recall(BATCH, TRIPLES, generator))
        told["curve"][-1].setdefault("divergence", None if divergence is None else divergence.item())
        return sum(part for part in (task, divergence) if part is not None)

    def show() -> dict[str, str]:
        last = told["curve"][-1]
        return {name: f"{last[name]:.3f}" for name in ("divergence", "mass", "recall") if last.get(name) is not None}

    groups: list[dict] | None = None
    settings: dict[str, Any] = {}
    if stage == "warm-up":
        model.requires_grad_(False)
        for weight in indexer_parameters(model):
            weight.requires_grad_(True)
        groups, settings = [{"params": indexer_parameters(model)}], {"weight_decay": 0.0}
    if stage == "sparse":
        groups = [{"params": model_parameters(model)}, {"params": indexer_parameters(model), "lr": INDEX_RATE}]
        settings = {"clip": math.inf}  # one bound for all would let either loss scale the other's step
    began, cpu_began = time.perf_counter(), time.process_time()
    losses = train(
        model, loss, steps=STEPS[stage], learning_rate=RATES[stage], groups=groups, label=f"{stage}, seed {seed}",
        show=show, draft=draft, **settings,
    )  # fmt: skip
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    model.requires_grad_(True)
    round_weights(model)
    told["curve"].append({"step": STEPS[stage], **glance(model, seen)})
    return {
        "stage": stage,
        "seed": seed,
        "steps": STEPS[stage],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "losses": [round(value, 4) for value in losses[:: max(STEPS[stage] // 50, 1)]],
        "curve": told["curve"],
    }


def losses_of(stage: str, model: TinyTransformer, sample: streams.Sample) -> tuple[Tensor | None, Tensor | None]:
    """What a stage learns from: the task's loss moves the model, and the divergence moves its indexers."""
    if stage == "warm-up":
        model(sample.tokens[:, :-1])
        return None, index_loss(model)
    task = streams.loss(model, sample)
    return task, index_loss(model) if stage == "sparse" else None


def glance(model: TinyTransformer, sample: streams.Sample) -> dict:
    """The share of answers that are right, and the share of the oracle's mass that the indexer keeps at TOP_K."""
    if "sparse" not in model.config.layers:
        return {"recall": recall(model, sample)["recall"]}
    chosen = choosing(model).eval()
    kept = mass(chosen, sample)
    return {"recall": recall(chosen, sample)["recall"], "mass": sum(kept["of_best"]) / LAYERS}


@torch.no_grad()
def recall(model: TinyTransformer, sample: streams.Sample) -> dict:
    """Shares of answers that are right, all of them and by distance, and the loss of all tokens that can be told."""
    logits, tokens = model(sample.tokens[:, :-1]), sample.tokens[:, 1:]
    right, distance = logits.argmax(dim=-1) == tokens, sample.distance[:, 1:]
    told = sample.ordinary[:, 1:] | (distance > 0)
    bands = [(distance > low) & (distance <= high) for low, high in pairwise((0, *EDGES))]
    asked = [int(band.sum()) for band in bands]
    found = [int(right[band].sum()) for band in bands]
    far = EDGES.index(FAR) + 1
    return {
        "recall": sum(found) / sum(asked),
        "far_recall": sum(found[far:]) / sum(asked[far:]) if sum(asked[far:]) else None,
        "recall_by_distance": [hits / count if count else None for hits, count in zip(found, asked, strict=True)],
        "asked_by_distance": asked,
        "loss": F.cross_entropy(logits[told], tokens[told]).item(),
    }


def mass(model: TinyTransformer, sample: streams.Sample) -> dict:
    """What the choices of each layer keep of its attention: means over the queries that have more keys than they take.

    kept: share of the attention; best: the oracle's; of_best: one over the other; overlap: share of the oracle's keys
    """
    found: dict[str, list] = {"kept": [], "best": [], "of_best": [], "overlap": []}
    for selection in selections(model, sample.tokens[:GLANCE, :-1]):
        rows = slice(selection.indices.shape[-1], None)
        kept, best = selection.mass[:, rows].mean().item(), selection.best_mass[:, rows].mean().item()
        agreed = captured_mass(torch.zeros_like(selection.target).scatter(-1, selection.best.clamp(min=0), 1.0),
                               selection.indices)[:, rows]  # fmt: skip
        shares = (kept, best, kept / best, agreed.mean().item() / selection.best.shape[-1])
        for name, share in zip(found, shares, strict=True):
            found[name].append(share)
    return found


def reading(model: TinyTransformer, selector: str, top_k: int | None, sample: streams.Sample, **options) -> dict:
    """What trained weights say when attention goes to top_k keys of a selector; None and "all" for dense attention."""
    torch.manual_seed(0)  # for the random selector
    chosen = choosing(model, selector, top_k or TOP_K, **options).eval()
    said = {"selector": selector, "top_k": top_k, "tokens": sample.tokens.shape[1], **options, **recall(chosen, sample)}
    return said if selector == "all" else {**said, "mass": mass(chosen, sample)}


def readings(model: TinyTransformer, stage: str) -> list[dict]:
    """All that is measured after a stage. The warm-up changes the indexers alone, so others choose as before."""
    short = unseen()
    others = {"dense": ("oracle", "random", "window"), "warm-up": (), "sparse": tuple(SELECTORS)}[stage]
    found = [reading(model, "all", None, short)]
    found += [reading(model, selector, top_k, short) for selector in ("indexer", *others) for top_k in BUDGETS]
    if stage == "sparse":
        long = unseen(LONG, LONG_TEST)
        found.append(reading(model, "all", None, long))
        few = ("indexer", "oracle", "random", "window")
        found += [reading(model, selector, top_k, long) for selector in few for top_k in LONG_BUDGETS]
    return found


def stages(seed: int, folder: Path | None = None):
    """The stages one after the other: yields the name of each, its model when it is trained, and how it went."""
    model = dense_model(seed)
    yield "dense", model, train_stage("dense", model, folder)
    model = choosing(model, "all")
    yield "warm-up", model, train_stage("warm-up", model, folder)
    model = choosing(model)
    yield "sparse", model, train_stage("sparse", model, folder)


def make(folder: Path) -> None:
    """Train the three stages, and measure after each: about 3 minutes on one thread."""
    kept = {"dense": "sparse-dense", "warm-up": "sparse-warm-up", "sparse": "sparse-trained"}
    results = []
    for stage, model, result in stages(SEED, folder):
        result["readings"] = readings(model, stage)
        results.append(result)
        short = {key: value for key, value in result.items() if key not in ("readings", "curve")}
        save(model, kept[stage], folder, recipe="sparse", result=short)
        print(f"{stage}, {result['steps']} steps, {result['seconds']:.0f} s")
        for each in result["readings"]:
            print(f"  {line(each)}")
    for draft in folder.glob("sparse-*.draft"):
        draft.unlink()
    note("sparse", folder, settings=settings(), stages=results)


def line(each: dict) -> str:
    """A reading in one line."""
    if each["selector"] == "all":
        kept, name = "", "dense attention"
    else:
        kept = "   mass over the oracle's " + " ".join(f"{share:.2f}" for share in each["mass"]["of_best"])
        name = f"{each['selector']}, k = {each['top_k']}"
    far = "not asked" if each["far_recall"] is None else f"{each['far_recall']:.3f}"
    return f"{each['tokens']} tokens, {name:<26} recall {each['recall']:.3f}, far {far}, loss {each['loss']:.3f}{kept}"


def settings() -> dict:
    """What all stages have in common."""
    return {
        "layers": LAYERS, "width": WIDTH, "heads": HEADS, "top_k": TOP_K, "batch": BATCH, "tokens": 3 * TRIPLES,
        "index_heads": 4, "index_dim": 16, "learning_rates": RATES, "index_rate": INDEX_RATE, "steps": STEPS,
        "test_sequences": TEST, "long_test_sequences": LONG_TEST, "edges": EDGES, "far_beyond": FAR,
        "chance": 1 / streams.VALUES,
    }  # fmt: skip

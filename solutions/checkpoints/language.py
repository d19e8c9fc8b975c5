"""The language models: equal in all but their memory, trained on documents whose facts recur.

Two layers; the loss is the mean over all tokens. Far memory is learnt because the first documents are short and have
few facts (STAGES); none is longer than 512 tokens. All systems see the same documents. They are tried on documents of
512, 2,048 and 8,192 tokens, and on texts whose facts change. Writes language.json, and the weights of SHIPPED.
"""

import json
import time
from itertools import pairwise, product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from solutions import documents, streams
from solutions.checkpoints import Draft, about, note, round_weights, save
from solutions.checkpoints.infini import groups
from solutions.infini import SegmentState, gates
from solutions.tiny import Config, TinyTransformer, train
from solutions.whole import write_whole

SEGMENT, WIDTH, HEADS, ROPE_BASE = 64, 64, 2, 1000.0
SEGMENTS = {"segment": SEGMENT}
SYSTEMS: dict[str, tuple[tuple[str, ...], dict[str, dict]]] = {  # the attention of the layers, and what it takes
    "window": (("window", "window"), {"window": {"window": SEGMENT}}),
    "Transformer-XL": (("xl", "xl"), {"xl": SEGMENTS}),
    "kNN memory": (("knn", "knn"), {"knn": SEGMENTS}),
    "full attention": (("full", "full"), {}),
    "Infini, linear": (("infini", "infini"), {"infini": SEGMENTS}),
    "Infini, delta": (("infini", "infini"), {"infini": {**SEGMENTS, "rule": "delta"}}),
}
SHIPPED = ("Transformer-XL", "Infini, linear")  # of these the first seed's weights
SEEDS = (0, 1, 2)
STEPS, TOKENS, LEARNING_RATE = 1200, 8192, 5e-3  # TOKENS: of all documents of a step
STAGES = ((150, (1, 2, 4), 256), (300, (2, 4, 8), 256), (STEPS, (4, 8, 16, 32), 512))  # until which step; facts; tokens
FOUND = "language-found.draft"  # what the models that are done have found, until all are
EVERY = 50  # steps between two notes of what is found

FACTS = (4, 8, 16, 32, 64)  # of a document to be tried on; on lengths other than TEXT every second
LENGTHS = {512: 256, 2048: 64, 8192: 16}  # tokens -> documents
HOLDS, TEXT, TEXTS = (64, 128, 256, 512), 2048, 16  # tokens that a fact holds; of a text; how many texts
EDGES = (0, 63, 127, 255, 511, 2047, 8191)  # of the distances that are told apart


def config(system: str, seed: int) -> Config:
    """A model of the comparison; only the attention of its layers differs."""
    layers, options = SYSTEMS[system]
    return Config(
        documents.VOCABULARY, layers, width=WIDTH, heads=HEADS, rope_base=ROPE_BASE, options=options, seed=seed
    )


def name(system: str, seed: int) -> str:
    return f"language-{system.lower().replace(',', '').replace(' ', '-')}-{seed}"


def lesson(seed: int, step: int) -> streams.Sample:
    """The documents of one step."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + step)
    facts, n = next((facts, n) for until, facts, n in STAGES if step < until)
    chosen = torch.tensor(facts)[torch.randint(len(facts), (TOKENS // n,), generator=generator)]
    return documents.documents(chosen, n, generator)


def train_one(system: str, seed: int, folder: Path) -> tuple[TinyTransformer, Draft, list[float]]:
    """A model, trained, and its draft, which stays: a run of hours can be interrupted and goes on where it was."""
    model = TinyTransformer(config(system, seed))
    draft = Draft(name(system, seed), folder, told={"found": [], "gates": [], "cpu_seconds": 0.0})
    clock = time.process_time()

    def loss(model: TinyTransformer, step: int) -> Tensor:
        nonlocal clock
        sample = lesson(seed, step)
        if step % EVERY == 0:
            bands = streams.recall_by_distance(model, sample, (SEGMENT - 1, 2 * SEGMENT - 1, TOKENS))
            draft.told["found"].append([step, *(round(right / max(asked, 1), 4) for right, asked in bands)])
            if "infini" in model.config.layers:
                draft.told["gates"].append([[round(share, 4) for share in layer] for layer in gates(model).tolist()])
        draft.told["cpu_seconds"], clock = draft.told["cpu_seconds"] + time.process_time() - clock, time.process_time()
        return streams.surprise(model, sample.tokens).mean()

    losses = train(
        model, loss, steps=STEPS, learning_rate=LEARNING_RATE, warm_up=30, full_rate=0.6, betas=(0.9, 0.98),
        groups=groups(model), label=f"{system}, seed {seed}", draft=draft,
    )  # fmt: skip
    return model, draft, losses


def bands(sample: streams.Sample) -> list[Tensor]:
    """Where the attributes said before stand whose answer is so far back, for each two of EDGES: (batch, n - 1)."""
    distance = sample.distance[:, 1:]
    return [(distance > low) & (distance <= high) for low, high in pairwise(EDGES)]


@torch.no_grad()
def quality(model: TinyTransformer, sample: streams.Sample) -> dict:
    """Nats of all tokens and of each kind, and of the attributes said before the share that is right, by distance."""
    nats, right = [], []
    for part in sample.tokens.split(max(TOKENS // sample.tokens.shape[1], 1)):
        logits, target = model(part[:, :-1]), part[:, 1:]
        nats.append(F.cross_entropy(logits.mT, target, reduction="none"))
        right.append(logits.argmax(-1) == target)
    nats, right, said_before = torch.cat(nats), torch.cat(right), sample.distance[:, 1:] > 0
    mean = lambda values, mask: round(values[mask].float().mean().item(), 4) if mask.any() else None  # noqa: E731
    return {
        "perplexity": round(nats.mean().exp().item(), 4),
        "said_before_nats": mean(nats, said_before),
        "said_before_right": mean(right, said_before),
        "name_nats": mean(nats, sample.tokens[:, 1:] < documents.NAMES),
        "word_nats": mean(nats, sample.ordinary[:, 1:]),
        "right_by_distance": [mean(right, band) for band in bands(sample)],
    }


def asked(facts: int, n: int, count: int, holds: int | None = None) -> streams.Sample:
    """Documents that no model was trained on; holds: texts whose facts hold for so many tokens."""
    generator = torch.Generator().manual_seed(10**9 + 10**6 * (holds or n) + facts)
    if holds:
        return documents.changing(count, facts, n, holds, generator)
    return documents.documents(torch.full((count,), facts), n, generator)


@torch.no_grad()
def carried_bytes(model: TinyTransformer, n: int) -> int:
    """What goes on into the next segment after n tokens, whole segments: of Transformer-XL's two the newer one."""
    stream = model.new_stream()
    for part in asked(FACTS[0], n, 1).tokens.split(SEGMENT, dim=1):
        model(part, stream)
    two = [state for state in stream.caches if isinstance(state, SegmentState) and state.k is not None]
    return stream.nbytes - sum((state.k.nbytes + state.v.nbytes) // 2 for state in two)


def measured(model: TinyTransformer) -> dict:
    """What a model can do with each number of facts: by length of the document, and by how long a fact holds."""
    return {
        "carried_bytes": [carried_bytes(model, n) for n in LENGTHS],
        "cells": [
            {"tokens": n, "facts": facts, **quality(model, asked(facts, n, count))}
            for n, count in LENGTHS.items()
            for facts in FACTS[:: 1 if n == TEXT else 2]
        ],
        "changing": [
            {"holds": holds, "facts": facts, **quality(model, asked(facts, TEXT, TEXTS, holds))}
            for holds, facts in product(HOLDS, FACTS)
        ],
    }


def run(system: str, seed: int, folder: Path) -> tuple[TinyTransformer, Draft]:
    """A model trained and measured; what was measured stands in its draft."""
    model, draft, losses = train_one(system, seed, folder)
    if "measured" not in draft.told:
        round_weights(model)
        draft.told["measured"] = measured(model)
        draft.put(model, torch.optim.AdamW(model.parameters()), losses)  # what the optimiser remembered can go
    draft.told["result"] = {
        "system": system,
        "seed": seed,
        "steps": STEPS,
        "seconds": round(draft.told["cpu_seconds"], 1),
        "losses": [round(value, 4) for value in losses[::EVERY]],
        "found": draft.told["found"],
        **({"gates": gates(model).tolist()} if "infini" in model.config.layers else {}),
    }
    return model, draft


def settings() -> dict:
    return {
        "segment": SEGMENT, "layers": 2, "width": WIDTH, "heads": HEADS, "stages": STAGES, "step_tokens": TOKENS,
        "learning_rate": LEARNING_RATE, "documents": LENGTHS, "facts": FACTS, "holds": HOLDS, "text": TEXT,
        "texts": TEXTS, "edges": EDGES[1:], "word_floor": documents.WORD_FLOOR, "name_chance": documents.NAME_CHANCE,
        "attribute_chance": documents.ATTRIBUTE_CHANCE,
    }  # fmt: skip


def found_so_far(folder: Path) -> list[dict]:
    """The runs of a comparison that is not complete yet: it may be made in several sittings, or on several machines."""
    path = folder / FOUND
    told: dict = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return told["runs"] if told.get("settings") == json.loads(json.dumps(settings())) else []


def make(folder: Path) -> None:
    """Train and measure all of them: about three hours on one thread; a model that is done isn't done again."""
    runs = found_so_far(folder)
    for seed, system in product(SEEDS, SYSTEMS):
        shipped = system in SHIPPED and seed == SEEDS[0]
        found = next((run for run in runs if (run["seed"], run["system"]) == (seed, system)), None)
        if found and (not shipped or (folder / f"{name(system, seed)}.safetensors").exists()):
            continue
        runs = [run for run in runs if run is not found]
        model, draft = run(system, seed, folder)
        result, found = draft.told["result"], draft.told["measured"]
        if shipped:
            save(model, name(system, seed), folder, recipe="language", result=result)
        runs.append({**result, **found})
        write_whole(folder / FOUND, json.dumps({"settings": settings(), "runs": runs}))
        draft.done()
        print(f"{system:22} seed {seed} {result['seconds']:6.0f} s, perplexity by facts", end="")
        for n in LENGTHS:
            row = [f"{cell['perplexity']:.2f}" for cell in found["cells"] if cell["tokens"] == n]
            print(f"   {n:,}: {' '.join(row)}", end="", flush=True)
        print()
    note("language", folder, settings=settings(), runs=runs)
    (folder / FOUND).unlink()


def seeds_of(
    system: str, key: str = "perplexity", *, facts: int = 16, tokens: int = TEXT, holds: int | None = None
) -> Tensor:
    """What was measured of each seed of a system, (seeds,), or (seeds, bands) of what is told by distance.

    key: one of `quality`'s; holds: in texts of TEXT tokens whose facts hold for so many
    Raises ValueError for what was not measured.
    """
    where = {"facts": facts, **({"holds": holds} if holds and holds != TEXT else {"tokens": tokens})}
    part = "changing" if "holds" in where else "cells"
    runs = [run for run in about("language")["runs"] if run["system"] == system]
    rows = [row for run in runs for row in run[part] if where.items() <= row.items()]
    if not rows:
        raise ValueError(f"nothing was measured of {system} with {where}; see solutions/checkpoints/language.json.")
    values = [row[key] for row in rows]
    if isinstance(values[0], list):  # by distance, as far as a text of so many tokens reaches
        values = [[share for share in row if share is not None] for row in values]
    return torch.tensor(values)

"""What Infini-attention finds, forgets and costs, on one thread: `python3 course.py measure infini PART ...`.

passkey     three seeds, 2K to 1 M tokens, key at the start, in the middle, at the end; and with the memory emptied
baselines   the same prompts through a window with sinks, Transformer-XL's cache, a kNN memory, the whole KV cache, and
            through a model that is asked of one piece of the text after the other
controls    Infini-attention trained without simulated repetition, with slow gates, with other rules
alignment   question and answer across the border of a segment, which training never shows; all 64 places of the border
speed       tokens per second and resident memory while a million tokens stream by, for each rule
haystacks   random words, several keys, a key said again: as shipped, and trained on the harder task; prose
plug        the local model with Infini-attention in place of its attention, before and after some steps
needle      one prompt for the model with the full cache, at seven lengths, and one of a million tokens for the lesson's

Each part writes results/infini_PART.json, the first results/infini.json. Models that are not shipped are trained when
they are first asked for, and kept in work/bench; so is every cell that was measured: run it again to go on. Times are
processor time where they are called seconds.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from solutions import passkey, streams
from solutions.checkpoints import CHECKPOINTS, about, load, provenance, save
from solutions.checkpoints import infini as recipe
from solutions.checkpoints.infini_controls import CONTROLS
from solutions.infini import RULES, gates, infini_floats
from solutions.quadratic import kv_cache_bytes
from solutions.tiny import TinyTransformer, train
from solutions.whole import write_whole
from widgets.measurements import RESULTS

MODELS = Path(__file__).resolve().parents[2] / "work" / "bench"
SEEDS = (0, 1, 2)
DEPTHS = {"start": 0.0, "middle": 0.5, "end": 1.0}
CELLS = {512: 20, 2048: 20, 8192: 20, 32_768: 20, 131_072: 20, 1_000_000: 10}  # tokens -> prompts
CHANCE = 0.1


def trained(
    name: str, make: Callable[[], tuple[TinyTransformer, dict]], recipe: str = "infini"
) -> tuple[TinyTransformer, dict]:
    """A model and how its training went, from work/bench or made now."""
    if not (MODELS / f"{name}.json").exists():
        model, result = make()
        save(model, name, MODELS, recipe=recipe, result=result)
    return load(name, MODELS), about(name, MODELS)["result"]


KINDS: dict[str, dict] = {  # of the passkey recipe, what is changed
    "infini": {},
    **{name: {"layers": layers, "options": options, "simulate": False} for name, (layers, options) in CONTROLS.items()},
    "delta": {"options": {"infini": {"rule": "delta"}}},
    "gamma": {"options": {"infini": {"rule": "gamma"}}},
    "unit": {"options": {"infini": {"rule": "unit"}}, "simulate": False},
    "slow-gates": {"gate_rate": recipe.LEARNING_RATE, "gate_decay": 0.01},
    "slower-gates": {"gate_rate": 3e-4, "gate_decay": 0.01},
}


def of_kind(kind: str, seed: int) -> tuple[TinyTransformer, dict]:
    """A model of the passkey recipe with something changed. Those of seed 0 are shipped, if they have a recipe."""
    shipped = "infini" if kind == "infini" else f"infini-{kind}"
    if seed == 0 and (CHECKPOINTS / f"{shipped}.json").exists():
        return load(shipped), about(shipped)["result"]
    return variant(f"passkey-{kind}-seed-{seed}", seed=seed, **KINDS[kind])


def variant(
    name: str,
    layers: tuple[str, ...] = ("infini",) * 2,
    seed: int = 0,
    options: dict | None = None,
    vocabulary: int = passkey.VOCABULARY,
    **settings,
) -> tuple[TinyTransformer, dict]:
    """A model of the passkey recipe with other layers, more words, or another training."""

    def make() -> tuple[TinyTransformer, dict]:
        config = recipe.config(seed, layers, **(options or {}))
        model = recipe.fresh(replace(config, vocabulary=vocabulary))
        return model, recipe.train_one(model, label=name, folder=MODELS, **settings)

    return trained(name, make)


def cell(
    model: TinyTransformer,
    n: int,
    depth: float,
    asked: int,
    at_once: int | None = None,
    seed: int = 0,
    find: Callable = passkey.find,
    **prompt,
) -> dict:
    """`measured`, or what it found the last time for the same weights and prompts: a bench of hours can be stopped."""
    weights = hashlib.sha256(b"".join(each.numpy().tobytes() for each in model.state_dict().values())).hexdigest()
    kind = "".join(f"text{len(value)}" if isinstance(value, Tensor) else str(value) for value in prompt.values())
    how = "" if find is passkey.find else f"-{find.__name__}"
    path = MODELS / "cells" / f"{weights[:16]}-{n}-{depth:.2f}-{asked}-{seed}{kind}{how}.json"
    if not path.exists():
        write_whole(path, json.dumps(measured(model, n, depth, asked, at_once, seed, find, **prompt)).encode())
    return json.loads(path.read_text())


def measured(
    model: TinyTransformer,
    n: int,
    depth: float,
    asked: int,
    at_once: int | None = None,
    seed: int = 0,
    find: Callable = passkey.find,
    **prompt,
) -> dict:
    """Prompts of one length and depth: digits and keys found, with the memory and with it emptied; speed and bytes."""
    at_once = at_once or asked
    generator = torch.Generator().manual_seed(1_000_000 + 7919 * seed + n + round(100 * depth))
    right, exact, without, began = 0, 0, 0, time.process_time()
    for start in range(0, asked, at_once):
        made = passkey.prompts(min(at_once, asked - start), n, generator, depth=depth, **prompt)
        found = find(model, made.tokens)
        hits = found.digits == made.key
        right, exact = right + int(hits.sum()), exact + int(hits.all(dim=1).sum())
        if found.without_memory is not None:
            without += int((found.without_memory == made.key).sum())
    has_memory = found.without_memory is not None
    return {
        "tokens": n,
        "depth": depth,
        "prompts": asked,
        "digits": right / (passkey.DIGITS * asked),
        "exact": exact / asked,
        "exact_interval": passkey.interval(exact, asked),
        "digits_without_memory": without / (passkey.DIGITS * asked) if has_memory else None,
        "seconds": round(time.process_time() - began, 1),
        "state_bytes": found.state_bytes,
        "memory_bytes": found.memory_bytes,
    }


def told(label: str, found: dict) -> None:
    without = found["digits_without_memory"]
    print(
        f"{label:28} {found['tokens']:9,} tokens, depth {found['depth']:.2f}: digits {found['digits']:6.1%}  exact "
        f"{found['exact']:6.1%} of {found['prompts']:2}  emptied {'  -  ' if without is None else f'{without:5.1%}'}"
        f"  state {found['state_bytes']:,} bytes  {found['seconds']:.0f} s",
        flush=True,
    )


def passkey_part() -> dict:
    runs = []
    for seed in SEEDS:
        model, result = of_kind("infini", seed)
        cells = []
        for (n, asked), depth in product(CELLS.items(), DEPTHS.values()):
            cells.append(cell(model, n, depth, asked, at_once=10, seed=seed))
            told(f"seed {seed}", cells[-1])
        runs.append({"seed": seed, "training_cpu_seconds": result["cpu_seconds"], "steps": result["steps"],
                     "gates": result["gates_at_the_end"], "cells": cells})  # fmt: skip
    return {"depths": DEPTHS, "chance": CHANCE, "runs": runs}


SYSTEMS_OF_PASSKEY = {  # kind of model, longest text, rows at once, how it is asked
    "window 64, 4 sinks": ("window", 1_000_000, 10, passkey.find),
    "Transformer-XL": ("xl", 1_000_000, 10, passkey.find),
    "kNN memory": ("knn", 1_000_000, 2, passkey.find),
    "full KV cache": ("full", 8192, 4, passkey.find),
    "full KV cache, in pieces of 430": ("full", 1_000_000, 10, passkey.find_in_pieces),
}


def baselines_part() -> Iterator[dict]:
    """What each of the others finds, and what it holds; the longest text by what is bearable on a laptop."""
    full_cache = {n: kv_cache_bytes(n, 2, recipe.HEADS, recipe.WIDTH // recipe.HEADS, 4) for n in CELLS}
    found = []
    for name, (kind, longest, at_once, find) in SYSTEMS_OF_PASSKEY.items():
        runs = []
        for seed in SEEDS:
            model, result = of_kind(kind, seed)
            runs.append({"seed": seed, "steps": result["steps"], "segments": result["segments"],
                         "trained_digits": result["right"][-1], "cells": []})  # fmt: skip
            for n, depth in product((512, 2048, 8192, 32_768, 131_072, 1_000_000), DEPTHS.values()):
                if n > longest or (n > 100_000 and depth != DEPTHS["middle"]):  # minutes a cell
                    continue
                if n > 100_000 and seed and (n == 1_000_000 or find is passkey.find_in_pieces):
                    continue
                asked = 20 if n < 1_000_000 else 10
                runs[-1]["cells"].append(cell(model, n, depth, asked, min(at_once, asked), seed, find))
                told(f"{name}, seed {seed}", runs[-1]["cells"][-1])
        found.append({"name": name, "layers": model.config.layers, "runs": runs})
        yield {"systems": found, "full_cache_bytes_by_formula": full_cache,
               "infini_memory_bytes_by_formula": 4 * infini_floats(2, 2, 32, 32)}  # fmt: skip


VARIANTS = {
    "without simulated repetition": "plain",
    "gates at the rate of the weights, with decay": "slow-gates",
    "gates at a hundredth of their rate": "slower-gates",
    "rule delta": "delta",
    "rule gamma": "gamma",
    "rule unit, without simulated repetition": "unit",
}


def controls_part() -> Iterator[dict]:
    found = []
    for label, kind in VARIANTS.items():
        runs = []
        for seed in SEEDS:
            model, result = of_kind(kind, seed)
            cells = []
            for n in (512, 2048, 8192, 32_768, 131_072):
                cells.append(cell(model, n, 0.5, 20, 10, seed))
                told(f"{label}, seed {seed}", cells[-1])
            runs.append({"seed": seed, "steps": result["steps"], "segments": result["segments"],
                         "gates": result["gates_at_the_end"], "right": result["right"], "cells": cells})  # fmt: skip
        found.append({"name": label, "runs": runs})
        yield {"variants": found}


def alignment_part() -> dict:
    """Where the last token of the answer stands in its segment: below 15, question and answer lie in two segments.

    The mean over all places is what a text of any length finds.
    """
    runs = []
    for seed, (base, asked, step) in product(SEEDS, ((2048, 20, 1), (131_072, 1, 3))):  # long: every third place
        model, _ = of_kind("infini", seed)
        rows = []
        for place in range(1, 65, step):
            found = cell(model, base + place, 0.3, asked, seed=seed)
            rows.append({"tokens_in_the_last_segment": place, "digits": found["digits"], "exact": found["exact"]})
        runs.append({"seed": seed, "tokens": base, "prompts": asked, "rows": rows})
        for name, low, high in (("across", 1, 15), ("whole", 15, 65), ("anywhere", 1, 65)):
            some = [row for row in rows if low <= row["tokens_in_the_last_segment"] < high]
            digits, keys = ([row[kind] for row in some] for kind in ("digits", "exact"))
            print(f"seed {seed}, {base:,} tokens, question and answer {name}: digits {sum(digits) / len(some):.1%}, "
                  f"worst {min(digits):.1%}; keys {sum(keys) / len(some):.1%}", flush=True)  # fmt: skip
    return {"depth": 0.3, "runs": runs}


def resident_bytes() -> int:
    """Memory of this process that lies in RAM, from /proc."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


@torch.no_grad()
def speed_part() -> dict:
    """One stream of 1,000,000 tokens, and for each rule a shorter one; the text is made before the clock starts."""
    model, _ = of_kind("infini", 0)
    found = []
    for rule, n in (("linear", 1_000_000), ("delta", 262_144), ("gamma", 262_144), ("unit", 262_144)):
        assert rule in RULES
        same = model.with_attention(("infini",) * 2, infini={"segment": recipe.SEGMENT, "rule": rule}).eval()
        tokens = passkey.prompts(1, n, torch.Generator().manual_seed(0), depth=0.5).tokens
        stream, resident = same.new_stream(), {}
        wall, cpu = time.perf_counter(), time.process_time()
        for part in tokens.split(1024, dim=1):
            same(part, stream)
            if stream.tokens == 10 * 1024 or stream.tokens % 102_400 == 0 or stream.tokens == tokens.shape[1]:
                resident[stream.tokens] = (resident_bytes(), stream.nbytes)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        first, last = resident[10 * 1024][0], resident[stream.tokens][0]
        found.append({
            "rule": rule, "tokens": stream.tokens, "chunk": 1024,
            "tokens_per_cpu_second": stream.tokens / cpu, "tokens_per_second_by_the_clock": stream.tokens / wall,
            "resident_bytes_and_state_bytes": resident, "resident_growth_from_10K": last / first - 1,
        })  # fmt: skip
        print(f"{rule:7} {stream.tokens:9,} tokens: {stream.tokens / cpu:,.0f} a second of processor time, "
              f"{stream.tokens / wall:,.0f} by the clock; resident {first:,} -> {last:,} bytes "
              f"({last / first - 1:+.2%}), state {stream.nbytes:,}", flush=True)  # fmt: skip
    return {"streams": found}


def told_of(text: passkey.Prose) -> str:
    parts = f"{len(text.training):,} and {len(text.other):,} words"
    return f"{parts} of Python's reference, {len(text.words):,} different ones"


def haystacks_part() -> Iterator[dict]:
    """Harder haystacks, first with the model of the lesson, which never saw them, then with models that did."""
    tasks: dict[str, dict] = {
        "random words": {"filler": "words"},
        "4 labelled keys": {"keys": 4},
        "a key said 3 times, the last counts": {"times_said": 3},
    }
    found = []

    def tried(label: str, model: TinyTransformer, result: dict | None, said: dict, **prompt) -> dict:
        who, cells = "the lesson's model" if result is None else "trained on it", []
        for n, depth in product((512, 2048, 8192, 32_768, 131_072), (0.1, 0.5)):
            cells.append(cell(model, n, depth, 10 if n > 10_000 else 20, **prompt))
            told(f"{label}, {who}"[:46], cells[-1])
        return {"task": label, "prompt": said, "model": who, "cells": cells,
                "trained_digits": result["right"][-1] if result else None,
                "segments": result["segments"] if result else None}  # fmt: skip

    for label, prompt in tasks.items():
        if "keys" not in prompt:  # it never saw a label
            found.append(tried(label, of_kind("infini", 0)[0], None, prompt, **prompt))
            yield {"tasks": found}
    for label, prompt in tasks.items():
        slug = "haystack-" + "-".join(f"{key}-{value}" for key, value in prompt.items())
        found.append(tried(label, *variant(slug, **prompt), prompt, **prompt))
        yield {"tasks": found}
    text = passkey.prose()
    model = variant("haystack-prose", vocabulary=text.vocabulary, filler=text.training)
    found.append(tried("prose", *model, {"filler": told_of(text)}, filler=text.other))
    yield {"tasks": found}


PLUG_STEPS, PLUG_SEGMENT = 300, 8


def plug_part() -> dict:
    """The local model, its window of 8 exchanged for Infini-attention with segments of 8: one number a head."""
    local = load("window-all-local")
    layers = len(local.config.layers)
    runs = []

    def quality(model: TinyTransformer) -> dict:
        sample = streams.recall(512, 32, torch.Generator().manual_seed(1_000_000))
        bands = streams.recall_by_distance(model, sample, (7, 42, 96))
        return {"nats": streams.loss(model, sample).item(), "word_nats": streams.ordinary_loss(model, sample)[0],
                "recall_in_window_in_reach_beyond": [right / asked for right, asked in bands]}  # fmt: skip

    def go_on(name: str, model: TinyTransformer, gate_rate: float | None) -> None:
        before, generator = quality(model), torch.Generator().manual_seed(5)

        def loss(model: TinyTransformer, step: int) -> Tensor:
            return streams.loss(model, streams.recall(32, 32, generator))

        groups = None if gate_rate is None else recipe.groups(model, gate_rate)
        losses = train(model, loss, steps=PLUG_STEPS, learning_rate=1e-3, warm_up=20, groups=groups, label=name)
        after = quality(model)
        shares = gates(model).tolist() if gate_rate is not None else None
        runs.append({"name": name, "gate_rate": gate_rate, "before": before, "after": after, "gates": shares,
                     "losses": [round(value, 4) for value in losses[::5]]})  # fmt: skip
        print(f"{name}: nats {before['nats']:.3f} -> {after['nats']:.3f}; recall in window, in reach, beyond "
              f"{[round(share, 3) for share in before['recall_in_window_in_reach_beyond']]} -> "
              f"{[round(share, 3) for share in after['recall_in_window_in_reach_beyond']]}", flush=True)  # fmt: skip

    infini = lambda: local.with_attention(("infini",) * layers, infini={"segment": PLUG_SEGMENT})  # noqa: E731
    go_on("local, trained on", load("window-all-local"), None)
    go_on("Infini-attention, gates at 3e-2", infini(), 3e-2)
    go_on("Infini-attention, gates at 3e-4", infini(), 3e-4)
    closed = infini()
    with torch.no_grad():
        for layer in closed.layers:
            layer.attention.beta.fill_(-3.0)
    go_on("Infini-attention, gates that begin at 0.05, at 3e-2", closed, 3e-2)
    return {"steps": PLUG_STEPS, "learning_rate": 1e-3, "segment": PLUG_SEGMENT, "runs": runs}


NEEDLE_SEED, NEEDLE_DEPTH, NEEDLE_LENGTHS = 7, 0.3, (512, 640, 768, 896, 1024, 2048, 4096)
MILLION, MILLION_SEED, MILLION_DEPTH = 1_000_000, 2026, 0.5


def needle(model: TinyTransformer, n: int, depth: float, seed: int) -> dict:
    """One prompt, and what the model says of it; `emptied` with its memory emptied, None where it has none."""
    made = passkey.prompts(1, n, torch.Generator().manual_seed(seed), depth=depth)
    found = passkey.find(model, made.tokens, show=False)
    without = found.without_memory
    return {"tokens": n, "depth": depth, "seed": seed, "wanted": made.key[0].tolist(),
            "found": found.digits[0].tolist(), "emptied": None if without is None else without[0].tolist(),
            "state_bytes": found.state_bytes}  # fmt: skip


def needles(model: TinyTransformer) -> list[dict]:
    """The same key in texts of all lengths."""
    return [needle(model, n, NEEDLE_DEPTH, NEEDLE_SEED) for n in NEEDLE_LENGTHS]


def needle_part() -> dict:
    full, infini = needles(load("infini-full")), needle(load("infini"), MILLION, MILLION_DEPTH, MILLION_SEED)
    for each in (*full, infini):
        print(f"{each['tokens']:9,} tokens, wanted {each['wanted']}, found {each['found']}, "
              f"emptied {each['emptied']}, {each['state_bytes']:,} bytes", flush=True)  # fmt: skip
    return {"full": full, "infini": infini}


PARTS = {
    "passkey": passkey_part,
    "baselines": baselines_part,
    "controls": controls_part,
    "alignment": alignment_part,
    "speed": speed_part,
    "haystacks": haystacks_part,
    "plug": plug_part,
    "needle": needle_part,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    torch.set_num_threads(1)
    for part in parser.parse_args().parts:
        path = RESULTS / ("infini.json" if part == "passkey" else f"infini_{part}.json")
        found = PARTS[part]()
        for so_far in [found] if isinstance(found, dict) else found:  # a part of an hour may be stopped in between
            path.write_text(json.dumps({**so_far, "provenance": provenance()}, indent=1) + "\n", encoding="utf-8")
        print(f"Written to {path}", flush=True)


if __name__ == "__main__":
    main()

"""What sparse attention keeps, touches and costs, on one thread, in results/sparse.json.

seed-0    one of three seeds through the three stages: recall, loss and mass of every selector; no warm-up; the other
          layout of pairs; few bits; seed-1, seed-2
fewer_keys  the shipped weights on texts of 24 tokens, both layouts, from all keys down to one
growth    pairs and time at a fixed k and growing L, of the attention, the indexer and the choice, and their exponents
bytes     what the three kernels move, counted by running them, and its exponents
decode    one token against a growing context: dense, and sparse in its three steps, beside what FLOPs predict
gpu       the three kernels against dense flash attention, prefill and decode, where there is CUDA

Name parts to measure only these; the others stay as they are. Times are processor time, the least of several runs: on a
machine with other work, wall time measures the others.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.utils.flop_counter import FlopCounterMode

from solutions import interpreter
from solutions.checkpoints import load, provenance
from solutions.checkpoints import sparse as recipe
from solutions.quadratic import attention, growth_exponent
from solutions.sparse import (
    V32,
    Sizes,
    attended_pairs,
    flops_crossover,
    flops_saving,
    gathered_attention,
    index_scores,
    indexed_pairs,
    select_top_k,
    selections,
)
from solutions.sparse_kernels import attend_to, choose_keys, gather_bytes, index_bytes, score_keys, select_bytes
from widgets.measurements import RESULTS
from widgets.theatre.measure import traced

FILE = RESULTS / "sparse.json"
SEEDS = (0, 1, 2)
SHORTER = (8, 16, 32)  # triples of a text: 24, 48 and 96 tokens

# A quarter of DeepSeek's sizes, which keeps the ratio of 17 between a pair of the attention and one of the indexer.
QUARTER = Sizes(layers=1, heads=32, latent=128, rope=16, nope=32, value=32, index_heads=16, index_dim=32, top_k=256)
GROWTH = (2048, 4096, 8192, 16_384)
TRACED = (64, 128, 256, 512)
CONTEXTS = (512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)


def seconds(function: Callable, *arguments, repeats: int = 1) -> float:
    """Processor time of one call, the least of `repeats`."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def multiplied(function: Callable, *arguments) -> int:
    """Multiplications of one call, as torch counts those of its matrix products."""
    with FlopCounterMode(display=False) as counter:
        function(*arguments)
    return counter.get_total_flops() // 2


# What is kept -----------------------------------------------------------------------------------------------------


def quality(seed: int) -> dict:
    runs = []
    for stage, model, result in recipe.stages(seed):
        result["readings"] = recipe.readings(model, stage)
        runs.append(result)
        tell(result)
        if stage == "dense":
            runs.append(without_warm_up(model))
            tell(runs[-1])
    return {"settings": recipe.settings(), "runs": runs, "layouts": layouts(model), "few_bits": few_bits(model)}


def without_warm_up(dense) -> dict:
    """The sparse stage with an indexer that nobody taught."""
    model = recipe.choosing(dense)
    result = recipe.train_stage("sparse", model)
    result["stage"] = "sparse without warm-up"
    short = recipe.unseen()
    result["readings"] = [recipe.reading(model, name, top_k, short) for name, top_k in (("all", None), ("indexer", 8))]
    return result


def tell(result: dict) -> None:
    print(f"seed {result['seed']}, {result['stage']}: {result['seconds']:.0f} s, {result['cpu_seconds']:.0f} s of CPU")
    for each in result["readings"]:
        print(f"  {recipe.line(each)}", flush=True)


def layouts(model) -> list[dict]:
    """The trained weights with the indexer's pairs as they were, and interleaved, on texts of three lengths."""
    found = []
    for triples in SHORTER:
        sample = recipe.unseen(triples, recipe.TEST * recipe.TRIPLES // triples)
        for layout in ("half-split", "interleaved"):
            found.append(recipe.reading(model, "indexer", recipe.TOP_K, sample, index={"layout": layout}))
            by_distance = found[-1]["recall_by_distance"]
            shown = " ".join(
                f"{edge}: {share:.3f}" for edge, share in zip(recipe.EDGES, by_distance, strict=True) if share
            )
            print(f"  {3 * triples} tokens, {layout}: recall up to distance {shown}", flush=True)
    return found


def fewer_keys() -> dict:
    """The shipped weights on texts of 24 tokens, as the lesson reads them: with all keys a layout can't matter."""
    triples, sequences = SHORTER[0], 512
    model, sample, rows = load("sparse-trained"), recipe.unseen(triples, sequences), []
    for top_k in (3 * triples, 8, 4, 2, 1):
        said = {layout: recipe.recall(recipe.choosing(model, top_k=top_k, index={"layout": layout}).eval(), sample)
                for layout in ("half-split", "interleaved")}  # fmt: skip
        rows.append({"top_k": top_k} | {what: {layout: each[what] for layout, each in said.items()}
                                        for what in ("loss", "recall")})  # fmt: skip
        print(f"  {rows[-1]}", flush=True)
    return {"tokens": 3 * triples, "sequences": sequences, "rows": rows}


def few_bits(model) -> list[dict]:
    """The trained weights with queries and keys of the indexer in few bits, and how many of the chosen keys stay."""
    sample, found = recipe.unseen(), []
    exact = [selection.indices for selection in selections(recipe.choosing(model).eval(), sample.tokens[:32, :-1])]
    for index in ({}, {"precision": "e4m3"}, {"precision": "e2m1"}, {"precision": "e2m1", "hadamard": True}):
        coarse = recipe.choosing(model, index=index).eval()
        same = [shared(one, selection.indices) for one, selection in
                zip(exact, selections(coarse, sample.tokens[:32, :-1]), strict=True)]  # fmt: skip
        found.append({**recipe.reading(model, "indexer", recipe.TOP_K, sample, index=index), "same_keys": same})
        print(f"  {index}: recall {found[-1]['recall']:.4f}, of the keys {same} the same", flush=True)
    return found


def shared(one: Tensor, other: Tensor) -> float:
    """The share of keys that two choices have in common, over the queries that have more than they take."""
    top_k = one.shape[-1]
    alike = (one[:, top_k:, :, None] == other[:, top_k:, None, :]).any(dim=-1)
    return alike.double().mean().item()


# What is touched --------------------------------------------------------------------------------------------------


def inputs(n: int, m: int, sizes: Sizes = QUARTER) -> dict[str, Tensor]:
    """Queries of all heads, the one key and value that they share, and the indexer's queries, keys and weights."""
    draw = lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(m))  # noqa: E731
    width = sizes.latent + sizes.rope
    return {
        "q": draw(1, sizes.heads, n, width), "k": draw(1, 1, m, width), "v": draw(1, 1, m, sizes.latent),
        "index_q": draw(1, sizes.index_heads, n, sizes.index_dim), "index_k": draw(1, m, sizes.index_dim),
        "index_w": draw(1, n, sizes.index_heads),
    }  # fmt: skip


def growth() -> dict:
    """A causal prefill at k = 64, in blocks of 32 queries: multiplications as torch counts them, and time."""
    top_k, block = 64, 32
    sizes = replace(QUARTER, heads=16, latent=32, rope=0, index_heads=4, index_dim=128)
    rows: list[dict] = []
    for n in GROWTH:
        given = inputs(n, n, sizes)
        given["v"] = given["k"][..., : sizes.latent]  # one latent is key and value, so both are in the same place
        took = dict.fromkeys(("indexer", "choice", "attention out of the cache", "attention"), 0.0)
        pairs = dict.fromkeys(("indexer", "attention"), 0)
        for start in range(0, n, block):
            rows_here, seen = slice(start, start + block), start + block
            index = given["index_q"][:, :, rows_here], given["index_k"][:, :seen], given["index_w"][:, rows_here]
            scores = index_scores(*index)
            choice = scores, min(top_k, seen)
            chosen = given["q"][:, :, rows_here], given["k"], given["v"], select_top_k(*choice)
            took["indexer"] += seconds(index_scores, *index, repeats=2)
            took["choice"] += seconds(select_top_k, *choice)
            took["attention out of the cache"] += seconds(gathered_attention, *chosen)  # the scores have filled it
            took["attention"] += seconds(gathered_attention, *chosen, repeats=5)
            pairs["indexer"] += multiplied(index_scores, *index) // (sizes.index_heads * sizes.index_dim)
            pairs["attention"] += multiplied(gathered_attention, *chosen) // (sizes.absorbed // 2)
        rows.append({"n": n, "seconds": took, "pairs": pairs})
        print(
            f"L {n:6,}   pairs: attention {pairs['attention']:9,} ({attended_pairs(n, top_k):,} without empty places), "
            f"indexer {pairs['indexer']:11,} ({indexed_pairs(n):,} without hidden ones)   time: "
            + ", ".join(f"{name} {1e3 * spent:.1f} ms" for name, spent in took.items()),
            flush=True,
        )
    lengths = [row["n"] for row in rows]
    exponents = {
        f"{name} {what}": growth_exponent(lengths, [row[what][name] for row in rows])
        for name, what in (("attention", "pairs"), ("indexer", "pairs"), ("attention", "seconds"),
                           ("attention out of the cache", "seconds"), ("indexer", "seconds"), ("choice", "seconds"))
    }  # fmt: skip
    print("exponents:", ", ".join(f"{name} {value:.3f}" for name, value in exponents.items()))
    return {"top_k": top_k, "block": block, "heads": sizes.heads, "index_heads": sizes.index_heads, "rows": rows,
            "exponents": exponents}  # fmt: skip


def bytes_moved() -> dict:
    """The kernels run and counted: a causal prefill of L tokens, k = 16, fp32, the indexer's heads 4 of 16 entries."""
    if not interpreter.available:
        print(f"Nothing counted: {interpreter.why_not}")
        return {"why_not": interpreter.why_not}
    top_k, heads, head_dim, index_heads, index_dim, block_m, block_n = 16, 4, 16, 4, 16, 16, 16
    rows: list[dict] = []
    for n in TRACED:
        draw = lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(n))  # noqa: B023, E731
        index = draw(1, index_heads, n, index_dim), draw(1, n, index_dim), draw(1, n, index_heads)
        scores, scored = traced(score_keys, *index, block_m=block_m, block_n=block_n)
        indices, chosen = traced(choose_keys, scores, top_k, block=64)
        q, k, v = draw(1, heads, n, head_dim), draw(1, 1, n, head_dim), draw(1, 1, n, head_dim)
        _, attended = traced(attend_to, q, k, v, indices, block_n=16)
        formulas = {
            "indexer": index_bytes(n, n, index_heads, index_dim, block_m, block_n, element_bytes=4),
            "choice": select_bytes(n, n, top_k),
            "attention": gather_bytes(n, n, top_k, heads, 1, head_dim, 16, element_bytes=4),
        }
        counted = {"indexer": scored.by_tensor(), "choice": chosen.by_tensor(), "attention": attended.by_tensor()}
        total = {name: trace.issued_bytes() for name, trace in zip(formulas, (scored, chosen, attended), strict=True)}
        predicted = {name: sum(parts.values()) for name, parts in formulas.items()}
        rows.append({"n": n, "issued_bytes": total, "closed_form": predicted, "tensors": {k: str(v) for k, v in
                     counted.items()}})  # fmt: skip
        print(
            f"L {n:4}   issued bytes {total}, closed forms {'agree' if total == predicted else predicted}", flush=True
        )
    lengths = [row["n"] for row in rows]
    exponents = {name: growth_exponent(lengths, [row["issued_bytes"][name] for row in rows]) for name in total}
    print("exponents:", ", ".join(f"{name} {value:.3f}" for name, value in exponents.items()))
    return {"top_k": top_k, "rows": rows, "exponents": exponents}


# What it costs ----------------------------------------------------------------------------------------------------


def decode() -> dict:
    """One token against L, 32 heads that share one key of 144 and value of 128, k = 256: a quarter of DeepSeek's."""
    rows, top_k = [], QUARTER.top_k
    for m in CONTEXTS:
        given = inputs(1, m)
        q, k, v = given["q"], given["k"], given["v"]
        index = given["index_q"], given["index_k"], given["index_w"]
        heads_as_queries = q.transpose(1, 2)  # 32 heads, one key: as 32 queries of one head, without a copy of the keys
        scores = index_scores(*index)
        indices = select_top_k(scores, min(top_k, m))
        repeats = 15 if m < 30_000 else 7
        took = {
            "dense": seconds(attention, heads_as_queries, k, v, repeats=repeats),
            "indexer": seconds(index_scores, *index, repeats=repeats),
            "choice": seconds(select_top_k, scores, min(top_k, m), repeats=repeats),
            "torch_topk": seconds(torch.topk, scores, min(top_k, m), repeats=repeats),
            "attention": seconds(gathered_attention, q, k, v, indices, repeats=repeats),
        }
        sparse = took["indexer"] + took["choice"] + took["attention"]
        with_topk = took["indexer"] + took["torch_topk"] + took["attention"]
        rows.append({"context": m, "seconds": took, "speed_up": took["dense"] / sparse,
                     "speed_up_with_torch_topk": took["dense"] / with_topk,
                     "predicted_by_flops": flops_saving(m, "decode", QUARTER),
                     "indexer_and_choice_share": 1 - took["attention"] / sparse})  # fmt: skip
        row = rows[-1]
        print(
            f"L {m:7,}   dense {1e3 * took['dense']:8.3f} ms   indexer {1e3 * took['indexer']:7.3f} + choice "
            f"{1e3 * took['choice']:7.3f} (torch.topk {1e3 * took['torch_topk']:.3f}) + attention "
            f"{1e3 * took['attention']:6.3f} ms   {row['speed_up']:5.2f} times faster "
            f"({row['speed_up_with_torch_topk']:5.2f} with torch.topk), by FLOPs {row['predicted_by_flops']:5.2f}",
            flush=True,
        )
    crossings = {name: crossing([row["context"] for row in rows], [row[name] for row in rows])
                 for name in ("speed_up", "speed_up_with_torch_topk")}  # fmt: skip
    crossings["predicted_by_flops"] = flops_crossover("decode", QUARTER)
    print(f"sparse attention is faster from {crossings} tokens on")
    return {"top_k": top_k, "rows": rows, "faster_from": crossings}


def crossing(contexts: list[int], speed_ups: list[float]) -> float | None:
    """Where the speed-up passes 1 for good, between two measured contexts; None if it never does."""
    below = [i for i, value in enumerate(speed_ups) if value < 1]
    if not below:
        return float(contexts[0])
    i = below[-1]
    if i == len(contexts) - 1:
        return None
    share = (1 - speed_ups[i]) / (speed_ups[i + 1] - speed_ups[i])
    return contexts[i] + share * (contexts[i + 1] - contexts[i])


# On a GPU ---------------------------------------------------------------------------------------------------------

GPU_CONTEXTS = (4096, 8192, 16_384, 32_768, 65_536, 131_072)
GPU_SHAPES = {"decode": (64, 1), "prefill": (1, 1024)}  # sequences, and queries of each: enough to fill the processors


def gpu() -> dict:
    """The three kernels at DeepSeek's head sizes, bf16, beside dense attention at its best.

    Dense decoding is two matrix products of all heads with the one latent; dense prefill is torch's flash attention, in
    which values are widened from 128 to the keys' 192, since it asks for equal sizes.
    """
    if not torch.cuda.is_available():
        print("There is no CUDA here, so the kernels are not timed: not measured yet.")
        return {"device": None}
    rows = []
    for phase in GPU_SHAPES:
        for m in GPU_CONTEXTS:
            rows.append({"phase": phase, "context": m, **gpu_times(phase, m)})
            print(rows[-1], flush=True)
    return {"device": torch.cuda.get_device_name(), "sizes": "128 heads, latent 512 + 64, indexer 64 x 128, k 2,048",
            "shapes": GPU_SHAPES, "dtype": "bfloat16", "rows": rows}  # fmt: skip


def gpu_times(phase: str, m: int) -> dict:
    """Milliseconds, the median of several runs, for the last tokens of m."""
    batch, n = GPU_SHAPES[phase]
    draw = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.bfloat16)  # noqa: E731
    width = V32.latent + V32.rope
    q, k = draw(batch, V32.heads, n, width), draw(batch, 1, m, width)
    index = (
        draw(batch, V32.index_heads, n, V32.index_dim),
        draw(batch, m, V32.index_dim),
        draw(batch, n, V32.index_heads),
    )
    scores = score_keys(*index)
    indices = choose_keys(scores, V32.top_k)
    exact = gathered_attention(q[:1, :, :8], k[:1], k[:1, ..., : V32.latent], indices[:1, :8])
    difference = (attend_to(q, k, None, indices)[:1, :, :8] - exact).abs().max().item()
    if phase == "decode":
        dense = lambda: torch.softmax(q[:, :, 0] @ k[:, 0].mT * width**-0.5, dim=-1) @ k[:, 0, :, : V32.latent]  # noqa: E731
    else:
        expanded = [draw(batch, V32.heads, rows, V32.nope + V32.rope) for rows in (n, m, m)]
        mask = causal_lower_right(n, m)
        dense = lambda: torch.nn.functional.scaled_dot_product_attention(*expanded, attn_mask=mask)  # noqa: E731
    times = {
        "dense": milliseconds(dense),
        "indexer": milliseconds(lambda: score_keys(*index)),
        "choice": milliseconds(lambda: choose_keys(scores, V32.top_k)),
        "attention": milliseconds(lambda: attend_to(q, k, None, indices)),
    }
    sparse = times["indexer"] + times["choice"] + times["attention"]
    return {"milliseconds": times, "difference": difference, "speed_up": times["dense"] / sparse,
            "predicted_by_flops": flops_saving(m, phase)}  # fmt: skip


def milliseconds(work: Callable, repeats: int = 20) -> float:
    """The median time of a piece of work on the GPU."""
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop))
    return sorted(times)[len(times) // 2]


PARTS = {"fewer_keys": fewer_keys, "growth": growth, "bytes": bytes_moved, "decode": decode, "gpu": gpu}
PARTS |= {f"seed-{seed}": partial(quality, seed) for seed in SEEDS}


def main(parts: list[str]) -> int:
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        print(f"There is no part {', '.join(unknown)}; give some of {', '.join(PARTS)}.")
        return 1
    torch.set_num_threads(1)
    for part in parts or PARTS:
        print(f"{part}:")
        found = {**PARTS[part](), "provenance": provenance()}
        kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps({**kept, part: found}, indent=1) + "\n", encoding="utf-8")
        print(f"Written to {FILE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

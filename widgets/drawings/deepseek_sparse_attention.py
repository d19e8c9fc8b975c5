"""Drawings of the lesson deepseek_sparse_attention."""

import math

import torch

from solutions import sparse, streams
from solutions.checkpoints import load
from solutions.checkpoints import sparse as recipe
from solutions.sparse import price
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas, strokes
from widgets.kit.format import count, fixed

V32 = price.V32
TOKENS = 131_072


def unpacking() -> tuple[int, int]:
    """FLOPs of making keys and values of all heads from one latent, and after how many queries that is paid back."""
    flops = 2 * V32.heads * (V32.nope + V32.value) * V32.latent
    return flops, math.ceil(flops / (V32.absorbed - V32.expanded))


@drawing
def latent_two_ways(page: Canvas) -> str:
    flops, queries = unpacking()
    top = page.title(
        page.choose("One latent, two ways to attend to it", "One latent, two ways"),
        f"Lengths are numbers. A token keeps {V32.latent} + {V32.rope} for all {V32.heads} heads; "
        "below, one query and one head.",
    )
    unit, thick = page.choose(0.46, 0.46), 22

    def bar(x: float, y: float, size: int, colour: str, name: str = "", opacity: float = 0.3) -> float:
        page.rect(x, y, size * unit, thick, colour, opacity=opacity)
        if name:
            page.text(x + size * unit / 2, y + 16, name, SMALL, anchor="middle")
        return x + size * unit + 3

    y = top + 14
    page.text(0, y + 4, "kept of a token", bold=True)
    at = bar(0, y + 16, V32.latent, "m", f"latent {V32.latent}", 0.5)
    bar(at, y + 16, V32.rope, "k", f"{V32.rope}")
    page.text(at + V32.rope * unit + 10, y + 32, "its place", SMALL, "k")
    begin = y + 84
    panels = (
        ("Unpacked", "a prompt", V32.expanded, V32.nope + V32.rope, V32.value),
        ("Absorbed", "one new token", V32.absorbed, V32.latent + V32.rope, V32.latent),
    )
    for place, (name, when, cost, score, read) in enumerate(panels):
        x, y = (place * 380, begin) if not page.narrow else (0, begin + place * 324)
        page.text(x, y, name, 16, bold=True)
        page.text(x + page.choose(100, 100), y, f"for {when}", colour="ink-2")
        steps = (
            (("the latent becomes this head's key and value", V32.latent, V32.nope + V32.value), "once a token")
            if place == 0
            else (("the query becomes as long as a latent", V32.nope, V32.latent), "once a query")
        )
        (what, before, after), once = steps
        y = page.paragraph(x, y + 28, what, 330, SMALL)
        if place == 0:
            bar(x, y - 8, before, "m", str(before), 0.5)
            page.arrow([(x + 60, y + 18), (x + 60, y + 34)])
            page.text(x + 76, y + 31, f"{before} → {V32.nope} + {V32.value}, {once}", SMALL, "ink-2")
            at = bar(x, y + 38, V32.nope, "k", str(V32.nope))
            at = bar(at, y + 38, V32.rope, "k", str(V32.rope), 0.5)
            at = bar(at, y + 38, V32.value, "v", str(V32.value))
            page.text(at + 8, y + 54, "key and value", SMALL, "ink-2")
        else:
            at = bar(x, y - 8, before, "q", str(before))
            page.text(at + 8, y + 8, "query", SMALL, "ink-2")
            page.arrow([(x + 30, y + 18), (x + 30, y + 34)])
            page.text(x + 46, y + 31, f"{before} → {after}, {once}", SMALL, "ink-2")
            at = bar(x, y + 38, after, "q", str(after))
            bar(at, y + 38, V32.rope, "q", str(V32.rope), 0.5)
        y += 92
        page.text(x, y, "score", SMALL, "ink-2")
        page.rect(x + 52, y - 14, score * unit, 18, "s", opacity=0.4)
        page.text(x + 58, y, str(score), SMALL)
        page.text(x, y + 26, "read", SMALL, "ink-2")
        page.rect(x + 52, y + 12, read * unit, 18, "v" if place == 0 else "m", opacity=0.4)
        page.text(x + 58, y + 26, str(read), SMALL)
        page.big(x, y + page.choose(84, 76), count(cost))
        page.text(x, y + page.choose(106, 98), f"FLOPs a pair: 2 · {V32.heads} · ({score} + {read})", SMALL, "ink-2")
    page.paragraph(
        0, page.height + 30,
        f"Unpacking a token for all heads costs {flops / 1e6:.1f} M FLOPs, paid back after {queries} queries: a "
        "prompt has them, a new token has not.", page.width, colour="ink",
    )  # fmt: skip
    return (
        f"Multi-head latent attention. Of a token {V32.latent} numbers and {V32.rope} with its place are kept, for "
        f"all heads. Unpacked, each head makes a key of {V32.nope} and a value of {V32.value} from the latent, "
        f"scores {V32.nope + V32.rope} numbers and reads {V32.value}: {count(V32.expanded)} FLOPs a pair. Absorbed, "
        f"the query is made {V32.latent} long instead, scores {V32.latent + V32.rope} and reads {V32.latent}: "
        f"{count(V32.absorbed)}. Unpacking costs {flops / 1e6:.1f} million a token, paid back after {queries} "
        "queries."
    )


@drawing
def sparse_attention_whole(page: Canvas) -> str:
    thin, thick, some = V32.indexer, V32.absorbed, V32.top_k
    dense = price.dense_flops(TOKENS, "decode")
    index, core = price.indexer_flops(TOKENS), price.core_flops(TOKENS)
    saved = price.flops_saving(TOKENS, "decode")
    top = page.title(
        "DeepSeek sparse attention, whole",
        f"One new token after {count(TOKENS)}, one layer. Widths are tokens, heights FLOPs a pair.",
    )
    tall, wide = page.choose(150, 130), page.width
    low, few = tall * thin / thick, wide * some / TOKENS

    y = top + 22
    page.text(0, y, "1  The indexer scores all", bold=True)
    page.rect(0, y + 14, wide, low, "m")
    page.text(0, y + 14 + low + 20, f"{count(TOKENS)} tokens, {count(thin)} FLOPs each", SMALL, "ink-2")
    y += low + 78
    page.text(0, y, f"2  The {count(some)} best are chosen", bold=True)
    page.path(f"M0 {y + 14}H{wide}L{few:.2f} {y + 62}H0z", fill="s", opacity=0.18, bottom=y + 62)
    sign, middle = page.choose(300, 132), y + 34
    corners = [
        (sign + 12 * math.cos(math.pi * (i + 0.5) / 4), middle + 12 * math.sin(math.pi * (i + 0.5) / 4))
        for i in range(8)
    ]
    page.path(strokes(corners) + "z", fill="bad", bottom=middle + 12)
    page.rect(sign - 6, middle - 1.5, 12, 3, "paper")
    page.text(sign + 22, middle + 5, "no gradient passes", SMALL, "bad", bold=True)
    y += 92
    page.text(0, y, "3  Attention reads these alone", bold=True)
    page.rect(0, y + 16, wide, tall, line="ink-2", dash="4 4")
    page.rect(0, y + 16, few, tall, "s")
    page.text(few + 14, y + 38, f"{count(some)} tokens, {count(thick)} FLOPs each", SMALL)
    page.paragraph(few + 14, y + 66, "the dashed frame is attention to all", wide - few - 30, SMALL)
    right = wide - 14
    page.text(right, y + tall - 2, f"{dense / 1e9:.1f} GFLOP", 20, "ink-2", "end")
    y += tall + 46
    columns = page.choose((0, 250, 500), (0, 184, 0))
    facts = (
        (fixed(index / 1e9, 2), "GFLOP to choose"),
        (fixed(core / 1e9, 2), "GFLOP to attend"),
        (f"{saved:.1f}", "times fewer than attention to all"),
    )
    for place, (x, (number, words)) in enumerate(zip(columns, facts, strict=True)):
        at = y + 22 + (90 if page.narrow and place == 2 else 0)
        page.big(x, at, number)
        page.text(x, at + 22, words, SMALL, "ink-2")
    y = page.height + 34
    page.text(0, y, "4  Its teacher", bold=True)
    y += 16
    box = page.choose(150, 112)
    far = page.width - box
    page.rect(0, y, box, 40, "s", opacity=0.25, radius=6)
    page.text(box / 2, y + 25, "attention's p", anchor="middle")
    page.rect(far, y, box, 40, "m", opacity=0.25, radius=6)
    page.text(far + box / 2, y + 25, "softmax(I)", anchor="middle")
    page.arrow([(box + 8, y + 20), (far - 8, y + 20)], "ink")
    page.text((box + far) / 2, y + 12, page.choose("KL(p ‖ softmax(I))", "KL"), SMALL, "ink", "middle", bold=True)
    page.text((box + far) / 2, y + 40, page.choose("moves the indexer alone", "one way only"), SMALL, "ink-2", "middle")
    return (
        f"Sparse attention for one token after {count(TOKENS)}, areas as work. A long thin bar: the indexer scores "
        f"every token at {count(thin)} FLOPs. {count(some)} tokens are chosen, and no gradient passes the choice. A "
        f"tall narrow bar: attention reads these alone, {count(thick)} FLOPs each, inside a dashed frame for "
        f"attention to all, {dense / 1e9:.1f} GFLOP. Choosing costs {index / 1e9:.2f} and attending "
        f"{core / 1e9:.2f}, {saved:.1f} times fewer. An arrow from the attention's weights to the indexer is "
        "labelled KL: the indexer learns from them, and not back."
    )


def moved() -> dict[tuple[str, str], tuple[int, int]]:
    """(loss, weights) -> how many tensors the loss moves, of how many, in the trained small model's sparse stage."""
    model = recipe.choosing(load("sparse-warm-up")).train()
    losses = {"task": streams.loss(model, recipe.unseen(sequences=4))}
    losses["divergence"] = sparse.index_loss(model)  # of the same pass
    weights = {"model": sparse.model_parameters(model), "indexers": sparse.indexer_parameters(model)}
    found = {}
    for by, loss in losses.items():
        for whose, group in weights.items():
            felt = torch.autograd.grad(loss, group, retain_graph=True, allow_unused=True)
            found[by, whose] = sum(each is not None and bool((each != 0).any()) for each in felt), len(group)
    return found


@drawing
def losses_and_weights(page: Canvas) -> str:
    counts = moved()
    top = page.title(
        "Two losses, two sets of weights",
        "Tensors of our small model that get a gradient in the sparse stage.",
    )
    label, gap = page.choose(190, 0), 12
    wide, high = (page.width - label - gap) / 2, page.choose(116, 96)
    y = top + 30
    columns = {"model": "the model", "indexers": "the indexers"}
    rows = {"task": "loss of the task", "divergence": "KL to the attention"}
    for place, words in enumerate(columns.values()):
        page.text(label + place * (wide + gap) + wide / 2, y, words, anchor="middle", bold=True)
    y += 16
    for by, words in rows.items():
        if page.narrow:
            page.text(0, y + 14, f"moved by the {words}", SMALL, "ink-2")
            y += 26
        else:
            page.text(label - 18, y + high / 2, words, anchor="end", bold=True)
            page.text(label - 18, y + high / 2 + 20, "moves", SMALL, "ink-2", "end")
        for place, whose in enumerate(columns):
            x = label + place * (wide + gap)
            some, every = counts[by, whose]
            if some:
                page.rect(x, y, wide, high, {"model": "s", "indexers": "m"}[whose], opacity=0.26, radius=6)
            else:
                page.rect(x, y, wide, high, line="line", radius=6)
                page.hatch(x + 1, y + 1, wide - 2, high - 2, "line")
            middle, ink = (x + wide / 2, y + high / 2), "ink" if some else "ink-2"
            page.text(middle[0], middle[1] + 6, str(some), page.choose(44, 34), ink, "middle", bold=True, halo=not some)
            page.text(middle[0], middle[1] + 32, f"of {every}", SMALL, ink, "middle", halo=not some)
        y += high + gap
    told = [f"the {by} moves {some} of {every} tensors of the {whose}" for (by, whose), (some, every) in counts.items()]
    return (
        f"A table of two losses and two sets of weights: {'; '.join(told)}. Each loss moves its own set, and nothing "
        "crosses."
    )

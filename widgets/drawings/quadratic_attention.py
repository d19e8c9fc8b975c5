"""Drawings of the lesson quadratic_attention."""

import math

import torch

from solutions import quadratic
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas
from widgets.drawings.canvas import WORDS as WORDS_SIZE

WORDS = ("the", "cat", "sat", "on", "the", "mat")
SIX = torch.tensor([[0.0, 0, 1], [2, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1], [0, 2, 0]])  # the lesson's six words


def masked_after_and_before() -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the six words, (6, 6) each: softmax over all, and softmax with the future at -inf."""
    scores = quadratic.attention_scores(SIX, SIX)
    visible = quadratic.causal_mask(6, 6)
    return quadratic.softmax(scores), quadratic.softmax(scores.masked_fill(~visible, -math.inf))


@drawing
def mask_after_and_before(page: Canvas) -> str:
    after, before = masked_after_and_before()
    kept = after.tril().sum(-1)
    top = page.title(
        "Where the mask stands", "Each bar is one word's attention, as wide as 1. What is hatched is lost."
    )
    width, high, label = page.choose(286, 300), 24, 44
    panels = (("Mask after the softmax", after), ("Mask before the softmax", before))
    for place, (name, weights) in enumerate(panels):
        left = place * 380 if not page.narrow else 0
        y = top + 12 if not page.narrow else top + 12 + place * 290
        page.text(left + label, y + 8, name, bold=True)
        y += 28
        for row, word in enumerate(WORDS):
            at = left + label
            page.text(at - 10, y + 17, word, anchor="end")
            for column in range(row + 1):
                share = width * float(weights[row, column])
                if share > 0.3:
                    page.rect(at, y, share, high, "s", opacity=0.34 if column % 2 else 0.5)
                if share > 34:
                    page.text(at + share / 2, y + 17, WORDS[column], SMALL, anchor="middle")
                at += share
            lost = left + label + width - at
            if lost > 1:
                page.rect(at, y, lost, high, line="line")
                page.hatch(at, y, lost, high)
            y += high + 8
        first = float(weights[0, 0])
        said = (f"{1 - first:.2f}", "of the first word's attention went to later words", "bad")
        number, note, colour = said if place == 0 else ("1", "is what every row adds to", "good")
        page.big(left + label, y + page.choose(46, 38), number, colour=colour)
        far = left + label + page.choose(112, 88) if place == 0 else left + label + page.choose(44, 36)
        page.paragraph(far, y + page.choose(30, 26), note, width - far + left + label, SMALL)
    return (
        "Six bars, one a word, twice. With the mask after the softmax the bars are cut short, for the share that "
        f"went to later words is lost: the first word keeps {float(kept[0]):.2f} and loses {1 - float(kept[0]):.2f}, "
        "the last keeps all. With the mask before the softmax every bar is whole."
    )


SCORES = torch.tensor([100.0, 95.0, 60.0])


def room(dtype: torch.dtype) -> tuple[float, float]:
    """Between which scores their exponential is a positive finite number: below it rounds to 0, above to infinity."""
    told = torch.finfo(dtype)
    return math.log(told.smallest_normal * told.eps / 2), math.log(told.max)


@drawing
def moved_scores(page: Canvas) -> str:
    moved = SCORES - SCORES.max()
    weights = [f"{each:.3f}" if each > 0.0005 else f"{each:.0e}" for each in quadratic.softmax(SCORES).tolist()]
    (low, high), (half_low, half_high) = room(torch.float32), room(torch.float16)
    top = page.title(
        page.choose("The largest score moves to 0, and nothing overflows", "The largest score moves to 0"),
        f"Scores {', '.join(f'{each:g}' for each in SCORES.tolist())} on one line, before and after. "
        "Shaded: where float32 can hold their exponential.",
    )
    least, most = -140, 140
    unit = page.width / (most - least)

    def at(score: float) -> float:
        return unit * (score - least)

    y = top + 26
    first, second = y + 22, y + 106
    bottom = second + 30
    page.rect(at(low), y - 8, at(high) - at(low), bottom - y + 8, "good", opacity=0.12)
    page.rect(at(high), y - 8, page.width - at(high), bottom - y + 8, "bad", opacity=0.14)
    page.hatch(at(high), y - 8, page.width - at(high), bottom - y + 8, "bad")
    page.line([(at(high), y - 8), (at(high), bottom)], "bad", 1.5)
    for base in (first, second):
        page.line([(0, base), (page.width, base)], "line", 1.5)
    page.text((at(high) + page.width) / 2, (first + second) / 2 + 12, "∞", 30, "ink", "middle", bold=True)
    for before, after in zip(SCORES.tolist(), moved.tolist(), strict=True):
        page.line([(at(before), first), (at(after), second)], "s", 1, "3 4")
        for score, base in ((before, first), (after, second)):
            page.rect(at(score) - 4, base - 12, 8, 24, "s", radius=3)
            if before != SCORES[1]:
                words = f"{score:g}".replace("-", "−")
                page.text(at(score), base - 18, words, SMALL, "s", "middle", bold=True, halo=True)
    page.text(4, first - 12, "s", SMALL, "ink-2")
    page.text(4, second - 12, "s − m", SMALL, "ink-2")
    for score in (low, 0, high):
        words = f"{score:.1f}".replace("-", "−") if score else "0"
        anchor = "middle" if score <= 0 else "end"
        page.line([(at(score), bottom), (at(score), bottom + 6)], "ink-2")
        page.text(at(score), bottom + 22, words, SMALL, "ink-2", anchor)
    bottom += 36
    page.rect(at(half_low), bottom, at(half_high) - at(half_low), 10, "good", opacity=0.6)
    words = f"float16: {half_low:.1f} to {half_high:.1f}".replace("-", "−")
    page.text(at(half_high) + 10, bottom + 10, words, SMALL, "ink-2")
    facts = (
        ("∞ / ∞", "bad", f"Before: e^{SCORES[0]:g} and e^{SCORES[1]:g} are infinite in float32, and so is the sum."),
        (weights[0], "good", f"After: the weights are {weights[0]}, {weights[1]} and {weights[2]}."),
    )
    for place, (number, colour, words) in enumerate(facts):
        x = place * page.choose(380, 184)
        page.big(x, bottom + page.choose(76, 66), number, colour=colour)
        page.paragraph(x, bottom + page.choose(100, 90), words, page.choose(320, 168), SMALL)
    return (
        f"Two lines of scores. On the first {SCORES[0]:g} and {SCORES[1]:g} stand beyond {high:.1f}, where their "
        f"exponential is infinite in float32. On the second all are less by {float(SCORES.max()):g}, their maximum: "
        f"the largest stands at 0, the distances are what they were, and the weights are {weights[0]}, {weights[1]} "
        f"and {weights[2]}. An exponential rounds to 0 below {low:.1f}, which harms nothing."
    )


HEADS, HALF, TOLD = 2, 2, 0  # two heads of two numbers; the output that is followed


def splits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The lesson's six words of four numbers (6, 4), split in one reshape, and with the transpose: (heads, 6, 2)."""
    words = torch.arange(6 * HEADS * HALF).reshape(6, HEADS * HALF)
    return words, words.reshape(HEADS, 6, HALF), words.reshape(6, HEADS, HALF).transpose(0, 1)


@drawing
def wrong_reshape(page: Canvas) -> str:
    words, wrong, right = splits()
    strayed = wrong[1, TOLD]
    culprit = int((words == strayed[0]).nonzero()[0, 0])
    top = page.title(
        "A wrong split has the right shape", "Six words of four numbers, split into two heads with one reshape."
    )
    cell, high = page.choose(36, 26), page.choose(30, 26)
    y = top + 46

    def row(x: float, y: float, values: torch.Tensor, marked: torch.Tensor) -> None:
        for place, value in enumerate(values.tolist()):
            bad = bool((marked == value).any())
            page.rect(x + cell * place, y, cell, high, "bad" if bad else "q", opacity=0.24 if bad else 0.12)
            page.rect(x + cell * place, y, cell, high, line="paper", width=2)
            page.text(x + cell * (place + 0.5), y + high / 2 + 5, str(value), SMALL, anchor="middle", bold=bad)

    label = page.choose(64, 54)
    lefts = page.choose(
        (label, label + 4 * cell + 66, label + 6 * cell + 96), (label, label + 4 * cell + 38, label + 6 * cell + 50)
    )
    for place, (x, name) in enumerate(zip(lefts, ("", "head 0", "head 1"), strict=True)):
        page.text(x, y - 10, name, SMALL, "ink-2")
        for index in range(6):
            if place == 0:
                page.text(x - 10, y + (high + 4) * index + high / 2 + 5, f"word {index}", SMALL, "ink-2", "end")
                row(x, y + (high + 4) * index, words[index], strayed)
            else:
                row(x, y + (high + 4) * index, wrong[place - 1, index], strayed)
    level, turn = y + (high + 4) * culprit - 2, lefts[0] + 4 * cell + page.choose(33, 19)
    down = lefts[2] + 2 * cell - page.choose(6, 2)
    page.arrow([(lefts[0], level), (turn, level), (turn, y - 30), (down, y - 30), (down, y - 2)], "bad", 2)
    bottom = y + 6 * (high + 4)
    if page.narrow:
        x, at = label, bottom + 46
    else:
        x, at = lefts[2] + 2 * cell + 76, y
        page.arrow([(lefts[2] + 2 * cell + 4, y + high / 2), (x - 8, y + high / 2)], "bad", 2)
    page.text(x, at - 10, f"output {TOLD}, merged", SMALL, "ink-2")
    row(x, at, torch.cat([wrong[0, TOLD], wrong[1, TOLD]]), strayed)
    page.paragraph(
        x, at + high + 24, f"half is word {culprit}'s", page.choose(page.width - x, 290), WORDS_SIZE, "bad"
    )
    at += high + page.choose(98, 74)
    page.text(x, at - 10, "with the transpose", SMALL, "ink-2")
    row(x, at, torch.cat([right[0, TOLD], right[1, TOLD]]), torch.tensor([-1]))
    page.text(x, at + high + 24, "word 0 alone", WORDS_SIZE, "good")
    return (
        f"Six words of four numbers, 0 to {int(words.max())}. One reshape to two heads of two numbers puts the first "
        f"half of word {culprit}, {strayed.tolist()[0]} and {strayed.tolist()[1]}, into row {TOLD} of head 1. A red "
        f"path follows it from there into output {TOLD}, whose other half is word {TOLD}'s own. With the transpose "
        f"output {TOLD} holds word {TOLD} alone."
    )

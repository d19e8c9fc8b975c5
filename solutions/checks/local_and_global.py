"""Exercises: who may look at whom, the band in blocks, what a stack reaches and saves, a short cache.

The bugs of this field are one token wide: a window of w + 1 keys, a cache that keeps w - 2, a two-sided window of 128
that is 129 keys. So lengths divide nothing, windows are odd and even, and every case is longer than its window.
"""

import math
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from solutions import local_global
from solutions.checks.exercise import Case, Exercise
from solutions.checks.running import Rejected
from solutions.checks.tools import LargestTensor, far_below, felt
from solutions.local_global import WindowCache, grouped_attention, keys_in_reach, pattern_pairs, window_mask
from solutions.quadratic import attention


def with_pattern(function, *given, block=None, pattern):
    """The outcome on a copy of a pattern, unless the copy is changed: a list of tokens may be used again."""
    taken = deepcopy(pattern)
    out = function(*given, **({} if block is None else {"block": block}), **taken)
    if taken != pattern:
        raise Rejected("your function changed the list of global tokens that it was given; work on a copy")
    return out


# window_mask -----------------------------------------------------------------------------------------------------


def looks(queries, keys, window, **pattern):
    """A case: the positions of queries and keys, as lists, and the pattern."""

    def outcome(function, queries, keys, window):
        return with_pattern(function, torch.tensor(queries), torch.tensor(keys), window, pattern=pattern)

    return lambda normal: (list(queries), list(keys), window), outcome


def mask_case(label, *arguments, **pattern):
    return Case(label, *looks(*arguments, **pattern))


def mask_one_by_one(query_position, key_position, window, *, causal=True, sinks=0, global_tokens=None):
    def visible(i, j):
        near = 0 <= i - j < window if causal else abs(i - j) <= window // 2
        chosen = j < sinks or i in (global_tokens or ()) or j in (global_tokens or ())
        return (near or chosen) and not (causal and j > i)

    rows = [[visible(i, j) for j in key_position.tolist()] for i in query_position.tolist()]
    return torch.tensor(rows).reshape(len(query_position), len(key_position))


def mask_by_distance(query_position, key_position, window, *, causal=True, sinks=0, global_tokens=None):
    behind = query_position.unsqueeze(1) - key_position.unsqueeze(0)
    visible = behind < window if causal else behind.abs() <= window // 2
    visible = visible.logical_or(key_position < sinks)
    chosen = torch.tensor(list(global_tokens or ()), dtype=torch.long)
    visible = visible | torch.isin(key_position, chosen) | torch.isin(query_position, chosen).unsqueeze(1)
    return visible & (behind >= 0) if causal else visible


def near_by(left, right, two_sided=lambda window: (window // 2, window // 2), sinks_are=lambda key, sinks: key < sinks):
    """A mask whose causal window reaches left(window) back and right(window) ahead; beside it, nothing looks ahead."""

    def mask(query_position, key_position, window, *, causal=True, sinks=0, global_tokens=None):
        ahead = key_position - query_position[:, None]
        back, forth = (left(window), right(window)) if causal else two_sided(window)
        visible = (-back <= ahead) & (ahead <= forth)
        others = torch.zeros_like(visible) | sinks_are(key_position, sinks)
        for token in global_tokens or ():
            others |= (key_position == token) | (query_position[:, None] == token)
        return visible | (others & (ahead <= 0) if causal else others)

    return mask


def changed(change):
    """The right mask after change(mask, ...) of it or of its arguments."""

    def mask(query_position, key_position, window, *, causal=True, sinks=0, global_tokens=None):
        pattern = dict(causal=causal, sinks=sinks, global_tokens=global_tokens)
        return change(query_position, key_position, window, pattern)

    return mask


def masked_with(**without):
    """The right mask for another pattern."""
    return changed(lambda queries, keys, window, pattern: window_mask(queries, keys, window, **pattern | without))


def looking_ahead(query_position, key_position, window, pattern):
    """Only the window is causal; sinks and global tokens are seen from before them."""
    chosen = window_mask(query_position, key_position, 1, **pattern | {"causal": False})
    return window_mask(query_position, key_position, window, **pattern) | chosen


def sinks_from_before(query_position, key_position, window, pattern):
    """The sinks are seen from before them; the rest is right."""
    return window_mask(query_position, key_position, window, **pattern) | (key_position < pattern["sinks"])


def globals_from_before(query_position, key_position, window, pattern):
    """The global tokens are seen from before them, and see what comes later; the rest is right."""
    chosen = window_mask(query_position, key_position, 1, causal=False, global_tokens=pattern["global_tokens"])
    return window_mask(query_position, key_position, window, **pattern) | chosen


def sinks_see_all(query_position, key_position, window, pattern):
    chosen = [*(pattern["global_tokens"] or ()), *range(pattern["sinks"])]
    return window_mask(query_position, key_position, window, **pattern | {"global_tokens": chosen})


def near_on_both_sides(query_position, key_position, window, pattern):
    """A causal window is told by the distance alone, and causal has no last word."""
    if not pattern["causal"]:
        return window_mask(query_position, key_position, window, **pattern)
    near = (key_position - query_position[:, None]).abs() < window
    return near | window_mask(query_position, key_position, 1, **pattern | {"causal": False})


def only_columns(query_position, key_position, window, pattern):
    columns = torch.isin(key_position, torch.tensor(list(pattern["global_tokens"] or ()), dtype=torch.long))
    near = window_mask(query_position, key_position, window, **pattern | {"global_tokens": None})
    behind = key_position <= query_position[:, None]
    return near | (columns & behind if pattern["causal"] else columns)


def only_rows(query_position, key_position, window, pattern):
    rows = torch.isin(query_position, torch.tensor(list(pattern["global_tokens"] or ()), dtype=torch.long))[:, None]
    near = window_mask(query_position, key_position, window, **pattern | {"global_tokens": None})
    behind = key_position <= query_position[:, None]
    return near | (rows & behind if pattern["causal"] else rows)


def pairs_of_globals(query_position, key_position, window, pattern):
    """Global tokens see and are seen by each other only."""
    see = only_rows(query_position, key_position, window, pattern)
    return see & only_columns(query_position, key_position, window, pattern)


def rows_by_number(query_position, key_position, window, pattern):
    """Global tokens are rows and columns of the mask, wherever queries and keys stand."""
    see = window_mask(query_position, key_position, window, **pattern | {"global_tokens": None})
    for token in pattern["global_tokens"] or ():
        see[token : token + 1] = True
        see[:, token : token + 1] = True
    return see & (key_position <= query_position[:, None]) if pattern["causal"] else see


def future_in_sight(query_position, key_position, window, pattern):
    """A causal window hides what is too far back, and nothing else."""
    ahead = key_position > query_position[:, None]
    return window_mask(query_position, key_position, window, **pattern) | (ahead & pattern["causal"])


def by_rows_and_columns(query_position, key_position, window, pattern):
    """What comes later is hidden by tril, as if all positions began at 0."""
    if not pattern["causal"]:
        return window_mask(query_position, key_position, window, **pattern)
    near = key_position > query_position[:, None] - window
    return (near | window_mask(query_position, key_position, 1, **pattern | {"causal": False})).tril()


def sinks_off_the_window(two_sided_too):
    def change(query_position, key_position, window, pattern):
        if pattern["causal"] or two_sided_too:
            window = max(window - pattern["sinks"], 1)
        return window_mask(query_position, key_position, window, **pattern)

    return changed(change)


def sinks_outside_the_window(query_position, key_position, window, pattern):
    near = window_mask(query_position, key_position, window, causal=pattern["causal"])
    chosen = torch.tensor(pattern["global_tokens"] or [], dtype=torch.long)
    see = near ^ (key_position < pattern["sinks"]) | torch.isin(key_position, chosen)
    see |= torch.isin(query_position, chosen)[:, None]
    return see & (key_position <= query_position[:, None]) if pattern["causal"] else see


def near_by_cut(query_position, key_position, window, **pattern):
    most = len(key_position)
    sides = near_by(
        lambda window: min(window, most) - 1,
        lambda window: 0,
        two_sided=lambda window: (min(window // 2, most), min(window // 2, most)),
    )
    return sides(query_position, key_position, window, **pattern)


def all_keys_given(query_position, key_position, window, **pattern):
    wide = 10**9 if window >= len(key_position) else window
    return window_mask(query_position, key_position, wide, **pattern)


def places_for_positions(query_position, key_position, window, pattern):
    places = torch.arange(len(key_position))
    return window_mask(places[len(places) - len(query_position) :], places, window, **pattern)


MASK = Exercise(
    title="the window's mask",
    section="What if each word saw only the last few?",
    difficulty=2,
    minutes=12,
    reference=local_global.window_mask,
    hints=(
        "How far does key 5 stand ahead of query 7? In a causal window of 3, which of these distances are seen: "
        "-3, -2, -1, 0, 1? And are the sinks the first keys given, or those of the first tokens?",
        "ahead = key_position - query_position[:, None] is (queries, keys). A causal window sees -(window - 1) ... 0, "
        "a two-sided one -(window // 2) ... window // 2. Sinks and global tokens are added with |, and causal has the "
        "last word.",
        "After the window: visible |= key_position < sinks. For each global token, add its column "
        "(key_position == token) and its row (query_position[:, None] == token). If causal, keep only ahead <= 0.",
    ),
    cases=(
        mask_case("8 tokens, a window of 3", range(8), range(8), 3),
        mask_case("a window of 1", range(5), range(5), 1),
        mask_case("a window wider than the text, more sinks than keys", range(5), range(5), 9, sinks=7),
        mask_case("two-sided, a window wider than the text", range(4), range(4), 1000, causal=False),
        mask_case("queries 5 and 6, keys 0 to 6, a window of 4", (5, 6), range(7), 4),
        mask_case("queries 9 and 10, keys 0, 1, 7, 8, 9 and 10", (9, 10), (0, 1, 7, 8, 9, 10), 5),
        mask_case("query 9, keys 0, 4 and 9, a window of 7", (9,), (0, 4, 9), 7),
        mask_case("query 9, keys 0, 4 and 9, two-sided, a window of 12", (9,), (0, 4, 9), 12, causal=False),
        mask_case("keys 3 to 9, 2 sinks that are not among them", range(6, 10), range(3, 10), 3, sinks=2),
        mask_case("query 10, keys 3 and 6, 4 sinks", (10,), (3, 6), 2, sinks=4),
        mask_case(
            "two-sided, 4 sinks, of which the first queries come before some",
            range(8),
            range(8),
            2,
            causal=False,
            sinks=4,
        ),
        mask_case("query 5,000, keys 0, 4,996, 4,997 and 5,000, 1 sink", (5000,), (0, 4996, 4997, 5000), 4, sinks=1),
        mask_case("two-sided, a window of 4", range(9), range(9), 4, causal=False),
        mask_case("two-sided, a window of 5", range(9), range(9), 5, causal=False),
        mask_case("two-sided, a window of 1", range(5), range(5), 1, causal=False),
        mask_case("2 sinks", range(8), range(8), 3, sinks=2),
        mask_case("4 sinks, of which the first queries come before some", range(8), range(8), 2, sinks=4),
        mask_case("2 sinks, two-sided", range(8), range(8), 3, causal=False, sinks=2),
        mask_case("global tokens 0 and 5, two-sided", range(8), range(8), 3, causal=False, global_tokens=[0, 5]),
        mask_case("query 4 alone, global token 0", (4,), range(5), 2, global_tokens=[0]),
        mask_case(
            "queries 6 to 9, keys 3 to 9, global tokens 4 and 8",
            range(6, 10),
            range(3, 10),
            2,
            causal=False,
            global_tokens=[4, 8],
        ),
        mask_case("global token 3, causal", range(6), range(6), 2, global_tokens=[3]),
        mask_case("1 sink and global token 3, causal", range(6), range(6), 2, sinks=1, global_tokens=[3]),
        mask_case(
            "2 sinks and global token 5, two-sided", range(9), range(9), 3, causal=False, sinks=2, global_tokens=[5]
        ),
        mask_case("a list of no global tokens", range(5), range(5), 2, global_tokens=[]),
        mask_case("6 queries, keys 1 and 3", range(6), (1, 3), 3),
    ),
    right_answers=(mask_one_by_one, mask_by_distance),
    mistakes={
        "the window holds w + 1 keys: the query itself counts as one of the w": near_by(lambda w: w, lambda w: 0),
        "the window holds w - 1 keys, the query itself among them": near_by(lambda w: w - 2, lambda w: 0),
        "the causal window also looks ahead": near_by(lambda w: w - 1, lambda w: w - 1),
        "a two-sided window is rounded down, (window - 1) // 2 on each side": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: ((w - 1) // 2, (w - 1) // 2)
        ),
        "a two-sided window is a causal one, looking back only": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: (w - 1, 0)
        ),
        "a causal window reaches window // 2 back, like each side of a two-sided one": near_by(
            lambda w: w // 2, lambda w: 0
        ),
        "a causal token does not see itself": near_by(lambda w: w - 1, lambda w: -1),
        "the band is on the wrong side: each query sees those after it": near_by(lambda w: 0, lambda w: w - 1),
        "there is no window, only causality": near_by(lambda w: 10**9, lambda w: 0),
        "a two-sided window reaches `window` keys to each side, where it is window // 2": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: (w, w)
        ),
        "a two-sided window is strict (< for <=), so that each side holds one key less": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: (w // 2 - 1, w // 2 - 1)
        ),
        "a two-sided window reaches window - 1 keys to each side, where it is window // 2": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: (w - 1, w - 1)
        ),
        "a two-sided window looks back only": near_by(lambda w: w - 1, lambda w: 0, two_sided=lambda w: (w // 2, 0)),
        "a two-sided window holds exactly `window` keys, one less on the left": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: ((w - 1) // 2, w // 2)
        ),
        "a two-sided window holds exactly `window` keys, one less on the right": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: (w // 2, (w - 1) // 2)
        ),
        "a two-sided window is rounded up, (window + 1) // 2 on each side": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: ((w + 1) // 2, (w + 1) // 2)
        ),
        "causal is not looked at: every window is causal": masked_with(causal=True),
        "causal is not looked at: every window is two-sided": masked_with(causal=False),
        "sinks and global tokens are seen from before them, although the mask is causal": changed(looking_ahead),
        "the sinks are seen from before them, although the mask is causal": changed(sinks_from_before),
        "a global token is seen from before it, or sees what comes later, although the mask is causal": changed(
            globals_from_before
        ),
        "the sinks see everybody too, where they are only seen": changed(sinks_see_all),
        "a causal window is told by the distance alone, |i - j| < window, and nothing hides what comes later": changed(
            near_on_both_sides
        ),
        "the sinks are not looked at": masked_with(sinks=0),
        "there is one sink too many (<= for <)": near_by(
            lambda w: w - 1, lambda w: 0, sinks_are=lambda key, sinks: key <= sinks
        ),
        "there is one sink too many (<= for <), where there are any": near_by(
            lambda w: w - 1, lambda w: 0, sinks_are=lambda key, sinks: key <= (sinks or -1)
        ),
        "the sinks are counted from the first key given, not from the start of the sequence": near_by(
            lambda w: w - 1, lambda w: 0, sinks_are=lambda key, sinks: torch.arange(len(key)) < sinks
        ),
        "the global tokens are not looked at": masked_with(global_tokens=None),
        "everybody sees the global tokens, but they do not see everybody": changed(only_columns),
        "the global tokens see everybody, but not everybody sees them": changed(only_rows),
        "the place in the tensor is taken for the position in the sequence": changed(places_for_positions),
        "queries and keys are both counted from 0, wherever they stand": changed(
            lambda queries, keys, window, pattern: window_mask(
                torch.arange(len(queries)), torch.arange(len(keys)), window, **pattern
            )
        ),
        "the mask holds the numbers 1 and 0, where it should hold True and False": changed(
            lambda queries, keys, window, pattern: window_mask(queries, keys, window, **pattern).float()
        ),
        "True stands for hidden, where it should stand for visible": changed(
            lambda queries, keys, window, pattern: ~window_mask(queries, keys, window, **pattern)
        ),
        "rows are keys and columns are queries": changed(
            lambda queries, keys, window, pattern: window_mask(queries, keys, window, **pattern).T
        ),
        "only pairs of two global tokens are added, where each of them sees all and is seen by all": changed(
            pairs_of_globals
        ),
        "a causal window has `sinks` keys less, as if they were among its keys": sinks_off_the_window(False),
        "a window has `sinks` keys less, as if they were among its keys, causal and two-sided": sinks_off_the_window(
            True
        ),
        "a sink that lies in the window is hidden (^ for |)": changed(sinks_outside_the_window),
        "a two-sided window is rounded up ahead of the query (-window // 2 is not -(window // 2))": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: (w // 2, (w + 1) // 2)
        ),
        "a two-sided window is rounded up behind the query (-window // 2 is not -(window // 2))": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: ((w + 1) // 2, w // 2)
        ),
        "a two-sided window is strict (< for <=) ahead of the query": near_by(
            lambda w: w - 1, lambda w: 0, two_sided=lambda w: (w // 2, w // 2 - 1)
        ),
        "what comes later is hidden by rows and columns (tril), where positions decide": changed(by_rows_and_columns),
        "a causal window hides what is too far back, and the future stays in sight": changed(future_in_sight),
        "the mask holds 0 and -inf, to be added to the scores, where it should hold True and False": changed(
            lambda queries, keys, window, pattern: torch.zeros(len(queries), len(keys)).masked_fill(
                ~window_mask(queries, keys, window, **pattern), -math.inf
            )
        ),
        "only the first of the global tokens is looked at": changed(
            lambda queries, keys, window, pattern: window_mask(
                queries, keys, window, **pattern | {"global_tokens": (pattern["global_tokens"] or [])[:1]}
            )
        ),
        "the sinks are not looked at in a two-sided mask": changed(
            lambda queries, keys, window, pattern: window_mask(
                queries, keys, window, **pattern | {"sinks": pattern["sinks"] if pattern["causal"] else 0}
            )
        ),
        "the sinks are not looked at where there are global tokens": changed(
            lambda queries, keys, window, pattern: window_mask(
                queries, keys, window, **pattern | {"sinks": 0 if pattern["global_tokens"] else pattern["sinks"]}
            )
        ),
        "the global tokens are not looked at in a causal mask": changed(
            lambda queries, keys, window, pattern: window_mask(
                queries,
                keys,
                window,
                **pattern | {"global_tokens": None if pattern["causal"] else pattern["global_tokens"]},
            )
        ),
        "the positions are counted on from the first query and the first key, as if none were missing": changed(
            lambda queries, keys, window, pattern: window_mask(
                queries[0] + torch.arange(len(queries)), keys[0] + torch.arange(len(keys)), window, **pattern
            )
        ),
        "the window is cut to the number of keys given, which may stand far apart": near_by_cut,
        "a window of as many keys as are given sees all of them, wherever they stand": all_keys_given,
        "a global token is a row and a column of the mask by its number, where its position decides": changed(
            rows_by_number
        ),
    },
)


# window_pairs ----------------------------------------------------------------------------------------------------


def two_sided(function, *sizes):
    return function(*sizes, causal=False)


def pairs_of_short_and_long_rows(n, window, *, causal=True):
    short = min(window if causal else window // 2, n)  # rows at one edge that see fewer
    if causal:
        return short * (short + 1) // 2 + (n - short) * short
    unseen = max(n - 1 - short, 0)  # on each side, of the first row
    return n * n - unseen * (unseen + 1)


def pairs_by_steps_beside_the_diagonal(n, window, *, causal=True):
    reach = min(window - 1 if causal else window // 2, n - 1)
    beside = reach * (2 * n - reach - 1) // 2  # n - 1, n - 2, ..., n - reach
    return n + beside + (0 if causal else beside)


def pairs_of(causal_pairs=None, two_sided_pairs=None, shortest=min):
    """A count made of a causal and a two-sided formula for a window that is cut to the text by `shortest`."""

    def one_side(n, window):
        return n * window - window * (window - 1) // 2

    def both_sides(n, half):
        return n * (2 * half + 1) - half * (half + 1)

    def window_pairs(n, window, *, causal=True):
        if causal:
            return (causal_pairs or one_side)(n, shortest(window, n))
        return (two_sided_pairs or both_sides)(n, shortest(window // 2, n - 1))

    return window_pairs


PAIRS = Exercise(
    title="count the pairs of a window",
    section="Count the pairs",
    difficulty=2,
    minutes=8,
    reference=local_global.window_pairs,
    hints=(
        "5 tokens, a causal window of 3: how many keys does each of the five queries see? What is missing from 5 · 3?",
        "Causal, the first window - 1 rows lack window - 1, ..., 2, 1 keys: window · (window - 1) / 2 in all. "
        "Two-sided, with half = window // 2, each end lacks half · (half + 1) / 2. And the window may be wider than "
        "the text.",
        "First cut: window = min(window, n), or half = min(window // 2, n - 1). Causal: n * window minus what is "
        "missing. Two-sided: n * (2 * half + 1) minus what is missing at both ends.",
    ),
    cases=(
        Case("5 tokens, a window of 3", lambda normal: (5, 3)),
        Case("a window of 1", lambda normal: (7, 1)),
        Case("a window as long as the text", lambda normal: (6, 6)),
        Case("a window longer than the text", lambda normal: (4, 9)),
        Case("512 tokens, a window of 64", lambda normal: (512, 64)),
        Case("9 tokens, two-sided, a window of 4", lambda normal: (9, 4), two_sided),
        Case("9 tokens, two-sided, a window of 5", lambda normal: (9, 5), two_sided),
        Case("11 tokens, two-sided, a window of 7", lambda normal: (11, 7), two_sided),
        Case("9 tokens, two-sided, a window of 8", lambda normal: (9, 8), two_sided),
        Case("two-sided, a window longer than the text", lambda normal: (4, 19), two_sided),
        Case("two-sided, a window as long as the text", lambda normal: (10, 10), two_sided),
        Case("two-sided, a window of 1", lambda normal: (7, 1), two_sided),
        Case("one token, a window of 3", lambda normal: (1, 3)),
        Case("one token, two-sided, a window of 3", lambda normal: (1, 3), two_sided),
        Case("8,192 tokens, two-sided, a window of 128", lambda normal: (8192, 128), two_sided),
        Case("1,000,000,001 tokens, a window of 300,000,001", lambda normal: (1_000_000_001, 300_000_001)),
        Case(
            "1,000,000,001 tokens, two-sided, a window of 300,000,002",
            lambda normal: (1_000_000_001, 300_000_002),
            two_sided,
        ),
    ),
    right_answers=(pairs_of_short_and_long_rows, pairs_by_steps_beside_the_diagonal),
    mistakes={
        "every query counts `window` keys, though the first ones see fewer": pairs_of(lambda n, window: n * window),
        "every query counts as many keys as one in the middle, though those at the ends see fewer": pairs_of(
            lambda n, window: n * window, lambda n, half: n * (2 * half + 1)
        ),
        "only the two-sided count forgets that the ends see fewer": pairs_of(
            two_sided_pairs=lambda n, half: n * (2 * half + 1)
        ),
        "window · (window + 1) / 2 is taken away, one triangle too large": pairs_of(
            lambda n, window: n * window - window * (window + 1) // 2
        ),
        "the pairs are window², as if only `window` rows had a window": pairs_of(lambda n, window: window * window),
        "a window longer than the text is not cut to it": pairs_of(shortest=lambda window, longest: window),
        "only a two-sided window is cut to the text": (
            lambda n, window, *, causal=True: (
                n * window - window * (window - 1) // 2 if causal else pairs_of()(n, window, causal=False)
            )
        ),
        "only a causal window is cut to the text": lambda n, window, *, causal=True: pairs_of(
            shortest=min if causal else lambda window, longest: window
        )(n, window, causal=causal),
        "a two-sided window of n or more is taken to see every pair, though it reaches only window // 2 to each side": (
            lambda n, window, *, causal=True: (
                n * n if window >= n and not causal else pairs_of()(n, window, causal=causal)
            )
        ),
        "two-sided, every pair counts once a token in the middle sees all, though those at the ends do not": (
            lambda n, window, *, causal=True: (
                n * n if 2 * (window // 2) + 1 >= n and not causal else pairs_of()(n, window, causal=causal)
            )
        ),
        "the triangle is divided with / and not //: a float, which holds whole numbers up to 2**53 only": pairs_of(
            lambda n, window: n * window - window * (window - 1) / 2
        ),
        "a two-sided window is strict (< for <=), so that each side holds one key less": (
            lambda n, window, *, causal=True: (
                pairs_of()(n, window) if causal else pairs_of()(n, window - 2, causal=False) if window > 1 else 0
            )
        ),
        "the token itself is not counted": pairs_of(
            lambda n, window: n * (window - 1) - window * (window - 1) // 2, lambda n, half: (n * 2 - half - 1) * half
        ),
        "a two-sided window counts half - 1 + itself + half keys, which is `window`, but it is always odd": pairs_of(
            two_sided_pairs=lambda n, half: n * 2 * half - half * half if half else n
        ),
        "a two-sided window counts `window` keys on each side, where it is window // 2": (
            lambda n, window, *, causal=True: pairs_of()(n, window if causal else 2 * window, causal=causal)
        ),
        "a two-sided window counts a causal window on each side, window - 1 keys, where it is window // 2": (
            lambda n, window, *, causal=True: pairs_of()(n, window) * (1 if causal else 2) - (0 if causal else n)
        ),
        "a causal window is not cut to the text, and every query counts `window` keys": (
            lambda n, window, *, causal=True: n * window if causal else pairs_of()(n, window, causal=False)
        ),
        "a two-sided window is not cut to the text, and its ends count as many keys as the middle": (
            lambda n, window, *, causal=True: pairs_of()(n, window) if causal else n * (2 * (window // 2) + 1)
        ),
        "a two-sided window counts `window` keys in the middle, where it is 2 · (window // 2) + 1": (
            lambda n, window, *, causal=True: (
                pairs_of()(n, window)
                if causal
                else n * window - min(window // 2, n - 1) * (min(window // 2, n - 1) + 1)
            )
        ),
        "the first rows are counted as whole windows, and a two-sided window is not cut to the text either": (
            lambda n, window, *, causal=True: n * min(window, n) if causal else n * (2 * (window // 2) + 1)
        ),
        "a two-sided window counts `window` keys in the middle, or n, where it is 2 · (window // 2) + 1": (
            lambda n, window, *, causal=True: (
                pairs_of()(n, window)
                if causal
                else n * min(window, n) - min(window // 2, n - 1) * (min(window // 2, n - 1) + 1)
            )
        ),
        "a two-sided window is cut to n before it is halved, where half of it may reach n - 1": (
            lambda n, window, *, causal=True: pairs_of()(n, window if causal else min(window, n), causal=causal)
        ),
        "a two-sided window is halved with /, and an odd one gets half a key too much on each side": (
            lambda n, window, *, causal=True: (
                pairs_of()(n, window)
                if causal
                else int(n * (2 * (half := min(window / 2, n - 1)) + 1) - half * (half + 1))
            )
        ),
        "a two-sided window, cut to n, is halved with /, and an odd one gets half a key too much on each side": (
            lambda n, window, *, causal=True: (
                pairs_of()(n, window)
                if causal
                else int(n * (2 * (half := min(min(window, n) / 2, n - 1)) + 1) - half * (half + 1))
            )
        ),
        "in a two-sided window the token itself is not counted": pairs_of(
            two_sided_pairs=lambda n, half: n * 2 * half - half * (half + 1)
        ),
        "a causal window of n or more is taken to see every pair": (
            lambda n, window, *, causal=True: n * n if window >= n and causal else pairs_of()(n, window, causal=causal)
        ),
        "a window of n or more is taken to see every pair, causal or two-sided": (
            lambda n, window, *, causal=True: n * n if window >= n else pairs_of()(n, window, causal=causal)
        ),
        "the count is a float, which holds whole numbers up to 2**53 only": (
            lambda n, window, *, causal=True: float(pairs_of()(n, window, causal=causal))
        ),
        "only one end of a two-sided window is cut": pairs_of(
            two_sided_pairs=lambda n, half: n * (2 * half + 1) - half * (half + 1) // 2
        ),
        "causal is not looked at": lambda n, window, *, causal=True: pairs_of()(n, window),
        "every query counts a whole window, which is only cut to the text": (
            lambda n, window, *, causal=True: n * min(window if causal else 2 * (window // 2) + 1, n)
        ),
        "a two-sided window is cut to the text, and its ends count as many keys as the middle": (
            lambda n, window, *, causal=True: pairs_of()(n, window) if causal else n * min(2 * (window // 2) + 1, n)
        ),
        "a two-sided window holds exactly `window` keys, one side less by one where it is even": (
            lambda n, window, *, causal=True: (
                sum(pairs_of()(n, side + 1) for side in ([window - 1] if causal else [window // 2, (window - 1) // 2]))
                - (0 if causal else n)
            )
        ),
        "a causal window is cut to n - 1, where it is n": (
            lambda n, window, *, causal=True: pairs_of()(
                n, min(window, max(n - 1, 1)) if causal else window, causal=causal
            )
        ),
        "the missing corner is half a square, window² / 2": (
            lambda n, window, *, causal=True: (
                n * window - window * window // 2 if causal and window < n else pairs_of()(n, window, causal=causal)
            )
        ),
        "half · (half - 1) is taken away at the ends of a two-sided window, where it is half · (half + 1)": pairs_of(
            two_sided_pairs=lambda n, half: n * (2 * half + 1) - half * (half - 1)
        ),
        "a causal window wider than the text counts its own triangle, not the text's": (
            lambda n, window, *, causal=True: (
                window * (window + 1) // 2 + max(n - window, 0) * window
                if causal
                else pairs_of()(n, window, causal=False)
            )
        ),
        "two tokens that see each other count once, where they are two pairs": pairs_of(
            two_sided_pairs=lambda n, half: n * (half + 1) - half * (half + 1) // 2
        ),
        "a two-sided window counts the token itself on both sides": pairs_of(
            two_sided_pairs=lambda n, half: n * (2 * half + 2) - half * (half + 1)
        ),
        "two causal windows of window // 2 are joined, which leaves out the farthest key of each side": (
            lambda n, window, *, causal=True: (
                pairs_of()(n, window) if causal else max(2 * pairs_of()(n, window // 2) - n, n)
            )
        ),
        "a two-sided window counts `window` keys in the middle, and sees every pair from 2 n on": (
            lambda n, window, *, causal=True: (
                pairs_of()(n, window)
                if causal
                else n * n
                if window // 2 >= n
                else n * window - window // 2 * (window // 2 + 1)
            )
        ),
    },
)


# keys_in_reach ---------------------------------------------------------------------------------------------------


def reach_of(**pattern):
    def outcome(function, start, stop, n, window):
        keys = with_pattern(function, start, stop, n, window, pattern=pattern)
        if isinstance(keys, list | tuple | range):
            raise Rejected(f"your function returned a {type(keys).__name__}, expected a tensor: torch.tensor makes one")
        return keys

    return outcome


def reach_by_mask(start, stop, n, window, *, causal=True, sinks=0, global_tokens=None):
    """The columns of the mask that are not empty."""
    position, pattern = torch.arange(n), dict(causal=causal, sinks=sinks, global_tokens=global_tokens)
    return window_mask(position[start:stop], position, window, **pattern).any(dim=0).nonzero().flatten()


def reach_one_by_one(start, stop, n, window, *, causal=True, sinks=0, global_tokens=None):
    chosen = global_tokens or []
    if not causal and set(chosen) & set(range(start, stop)):
        return torch.arange(0, n)
    left = window - 1 if causal else window // 2
    right = 0 if causal else window // 2
    first = min(sinks, stop) if causal else sinks
    wanted = [j for j in range(n) if j < first or j in chosen or start - left <= j <= stop - 1 + right]
    return torch.as_tensor(wanted)


def reach_from(
    left,
    right,
    cut_left=max,
    cut_right=min,
    join=None,
    sees_all=lambda token, start, stop: start <= token < stop,
    sinks_are=lambda sinks, stop, n, causal: min(sinks, stop if causal else n),
    globals_too=True,
    causal_too=False,
):
    """The band from left(...) to right(...), and the others, so that a mistake can replace a part."""

    def keys_in_reach(start, stop, n, window, *, causal=True, sinks=0, global_tokens=None):
        chosen = global_tokens or []
        if (causal_too or not causal) and any(sees_all(token, start, stop) for token in chosen):
            return torch.arange(n)
        first, last = left(start, stop, window, causal), right(start, stop, window, causal)
        band = range(cut_left(first, 0), cut_right(last, n))
        others = [*range(sinks_are(sinks, stop, n, causal)), *(chosen if globals_too else [])]
        return torch.tensor(join(band, others) if join else sorted({*band, *others}), dtype=torch.long)

    return keys_in_reach


def all_where(sees_all):
    """The right keys, and all of them in a two-sided block where sees_all(start, stop, window, sinks, tokens)."""

    def reach(start, stop, n, window, *, causal=True, sinks=0, global_tokens=None):
        if not causal and sees_all(start, stop, window, sinks, global_tokens or ()):
            return torch.arange(n)
        return keys_in_reach(start, stop, n, window, causal=causal, sinks=sinks, global_tokens=global_tokens)

    return reach


def of_the_ends(start, stop, n, window, *, causal=True, sinks=0, global_tokens=None):
    """The keys that the first or the last query sees; a two-sided block with a global token fetches all."""
    if not causal and any(start <= token < stop for token in global_tokens or ()):
        return torch.arange(n)
    given = dict(causal=causal, sinks=sinks, global_tokens=global_tokens)
    return torch.cat([keys_in_reach(at, at + 1, n, window, **given) for at in (start, stop - 1)]).unique()


def from_key_0(start, stop, n, window, *, causal=True, sinks=0, global_tokens=None):
    keys = keys_in_reach(start, stop, n, window, causal=causal, sinks=sinks, global_tokens=global_tokens)
    near = keys_in_reach(start, stop, n, window, causal=causal, sinks=sinks)
    return torch.cat([keys, torch.arange(int(near.max()) + 1)]).unique() if sinks else keys


def from_first_to_last(band, others):
    return list(range(min(band.start, *others, band.stop - 1), max(band.stop, *(key + 1 for key in others), 0)))


def uncut(place, end):
    return place


def no_sinks(sinks, stop, n, causal):
    return 0


def sees_nothing_more(token, start, stop):
    return False


def start_of_band(start, stop, window, causal):
    return start - (window - 1 if causal else window // 2)


def end_of_band(start, stop, window, causal):
    return stop if causal else stop + window // 2


REACH = Exercise(
    title="the keys a block must fetch",
    section="Blocks",
    difficulty=2,
    minutes=10,
    reference=local_global.keys_in_reach,
    hints=(
        "Queries 6, 7 and 8 stand together, the window is 4. Which is the first key that query 6 sees, and which the "
        "last that query 8 sees?",
        "The band runs from the first query's first key to the last query's last key, cut to 0 ... n - 1. Sinks and "
        "global tokens may stand in it already, and must not be fetched twice. A causal block sees no sink after its "
        "last query; a two-sided block that holds a global token sees all.",
        "band = range(max(start - left, 0), min(stop + right, n)), with left = window - 1 and right = 0 when causal, "
        "else window // 2 twice. Put band, sinks (before stop when causal) and global tokens in one set; return it "
        "sorted, as a tensor.",
    ),
    cases=(
        Case("queries 6 to 8 of 20, a window of 4", lambda normal: (6, 9, 20, 4), reach_of()),
        Case("the first queries", lambda normal: (0, 3, 20, 4), reach_of()),
        Case("a window wider than the text", lambda normal: (3, 5, 9, 40), reach_of()),
        Case("more sinks than tokens", lambda normal: (3, 5, 9, 2), reach_of(causal=False, sinks=12)),
        Case("the first queries, two-sided", lambda normal: (0, 3, 20, 7), reach_of(causal=False)),
        Case("a window of 1", lambda normal: (5, 7, 9, 1), reach_of()),
        Case("a window wider than the block", lambda normal: (10, 12, 14, 7), reach_of()),
        Case("two-sided, a window of 4", lambda normal: (6, 9, 20, 4), reach_of(causal=False)),
        Case("a block much longer than the window", lambda normal: (20, 45, 60, 3), reach_of()),
        Case("a block much longer than the window, two-sided", lambda normal: (20, 45, 60, 4), reach_of(causal=False)),
        Case("two-sided, at the end of the text", lambda normal: (16, 20, 20, 5), reach_of(causal=False)),
        Case("2 sinks", lambda normal: (9, 12, 20, 3), reach_of(sinks=2)),
        Case("2 sinks that the band holds already", lambda normal: (2, 4, 20, 3), reach_of(sinks=2)),
        Case("a block that holds 2 of 3 sinks", lambda normal: (1, 4, 20, 3), reach_of(sinks=3)),
        Case("7 sinks, 2 of them after a causal block", lambda normal: (3, 5, 20, 2), reach_of(sinks=7)),
        Case(
            "a global token right after the block",
            lambda normal: (4, 8, 20, 3),
            reach_of(causal=False, global_tokens=[8]),
        ),
        Case(
            "a global token right before the block",
            lambda normal: (4, 8, 20, 3),
            reach_of(causal=False, global_tokens=[3]),
        ),
        Case(
            "a global token at the block's first place",
            lambda normal: (4, 8, 20, 3),
            reach_of(causal=False, global_tokens=[4]),
        ),
        Case(
            "a global token at the block's last place",
            lambda normal: (4, 8, 20, 3),
            reach_of(causal=False, global_tokens=[7]),
        ),
        Case(
            "global tokens before, in and after the band",
            lambda normal: (9, 12, 20, 4),
            reach_of(causal=False, global_tokens=[1, 8, 18]),
        ),
        Case("global token 0, in a causal block", lambda normal: (0, 3, 20, 4), reach_of(global_tokens=[0])),
        Case("global token 0, before a causal block", lambda normal: (9, 12, 20, 4), reach_of(global_tokens=[0])),
        Case("two-sided, a block among 4 sinks", lambda normal: (0, 3, 20, 2), reach_of(causal=False, sinks=4)),
        Case(
            "two-sided, a block that begins among 2 sinks",
            lambda normal: (1, 4, 20, 2),
            reach_of(causal=False, sinks=2),
        ),
        Case("two-sided, 2 sinks far before the block", lambda normal: (9, 12, 20, 4), reach_of(causal=False, sinks=2)),
        Case("2 sinks and global token 0", lambda normal: (9, 12, 20, 3), reach_of(sinks=2, global_tokens=[0])),
        Case(
            "2 sinks and a global token in a two-sided block",
            lambda normal: (9, 12, 20, 3),
            reach_of(causal=False, sinks=2, global_tokens=[11]),
        ),
        Case("a list of no global tokens", lambda normal: (9, 12, 20, 3), reach_of(causal=False, global_tokens=[])),
        Case(
            "two global tokens in the block", lambda normal: (4, 8, 20, 3), reach_of(causal=False, global_tokens=[5, 6])
        ),
        Case(
            "2 sinks and global token 6, two-sided",
            lambda normal: (9, 12, 20, 4),
            reach_of(causal=False, sinks=2, global_tokens=[6]),
        ),
        Case(
            "a global token in the block, which sees everything",
            lambda normal: (9, 12, 20, 4),
            reach_of(causal=False, global_tokens=[10]),
        ),
    ),
    right_answers=(reach_by_mask, reach_one_by_one),
    mistakes={
        "only the block's own keys are fetched: that is chunked attention, where nobody sees over the edge": reach_from(
            lambda start, stop, window, causal: start, lambda start, stop, window, causal: stop
        ),
        "the band starts one key too early, w before the first query": reach_from(
            lambda start, stop, window, causal: start - (window if causal else window // 2), end_of_band
        ),
        "the band starts where the last query's window does, and the first queries lose keys": reach_from(
            lambda start, stop, window, causal: stop - 1 - (window - 1 if causal else window // 2), end_of_band
        ),
        "the band starts one key too early, causal and two-sided": reach_from(
            lambda start, stop, window, causal: start_of_band(start, stop, window, causal) - 1, end_of_band
        ),
        "the band starts `window` before the block's end, and the first queries lose keys": reach_from(
            lambda start, stop, window, causal: stop - window, end_of_band
        ),
        "a causal band starts one key too late, and the first query loses its oldest": reach_from(
            lambda start, stop, window, causal: start - (window - 2 if causal else window // 2), end_of_band
        ),
        "the band starts one key too late, and the first query loses its oldest": reach_from(
            lambda start, stop, window, causal: start_of_band(start, stop, window, causal) + 1, end_of_band
        ),
        "the first and the last query are asked, and what only those between them see is not fetched": of_the_ends,
        "the band reaches below 0": reach_from(start_of_band, end_of_band, cut_left=uncut),
        "the band runs past the end of the text": reach_from(start_of_band, end_of_band, cut_right=uncut),
        "the band is cut at neither end of the text": reach_from(
            start_of_band, end_of_band, cut_left=uncut, cut_right=uncut
        ),
        "the band is cut at n - 1, and the last token of the text is lost": reach_from(
            start_of_band, end_of_band, cut_right=lambda last, n: min(last, n - 1)
        ),
        "a causal band ends before the last query, whose own key is left out": reach_from(
            start_of_band, lambda start, stop, window, causal: stop - 1 if causal else stop + window // 2
        ),
        "a two-sided band ends one key too early": reach_from(
            start_of_band, lambda start, stop, window, causal: stop if causal else stop + window // 2 - 1
        ),
        "the band ends one key too early, causal and two-sided": reach_from(
            start_of_band, lambda start, stop, window, causal: end_of_band(start, stop, window, causal) - 1
        ),
        "the band ends one key too late": reach_from(
            start_of_band, lambda start, stop, window, causal: end_of_band(start, stop, window, causal) + 1
        ),
        "causal is not looked at: every band is causal": reach_from(
            lambda start, stop, window, causal: start - (window - 1), lambda start, stop, window, causal: stop
        ),
        "causal is not looked at: every band is two-sided": reach_from(
            lambda start, stop, window, causal: start - window // 2,
            lambda start, stop, window, causal: stop + window // 2,
        ),
        "a global token right after the block is taken to be in it (<= stop for < stop)": reach_from(
            start_of_band, end_of_band, sees_all=lambda token, start, stop: start <= token <= stop
        ),
        "a global token at the block's first place is taken to be outside it (start < for start <=)": reach_from(
            start_of_band, end_of_band, sees_all=lambda token, start, stop: start < token < stop
        ),
        "a global token at the block's last place is taken to be outside it": reach_from(
            start_of_band, end_of_band, sees_all=lambda token, start, stop: start <= token < stop - 1
        ),
        "a global token anywhere makes every block fetch all": reach_from(
            start_of_band, end_of_band, sees_all=lambda token, start, stop: True, causal_too=True
        ),
        "a global token anywhere makes every two-sided block fetch all": reach_from(
            start_of_band, end_of_band, sees_all=lambda token, start, stop: True
        ),
        "a causal block that holds global token 0 fetches all, though nothing that comes later is seen from it": (
            reach_from(start_of_band, end_of_band, causal_too=True)
        ),
        "everything between the sinks, the global tokens and the band is fetched as well": reach_from(
            start_of_band, end_of_band, join=from_first_to_last
        ),
        "a two-sided band starts window - 1 before the block, where it is window // 2": reach_from(
            lambda start, stop, window, causal: start - (window - 1), end_of_band
        ),
        "more sinks than tokens reach past the end of the text": reach_from(
            start_of_band, end_of_band, sinks_are=lambda sinks, stop, n, causal: min(sinks, stop) if causal else sinks
        ),
        "sinks after a causal block are fetched, though none of its queries sees them": reach_from(
            start_of_band, end_of_band, sinks_are=lambda sinks, stop, n, causal: min(sinks, n)
        ),
        "the keys after the block are fetched, though the mask is causal": reach_from(
            start_of_band, lambda start, stop, window, causal: stop + (window - 1 if causal else window // 2)
        ),
        "a two-sided band looks back only": reach_from(start_of_band, lambda start, stop, window, causal: stop),
        "a two-sided window reaches `window` keys to each side, where it is window // 2": reach_from(
            lambda start, stop, window, causal: start - (window - 1 if causal else window),
            lambda start, stop, window, causal: stop if causal else stop + window,
        ),
        "sinks and global tokens that stand in the band are fetched twice, and count twice in the softmax": reach_from(
            start_of_band, end_of_band, join=lambda band, others: sorted([*band, *others])
        ),
        "sinks and global tokens stand behind the band, not in ascending order": reach_from(
            start_of_band, end_of_band, join=lambda band, others: list(dict.fromkeys([*band, *others]))
        ),
        "the keys are a list, where they are a tensor": (
            lambda *sizes, **pattern: keys_in_reach(*sizes, **pattern).tolist()
        ),
        "the sinks are forgotten": reach_from(start_of_band, end_of_band, sinks_are=no_sinks),
        "the global tokens are forgotten": reach_from(
            start_of_band, end_of_band, globals_too=False, sees_all=sees_nothing_more
        ),
        "a global token outside the block is not fetched": reach_from(start_of_band, end_of_band, globals_too=False),
        "a global token in the block fetches only the band, though it sees everything": reach_from(
            start_of_band, end_of_band, sees_all=sees_nothing_more
        ),
        "a two-sided block that holds a sink fetches all, as if sinks were global tokens": all_where(
            lambda start, stop, window, sinks, chosen: start < sinks
        ),
        "a two-sided block that lies among the sinks fetches all, as if they were global tokens": all_where(
            lambda start, stop, window, sinks, chosen: stop <= sinks
        ),
        "a global token in the band beside a two-sided block makes it fetch all": all_where(
            lambda start, stop, window, sinks, chosen: any(
                start - window // 2 <= token < stop + window // 2 for token in chosen
            )
        ),
        "a two-sided block fetches only the sinks before its end, though all are seen from it": reach_from(
            start_of_band, end_of_band, sinks_are=lambda sinks, stop, n, causal: min(sinks, stop)
        ),
        "the sinks are forgotten in a two-sided block": reach_from(
            start_of_band, end_of_band, sinks_are=lambda sinks, stop, n, causal: min(sinks, stop) if causal else 0
        ),
        "a causal band starts `window` before the block's end, and its first queries lose keys": reach_from(
            lambda start, stop, window, causal: stop - window if causal else start - window // 2, end_of_band
        ),
        "a causal band ends one key too late": reach_from(
            start_of_band, lambda start, stop, window, causal: stop + (1 if causal else window // 2)
        ),
        "everything from key 0 on is fetched where there are sinks": from_key_0,
        "sinks and global tokens stand before the band, and twice where it holds them": reach_from(
            start_of_band, end_of_band, join=lambda band, others: [*others, *band]
        ),
        "a mask over all tokens is given, where the positions of those to fetch are asked for": (
            lambda start, stop, n, *given, **pattern: torch.isin(
                torch.arange(n), keys_in_reach(start, stop, n, *given, **pattern)
            )
        ),
        "global token 0 is forgotten in a causal block": (
            lambda *sizes, causal=True, sinks=0, global_tokens=None: keys_in_reach(
                *sizes, causal=causal, sinks=sinks, global_tokens=None if causal else global_tokens
            )
        ),
    },
)


# sliding_window_attention ----------------------------------------------------------------------------------------


def blocks(**pattern):
    def outcome(function, q, k, v, window, block):
        return with_pattern(function, q, k, v, window, block=block, pattern=pattern)

    return outcome


def in_linear_memory_and_time(**pattern):
    """The outcome, unless a tensor is too large or too much is multiplied.

    For each head: n · (2 window + block) entries, and as many pairs of query and key, n · sinks more, and block · n for
    each two-sided block that holds a global token.
    """

    def outcome(function, q, k, v, window, block):
        with LargestTensor() as largest, FlopCounterMode(display=False) as counter:
            out = with_pattern(function, q, k, v, window, block=block, pattern=pattern)
        tokens = pattern.get("global_tokens", ())
        most = q[..., 0].numel() * (2 * window + block)
        sinks = pattern.get("sinks", 0) + len(tokens)
        pairs = q[..., 0].numel() * (2 * window + block + sinks)
        seeing_all = set() if pattern.get("causal", True) else {token // block for token in tokens}
        pairs += q[..., 0].numel() * block * len(seeing_all)
        spent, budget = counter.get_total_flops() // 2, pairs * (q.shape[-1] + v.shape[-1])
        if largest.entries > most:
            raise Rejected(
                f"the largest tensor made has {largest.entries:,} entries ({largest.what}), "
                f"and the budget is {most:,}, n · (2 window + block) for each head"
                + ("; more is multiplied than needed, too" if spent > budget else "")
            )
        if spent > budget:
            more = f", and for all keys in {len(seeing_all)} of the blocks" * bool(seeing_all)
            raise Rejected(
                f"your function multiplies {spent:,} times, and the budget is {budget:,}, which is enough for "
                f"n · (2 window + block{' + sinks' if sinks else ''}) pairs of query and key in each head{more}"
            )
        return out

    return outcome


def unfolded(q, k, v, window, *, causal=True, sinks=0, global_tokens=None, block=64):
    """All blocks in one product: queries (blocks, block, d), and for each block the keys at its places, as indices."""
    if global_tokens and not causal:  # a block that sees all would make all others as wide
        return by_blocks()(q, k, v, window, causal=causal, sinks=sinks, global_tokens=global_tokens, block=block)
    n, heads = q.shape[-2], q.shape[-3]
    k, v = (each.repeat_interleave(heads // each.shape[-3], dim=-3) for each in (k, v))
    block = min(block, n)
    pattern = dict(causal=causal, sinks=sinks, global_tokens=global_tokens)
    starts = range(0, n, block)
    places = [keys_in_reach(start, min(start + block, n), n, window, **pattern) for start in starts]
    width = max(map(len, places))
    keys = torch.stack([torch.cat([place, place.new_zeros(width - len(place))]) for place in places])
    real = torch.stack([torch.arange(width) < len(place) for place in places])
    rows = torch.arange(len(places) * block).clamp(max=n - 1).view(len(places), block)
    mask = torch.stack([window_mask(*pair, window, **pattern) for pair in zip(rows, keys, strict=True)])
    mask = mask & real[:, None, :]
    out = scaled_dot_product_attention(q[..., rows, :], k[..., keys, :], v[..., keys, :], attn_mask=mask)
    return out.flatten(-3, -2)[..., :n, :]


def row_by_row(q, k, v, window, *, causal=True, sinks=0, global_tokens=None, block=64):
    n, rows = q.shape[-2], []
    pattern = dict(causal=causal, sinks=sinks, global_tokens=global_tokens)
    for i in range(n):
        keys = keys_in_reach(i, i + 1, n, window, **pattern)
        keys = keys[window_mask(torch.tensor([i]), keys, window, **pattern)[0]]
        rows.append(grouped_attention(q[..., i : i + 1, :], k[..., keys, :], v[..., keys, :]))
    return torch.cat(rows, dim=-2)


def by_blocks(
    reach=keys_in_reach,
    mask=lambda rows, keys, window, **pattern: window_mask(rows, keys, window, **pattern),
    attend=grouped_attention,
    starts=lambda n, block: range(0, n, block),
    pattern_of=lambda **pattern: pattern,
):
    """The band in blocks, so that a mistake can replace a part: which keys, which mask, which blocks, what pattern."""

    def sliding_window_attention(q, k, v, window, *, causal=True, sinks=0, global_tokens=None, block=64):
        n, out = q.shape[-2], []
        pattern = pattern_of(causal=causal, sinks=sinks, global_tokens=global_tokens)
        for start in starts(n, block):
            stop = min(start + block, n)
            keys = reach(start, stop, n, window, **pattern)
            visible = mask(torch.arange(start, stop), keys, window, **pattern)
            out.append(attend(q[..., start:stop, :], k[..., keys, :], v[..., keys, :], mask=visible))
        return torch.cat(out, dim=-2)

    return sliding_window_attention


def seen_by_all_only(rows, keys, window, causal, sinks, global_tokens):
    """A mask whose global tokens are seen by everybody, and see their window."""
    chosen = torch.tensor(global_tokens or [], dtype=torch.long)
    return window_mask(rows, keys, window, causal=causal, sinks=sinks) | torch.isin(keys, chosen)


def seeing_all_only(rows, keys, window, causal, sinks, global_tokens):
    """A mask whose global tokens see everybody, and are seen from their window."""
    chosen = torch.tensor(global_tokens or [], dtype=torch.long)
    everybody = torch.isin(rows, chosen)[:, None] & (keys <= rows[:, None] if causal else keys >= 0)
    return window_mask(rows, keys, window, causal=causal, sinks=sinks) | everybody


def with_padding(q, k, v, window, *, causal=True, sinks=0, global_tokens=None, block=64):
    """The first keys are missing, so zeros stand in for them, and take weight: a score of 0 is a score."""
    n, out = q.shape[-2], []
    if not causal or sinks or global_tokens:
        return unfolded(q, k, v, window, causal=causal, sinks=sinks, global_tokens=global_tokens, block=block)
    padded_k, padded_v = (torch.nn.functional.pad(each, (0, 0, window - 1, 0)) for each in (k, v))
    for start in range(0, n, block):
        stop = min(start + block, n)
        keys = torch.arange(start, stop + window - 1)
        mask = window_mask(torch.arange(start, stop) + window - 1, keys, window)
        out.append(grouped_attention(q[..., start:stop, :], padded_k[..., keys, :], padded_v[..., keys, :], mask=mask))
    return torch.cat(out, dim=-2)


def masked_whole(q, k, v, window, *, causal=True, sinks=0, global_tokens=None, block=64):
    position = torch.arange(q.shape[-2])
    mask = window_mask(position, position, window, causal=causal, sinks=sinks, global_tokens=global_tokens)
    return grouped_attention(q, k, v, mask=mask)


def pieces_of_a_whole_mask(q, k, v, window, *, block=64, **pattern):
    position = torch.arange(q.shape[-2])
    whole = window_mask(position, position, window, **pattern)
    return by_blocks(mask=lambda rows, keys, window, **pattern: whole[rows][:, keys])(
        q, k, v, window, block=block, **pattern
    )


def all_keys(start, stop, n, window, **pattern):
    return torch.arange(n)


def banded_like_queries(q, k, v, window, *, causal=True, sinks=0, global_tokens=None, block=64):
    pattern, out = dict(causal=causal, sinks=sinks, global_tokens=global_tokens), torch.zeros_like(q)
    for start in range(0, q.shape[-2], block):
        rows = torch.arange(start, min(start + block, q.shape[-2]))
        keys = keys_in_reach(start, start + len(rows), q.shape[-2], window, **pattern)
        mask = window_mask(rows, keys, window, **pattern)
        banded = grouped_attention(q[..., rows, :], k[..., keys, :], v[..., keys, :], mask=mask)
        out[..., start : start + block, :] = banded
    return out


def heads_in_turn(q, k, v, *, mask=None):
    group = q.shape[-3] // k.shape[-3]
    k, v = (torch.cat([each] * group, dim=-3) for each in (k, v))
    return attention(q, k, v, mask=mask)


def as_many_as_block(q, k, v, window, *, block=64, **pattern):
    """`block` blocks, each of the size that this takes."""
    return by_blocks()(q, k, v, window, block=-(-q.shape[-2] // block), **pattern)


def whole_if(makes_all):
    """The band in blocks, unless makes_all(window, block, causal, global tokens)."""

    def sliding_window_attention(q, k, v, window, *, causal=True, sinks=0, global_tokens=None, block=64):
        all_at_once = makes_all(window, block, causal, global_tokens)
        pattern = dict(causal=causal, sinks=sinks, global_tokens=global_tokens)
        return (masked_whole if all_at_once else by_blocks())(q, k, v, window, block=block, **pattern)

    return sliding_window_attention


def rest_left_at_zero(q, k, v, window, *, causal=True, sinks=0, global_tokens=None, block=64):
    n, pattern = q.shape[-2], dict(causal=causal, sinks=sinks, global_tokens=global_tokens)
    out = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, n // block * block, block):
        rows = torch.arange(start, start + block)
        keys = keys_in_reach(start, start + block, n, window, **pattern)
        mask = window_mask(rows, keys, window, **pattern)
        out[..., rows, :] = grouped_attention(q[..., rows, :], k[..., keys, :], v[..., keys, :], mask=mask)
    return out


def neighbours_only(q, k, v, window, *, block=64, **pattern):
    """Of the keys in reach, a block takes its own, those of the block beside it, and what is seen from everywhere."""

    def reach(start, stop, n, window, causal, sinks, global_tokens):
        keys = keys_in_reach(start, stop, n, window, causal=causal, sinks=sinks, global_tokens=global_tokens)
        chosen = torch.tensor(global_tokens or [], dtype=torch.long)
        near = (keys >= start - block) & (keys < stop + block)
        everywhere = not causal and bool(((chosen >= start) & (chosen < stop)).any())
        return keys[near | (keys < sinks) | torch.isin(keys, chosen) | everywhere]

    return by_blocks(reach)(q, k, v, window, block=block, **pattern)


def band_of_tokens(n, window, block, heads=(1,), kv_heads=None, d=8, d_value=5):
    def inputs(normal):
        *batch, count = heads
        return (
            normal(*batch, count, n, d),
            normal(*batch, kv_heads or count, n, d),
            normal(*batch, kv_heads or count, n, d_value),
            window,
            block,
        )

    return inputs


BAND = Exercise(
    title="window attention in blocks",
    section="Blocks",
    difficulty=3,
    minutes=18,
    reference=local_global.sliding_window_attention,
    hints=(
        "A block of 64 queries and a window of 128: how many keys do they see together? Which function told you?",
        "Loop over start in range(0, n, block). For each block: its rows, the keys in its reach, the mask between the "
        "two (both are positions), and grouped_attention over just these rows of q, k and v.",
        "rows = torch.arange(start, stop), keys = keys_in_reach(start, stop, n, window, ...), mask = window_mask(rows, "
        "keys, window, ...). Index q with rows and k and v with keys, [..., rows, :]; join what comes out along the "
        "token axis.",
    ),
    cases=(
        Case("24 tokens, a window of 5, blocks of 8", band_of_tokens(24, 5, 8), blocks()),
        Case("25 tokens, the last block of 1", band_of_tokens(25, 5, 8), blocks()),
        Case("a window wider than a block", band_of_tokens(26, 11, 4), blocks()),
        Case("a window of 1", band_of_tokens(9, 1, 4), blocks()),
        Case("a window as wide as the text", band_of_tokens(10, 10, 4), blocks()),
        Case("one block is longer than the text", band_of_tokens(10, 3, 64), blocks()),
        Case("two-sided, a window of 6", band_of_tokens(21, 6, 4), blocks(causal=False)),
        Case("2 sinks", band_of_tokens(22, 4, 8), blocks(sinks=2)),
        Case("3 sinks, two-sided", band_of_tokens(22, 2, 8), blocks(causal=False, sinks=3)),
        Case("one token", band_of_tokens(1, 3, 4), blocks()),
        Case(
            "2 sinks and global token 9, two-sided",
            band_of_tokens(19, 3, 4),
            blocks(causal=False, sinks=2, global_tokens=[9]),
        ),
        Case("global tokens 3 and 17", band_of_tokens(22, 4, 8), blocks(causal=False, global_tokens=[3, 17])),
        Case(
            "global tokens at the edges of a block",
            band_of_tokens(23, 3, 5),
            blocks(causal=False, global_tokens=[5, 14]),
        ),
        Case("global token 0, causal", band_of_tokens(23, 3, 5), blocks(global_tokens=[0])),
        Case("2 sinks and global token 0, causal", band_of_tokens(17, 3, 5), blocks(sinks=2, global_tokens=[0])),
        Case("a window wider than the text", band_of_tokens(11, 40, 4), blocks()),
        Case("two-sided, a window wider than the text", band_of_tokens(11, 40, 4), blocks(causal=False)),
        Case("more sinks than tokens", band_of_tokens(7, 2, 3), blocks(sinks=12)),
        Case("values of 19 numbers", band_of_tokens(13, 6, 5, d_value=19), blocks()),
        Case("causal and block are left to their defaults", lambda normal: band_of_tokens(13, 6, 5)(normal)[:4]),
        Case(
            "the gradients",
            lambda normal: band_of_tokens(9, 3, 4)(normal)[:4],
            felt("q", "k", "v", block=4),
        ),
        Case("a batch of 2 with 6 heads on 2 key heads", band_of_tokens(13, 4, 5, (2, 6), 2), blocks()),
        Case("float64", band_of_tokens(19, 4, 8, (2,)), blocks(), dtype=torch.float64),
        Case("float16", band_of_tokens(19, 4, 8, (2,)), blocks(), dtype=torch.float16),
        Case(
            "scores of -2,500,000,000",
            lambda normal: (*(each[None, None] for each in far_below(normal, 11, 11, 3)), 4, 4),
            blocks(),
        ),
        Case("memory and time: 120 tokens", band_of_tokens(120, 8, 16), in_linear_memory_and_time()),
        Case("memory and time: two-sided", band_of_tokens(64, 8, 16), in_linear_memory_and_time(causal=False)),
        Case("memory and time: a window wider than a block", band_of_tokens(70, 20, 8), in_linear_memory_and_time()),
        Case("memory and time: 2 sinks", band_of_tokens(64, 8, 16), in_linear_memory_and_time(sinks=2)),
        Case(
            "memory and time: 2 sinks, two-sided",
            band_of_tokens(64, 4, 16),
            in_linear_memory_and_time(causal=False, sinks=2),
        ),
        Case(
            "memory and time: global tokens 3 and 37, two-sided",
            band_of_tokens(64, 2, 8),
            in_linear_memory_and_time(causal=False, global_tokens=[3, 37]),
        ),
        Case(
            "memory and time: 31 tokens in blocks of 3",
            band_of_tokens(31, 2, 3, d=4, d_value=3),
            in_linear_memory_and_time(),
        ),
        Case(
            "memory and time: global token 0",
            band_of_tokens(64, 8, 16),
            in_linear_memory_and_time(global_tokens=[0]),
        ),
    ),
    right_answers=(by_blocks(), unfolded, row_by_row),
    mistakes={
        "the whole score matrix is made and masked: the right numbers, and nothing saved": masked_whole,
        "only the keys in reach are scored, but the mask is made for all pairs at once": pieces_of_a_whole_mask,
        "every block scores all keys: the memory is saved, the time is not": by_blocks(reach=all_keys),
        "every block scores all keys up to its end: half of the time is saved, and no more": by_blocks(
            reach=lambda start, stop, n, window, causal, **others: torch.arange(stop if causal else n)
        ),
        "the keys between the sinks and the band are fetched as well, more and more of them": by_blocks(
            reach=lambda *sizes, **pattern: torch.arange(
                (keys := keys_in_reach(*sizes, **pattern))[0].item(), keys[-1].item() + 1
            )
        ),
        "the global tokens are in the mask, but their keys were not fetched": by_blocks(
            reach=lambda *sizes, global_tokens, **pattern: keys_in_reach(*sizes, **pattern)
        ),
        "each block sees only its own keys: that is chunked attention, not a sliding window": by_blocks(
            reach=lambda start, stop, n, window, **pattern: torch.arange(start, stop)
        ),
        "the block sees all the keys it fetched, unmasked: keys older than the window, and its own future": by_blocks(
            mask=lambda rows, keys, window, **pattern: None
        ),
        "inside the fetched keys only the future is masked: keys older than the window leak in": by_blocks(
            mask=lambda rows, keys, window, causal, **others: keys <= rows[:, None] if causal else None
        ),
        "the output is made like q, with d columns, where it has those of v": banded_like_queries,
        "the key heads are laid out 0 1 0 1 (repeat), where a group of query heads shares one (repeat_interleave)": (
            by_blocks(attend=heads_in_turn)
        ),
        "the mask counts from the first fetched key, not from the start of the sequence": by_blocks(
            mask=lambda rows, keys, window, **pattern: window_mask(
                torch.arange(len(rows)), torch.arange(len(keys)), window, **pattern
            )
        ),
        "the window of the mask has w + 1 keys": by_blocks(
            reach=lambda start, stop, n, window, **others: keys_in_reach(start, stop, n, window + 1, **others),
            mask=lambda rows, keys, window, **pattern: window_mask(rows, keys, window + 1, **pattern),
        ),
        "the window of the mask has w + 1 keys, of which w are fetched": by_blocks(
            mask=lambda rows, keys, window, **pattern: window_mask(rows, keys, window + 1, **pattern)
        ),
        "the mask is used the wrong way round, with True for hidden": by_blocks(
            mask=lambda rows, keys, window, **pattern: ~window_mask(rows, keys, window, **pattern)
        ),
        "the keys begin where the window of the block's last query does, and its first queries lose keys": by_blocks(
            reach=lambda start, stop, n, window, **pattern: keys_in_reach(stop - 1, stop, n, window, **pattern)
        ),
        "the keys of a two-sided window are fetched as if it were causal": by_blocks(
            reach=lambda start, stop, n, window, causal, **others: keys_in_reach(
                start, stop, n, window, **(others if others["global_tokens"] is None else {**others, "causal": causal})
            )
        ),
        "causal is not handed to the mask, which then hides what comes later": by_blocks(
            mask=lambda rows, keys, window, causal, **others: window_mask(rows, keys, window, **others)
        ),
        "the first block is padded with zeros, and a zero still takes weight": with_padding,
        "the last, shorter block is left out": by_blocks(
            starts=lambda n, block: range(0, max(n - block, 0) + 1, block)
        ),
        "causal is not handed on: every window is causal": by_blocks(
            pattern_of=lambda causal, **others: (
                {**others, "causal": True, "global_tokens": None}
                if others["global_tokens"] is None
                else {**others, "causal": causal}
            )
        ),
        "the sinks are not handed on": by_blocks(pattern_of=lambda sinks, **others: others),
        "the global tokens are not handed on": by_blocks(pattern_of=lambda global_tokens, **others: others),
        "everybody sees the global tokens, but they do not see everybody": by_blocks(mask=seen_by_all_only),
        "the global tokens see everybody, but not everybody sees them": by_blocks(mask=seeing_all_only),
        "sinks and global tokens are not handed on": by_blocks(pattern_of=lambda causal, **others: {"causal": causal}),
        "the sinks are in the mask, but their keys were not fetched": by_blocks(
            reach=lambda start, stop, n, window, sinks, **others: keys_in_reach(start, stop, n, window, **others)
        ),
        "attention is called, which knows no shared key heads (grouped_attention does)": by_blocks(attend=attention),
        "64 queries are taken at a time also where `block` says fewer": (
            lambda q, k, v, window, *, block=64, **pattern: by_blocks()(q, k, v, window, **pattern)
        ),
        "`block` is taken for the number of blocks, where it is the queries of one": as_many_as_block,
        "a two-sided block that holds a sink scores all keys, as if sinks were global tokens": by_blocks(
            reach=all_where(lambda start, stop, window, sinks, chosen: start < sinks)
        ),
        "only a causal window goes in blocks, and a two-sided one makes the whole score matrix": whole_if(
            lambda window, block, causal, tokens: not causal
        ),
        "a window wider than a block makes the whole score matrix": whole_if(
            lambda window, block, causal, tokens: window > block
        ),
        "in a two-sided block that holds a global token every query sees every key": by_blocks(
            mask=lambda rows, keys, window, causal, sinks, global_tokens: (
                None
                if not causal and set(rows.tolist()) & set(global_tokens or ())
                else window_mask(rows, keys, window, causal=causal, sinks=sinks, global_tokens=global_tokens)
            )
        ),
        "global tokens make the whole score matrix, also for blocks that hold none": whole_if(
            lambda window, block, causal, tokens: bool(tokens)
        ),
        "a block reads no further than the block beside it, and a window wider than a block is cut": neighbours_only,
        "sinks that lie in the band are fetched once more, and count twice in the softmax": by_blocks(
            reach=lambda start, stop, n, window, sinks, **others: torch.cat(
                [torch.arange(min(sinks, n)), keys_in_reach(start, stop, n, window, **others)]
            )
        ),
        "the mask counts the fetched keys 0, 1, 2, ..., where their positions decide": by_blocks(
            mask=lambda rows, keys, window, **pattern: window_mask(rows, torch.arange(len(keys)), window, **pattern)
        ),
        "the mask counts the fetched keys, and takes the queries for the last of them": by_blocks(
            mask=lambda rows, keys, window, **pattern: window_mask(
                torch.arange(len(keys))[-len(rows) :], torch.arange(len(keys)), window, **pattern
            )
        ),
        "the last, shorter block is never computed and stays 0": rest_left_at_zero,
        "a two-sided window reaches `window` keys to each side, where it is window // 2": (
            lambda q, k, v, window, *, causal=True, **others: by_blocks()(
                q, k, v, window if causal else 2 * window, causal=causal, **others
            )
        ),
        "a two-sided mask is told window // 2, which it halves again": by_blocks(
            mask=lambda rows, keys, window, causal, **others: window_mask(
                rows, keys, window if causal else max(window // 2, 1), causal=causal, **others
            )
        ),
        "the scores are not divided by √d": lambda q, k, v, *others, **pattern: by_blocks()(
            q * q.shape[-1] ** 0.5, k, v, *others, **pattern
        ),
        "the scores are divided by √d_value, where it is √d": lambda q, k, v, *others, **pattern: by_blocks()(
            q * (q.shape[-1] / v.shape[-1]) ** 0.5, k, v, *others, **pattern
        ),
    },
)


# receptive_field -------------------------------------------------------------------------------------------------


def field_layer_by_layer(layers, window, *, causal=True):
    oldest = newest = 0
    for _ in range(layers):
        oldest, newest = (oldest - window + 1, newest) if causal else (oldest - window // 2, newest + window // 2)
    return newest - oldest + 1


FIELD = Exercise(
    title="the receptive field of a stack",
    section="How far does a stack reach?",
    difficulty=1,
    minutes=6,
    reference=local_global.receptive_field,
    hints=(
        "One layer, a causal window of 3: which tokens touch output 10? And if the tokens it reads have each read "
        "through a window of 3 before?",
        "Each layer adds what its window sees beside the token itself: window - 1 tokens further back, or window // 2 "
        "to each side. The token itself is counted once, not once a layer.",
        "reach = window - 1 if causal else 2 * (window // 2). What remains is the number of layers times the reach, "
        "and the token itself.",
    ),
    cases=(
        Case("1 layer, a window of 3", lambda normal: (1, 3)),
        Case("4 layers, a window of 16", lambda normal: (4, 16)),
        Case("5 layers, a window of 1", lambda normal: (5, 1)),
        Case("32 layers, a window of 4,096", lambda normal: (32, 4096)),
        Case("3 layers, two-sided, a window of 5", lambda normal: (3, 5), two_sided),
        Case("1 layer, two-sided, a window of 3", lambda normal: (1, 3), two_sided),
        Case("2 layers, two-sided, a window of 7", lambda normal: (2, 7), two_sided),
        Case("14 layers, two-sided, a window of 128", lambda normal: (14, 128), two_sided),
        Case("7 layers, two-sided, a window of 1", lambda normal: (7, 1), two_sided),
    ),
    right_answers=(
        field_layer_by_layer,
        lambda layers, window, *, causal=True: 1 + layers * (window - 1 if causal else window // 2 * 2),
    ),
    mistakes={
        "layers · window: the token itself is counted once per layer": lambda layers, window, *, causal=True: (
            layers * (window if causal else 2 * (window // 2) + 1)
        ),
        "layers · window, and two-sided windows are not told apart": lambda layers, window, *, causal=True: (
            layers * window
        ),
        "layers · window and the token itself: one too many a layer, and causal is not looked at": (
            lambda layers, window, *, causal=True: 1 + layers * window
        ),
        "the token itself is left out, and causal is not looked at": lambda layers, window, *, causal=True: (
            layers * (window - 1)
        ),
        "a two-sided window reaches `window` tokens in all, where it is 2 · (window // 2)": (
            lambda layers, window, *, causal=True: 1 + layers * (window - 1 if causal else window)
        ),
        "window to the power of layers": lambda layers, window, *, causal=True: window**layers,
        "causal is not looked at: every window is two-sided": lambda layers, window, *, causal=True: (
            1 + layers * 2 * (window // 2)
        ),
        "the last layer is not counted, as if a stack of one reached nothing": lambda layers, window, *, causal=True: (
            1 + (layers - 1) * (window - 1 if causal else 2 * (window // 2))
        ),
        "two-sided, the token itself is counted once per layer": lambda layers, window, *, causal=True: (
            1 + layers * (window - 1) if causal else layers * (2 * (window // 2) + 1)
        ),
        "the token itself is left out": lambda layers, window, *, causal=True: (
            layers * (window - 1 if causal else 2 * (window // 2))
        ),
        "depth adds nothing: the window of one layer is given": lambda layers, window, *, causal=True: (
            window if causal else 2 * (window // 2) + 1
        ),
        "depth multiplies: window to the power of layers": lambda layers, window, *, causal=True: (
            (window if causal else 2 * (window // 2) + 1) ** layers
        ),
        "a two-sided stack grows to one side only": lambda layers, window, *, causal=True: (
            1 + layers * (window - 1 if causal else window // 2)
        ),
        "causal is not looked at": lambda layers, window, *, causal=True: 1 + layers * (window - 1),
        "a two-sided window reaches (window - 1) // 2 to each side, where it is window // 2": (
            lambda layers, window, *, causal=True: 1 + layers * (window - 1 if causal else 2 * ((window - 1) // 2))
        ),
        "a two-sided window reaches `window` tokens to each side, where it is window // 2": (
            lambda layers, window, *, causal=True: 1 + layers * (window - 1 if causal else 2 * window)
        ),
        "a two-sided window is halved with /, a float, and odd ones get half a token too much": (
            lambda layers, window, *, causal=True: 1 + layers * (window - 1 if causal else 2 * (window / 2))
        ),
        "the reach is `window` tokens a layer, one too many": lambda layers, window, *, causal=True: (
            1 + layers * (window if causal else 2 * (window // 2))
        ),
        "layers · window is halved, where it is the window: odd ones reach too far": (
            lambda layers, window, *, causal=True: 1 + (layers * (window - 1) if causal else 2 * (layers * window // 2))
        ),
        "half of a two-sided window is rounded to an even number by round(), where it is rounded down": (
            lambda layers, window, *, causal=True: 1 + layers * (window - 1 if causal else 2 * round(window / 2))
        ),
        "half of a two-sided window is rounded up": lambda layers, window, *, causal=True: (
            1 + layers * (window - 1 if causal else 2 * ((window + 1) // 2))
        ),
        "each layer doubles the reach, where it adds the same again": lambda layers, window, *, causal=True: (
            1 + (window - 1 if causal else 2 * (window // 2)) * 2 ** (layers - 1)
        ),
        "each layer reaches twice as far as the one below, as dilated windows do": (
            lambda layers, window, *, causal=True: 1 + (window - 1 if causal else 2 * (window // 2)) * (2**layers - 1)
        ),
        "one layer too many is counted": lambda layers, window, *, causal=True: (
            1 + (layers + 1) * (window - 1 if causal else 2 * (window // 2))
        ),
        "causal and two-sided are exchanged": lambda layers, window, *, causal=True: (
            1 + layers * (2 * (window // 2) if causal else window - 1)
        ),
        "the token itself is counted on both sides of a two-sided stack": lambda layers, window, *, causal=True: (
            1 + layers * (window - 1) if causal else 2 + layers * 2 * (window // 2)
        ),
        "what a layer adds is raised to the power of layers": lambda layers, window, *, causal=True: (
            1 + (window - 1 if causal else 2 * (window // 2)) ** layers
        ),
        "the count is a float, where it is a whole number": lambda layers, window, *, causal=True: (
            1.0 + layers * (window - 1 if causal else 2 * (window // 2))
        ),
    },
)


# layer_pattern ---------------------------------------------------------------------------------------------------


KIND = {"G": "full", "L": "window"}


def pattern_from(letter):
    """A pattern whose layer i has the letter letter(unit, i, layers)."""
    return lambda unit, layers: tuple(KIND[letter(unit, layer, layers)] for layer in range(layers))


def pattern_by_slices(unit, layers):
    whole = (unit * layers)[:layers]
    return ["full" if letter == "G" else "window" for letter in whole]


PATTERN = Exercise(
    title="the pattern of a stack",
    section="A few layers that see everything",
    difficulty=1,
    minutes=5,
    reference=local_global.layer_pattern,
    hints=(
        "ModernBERT repeats GLL. Which letter has layer 0, layer 3, layer 21 of its 22? Which operator says so?",
        'Layer i has the letter unit[i % len(unit)]. G is "full", L is "window". The unit need not fit a whole number '
        "of times.",
        "A dictionary from letter to name, then a tuple over layer in range(layers) of the name of "
        "unit[layer % len(unit)].",
    ),
    cases=(
        Case("GLL, 22 layers, as ModernBERT-base", lambda normal: ("GLL", 22)),
        Case("L, 32 layers, as Mistral 7B", lambda normal: ("L", 32)),
        Case("GLL, 6 layers", lambda normal: ("GLL", 6)),
        Case("LLLLLG, 8 layers", lambda normal: ("LLLLLG", 8)),
        Case("LG, 5 layers", lambda normal: ("LG", 5)),
        Case("L, 3 layers", lambda normal: ("L", 3)),
        Case("a unit longer than the stack", lambda normal: ("GLLLG", 3)),
        Case("GGL, 7 layers", lambda normal: ("GGL", 7)),
        Case("LGGLL, 12 layers", lambda normal: ("LGGLL", 12)),
        Case("GLLG, 10 layers", lambda normal: ("GLLG", 10)),
        Case("G, 4 layers", lambda normal: ("G", 4)),
    ),
    right_answers=(pattern_by_slices, pattern_from(lambda unit, layer, layers: (unit * (layer + 1))[layer])),
    mistakes={
        "the unit is repeated `layers` times, so the stack is too deep": lambda unit, layers: tuple(
            KIND[letter] for letter in unit * layers
        ),
        "only whole units are placed, and the last layers are missing": lambda unit, layers: tuple(
            KIND[letter] for letter in unit * (layers // len(unit))
        ),
        "G and L are taken for each other": lambda unit, layers: tuple(
            "window" if unit[layer % len(unit)] == "G" else "full" for layer in range(layers)
        ),
        "the pattern is counted from the last layer": pattern_from(
            lambda unit, layer, layers: unit[(layers - 1 - layer) % len(unit)]
        ),
        "layers are counted from 1, so the pattern is shifted by one": pattern_from(
            lambda unit, layer, layers: unit[(layer + 1) % len(unit)]
        ),
        "the pattern begins with the unit's last letter, shifted by one": pattern_from(
            lambda unit, layer, layers: unit[(layer - 1) % len(unit)]
        ),
        "the pattern ends with the whole unit, and its beginning is cut": pattern_from(
            lambda unit, layer, layers: unit[(layer - layers) % len(unit)]
        ),
        "the first layer of each unit is global, and no other, whatever the unit says": pattern_from(
            lambda unit, layer, layers: "L" if layer % len(unit) else "G"
        ),
        "the last unit is not cut where the layers end": lambda unit, layers: tuple(
            KIND[letter] for letter in unit * -(-layers // len(unit))
        ),
        "the letters are given, where names are asked for": lambda unit, layers: tuple((unit * layers)[:layers]),
        'the names are "global" and "local", where "full" and "window" are asked for': lambda unit, layers: tuple(
            "global" if letter == "G" else "local" for letter in (unit * layers)[:layers]
        ),
        "the unit is taken to have three letters always": pattern_from(
            lambda unit, layer, layers: unit[min(layer % 3, len(unit) - 1)]
        ),
        "the unit is given as it is, not repeated": lambda unit, layers: tuple(KIND[letter] for letter in unit),
        "every third layer is global whatever the unit says": pattern_from(
            lambda unit, layer, layers: "L" if layer % 3 else "G"
        ),
        "only the first G of the unit is full": pattern_from(
            lambda unit, layer, layers: "G" if layer % len(unit) == unit.find("G") else "L"
        ),
        "only the last G of the unit is full": pattern_from(
            lambda unit, layer, layers: "G" if layer % len(unit) == unit.rfind("G") else "L"
        ),
        "only whole units are placed, and the layers that are left are windows": pattern_from(
            lambda unit, layer, layers: unit[layer % len(unit)] if layer < layers // len(unit) * len(unit) else "L"
        ),
        "the last layer is always full, whatever the unit says": pattern_from(
            lambda unit, layer, layers: "G" if layer == layers - 1 else unit[layer % len(unit)]
        ),
        "the unit is not repeated, and only cut to the layers": lambda unit, layers: tuple(
            KIND[letter] for letter in unit[:layers]
        ),
        "each letter of the unit stands for a stretch of layers, one after the other": pattern_from(
            lambda unit, layer, layers: unit[layer * len(unit) // layers]
        ),
    },
)


# saving ----------------------------------------------------------------------------------------------------------


def kinds(unit, layers, n, window):
    """A case's inputs: a pattern, a length, a window."""
    return lambda normal: (local_global.layer_pattern(unit, layers), n, window)


def saved_two_sided(function, layer_types, n, window):
    return function(layer_types, n, window, causal=False)


def saving_by_shares(layer_types, n, window, *, causal=True):
    local = pattern_pairs(["window"], n, window, causal=causal) / pattern_pairs(["full"], n, window, causal=causal)
    return len(layer_types) / sum(1 if kind == "full" else local for kind in layer_types)


def saving_by_hand(layer_types, n, window, *, causal=True):
    full = n * (n + 1) // 2 if causal else n * n
    local = local_global.window_pairs(n, window, causal=causal)
    count = sum(kind == "full" for kind in layer_types)
    return len(layer_types) * full / (count * full + (len(layer_types) - count) * local)


def saved_with(layer_types, full, local):
    """The saving of a stack whose layers cost so many pairs each."""
    return len(layer_types) * full / sum(full if kind == "full" else local for kind in layer_types)


SAVING = Exercise(
    title="what a pattern saves, and its ceiling",
    section="A few layers that see everything",
    difficulty=2,
    minutes=8,
    reference=local_global.saving,
    hints=(
        "22 layers, 8 of them full. If the other 14 cost nothing at all, how much cheaper is the stack than 22 full "
        "layers?",
        "The saving is a quotient of two counts: the pairs of a stack of the same depth whose layers are all full, and "
        "the pairs of this one. pattern_pairs counts both.",
        'all_full = ("full",) * len(layer_types). Divide its pairs by those of layer_types; hand causal on to both.',
    ),
    cases=(
        Case("GLL, 22 layers, 8,192 tokens, 128, two-sided", kinds("GLL", 22, 8192, 128), saved_two_sided),
        Case("GLL, 22 layers, 512 tokens, 128, two-sided", kinds("GLL", 22, 512, 128), saved_two_sided),
        Case("LLLLLG, 48 layers, 131,072 tokens, 1,024", kinds("LLLLLG", 48, 131_072, 1024)),
        Case("LG, 5 layers, 100 tokens, 8", kinds("LG", 5, 100, 8)),
        Case("all full", kinds("G", 6, 50, 8)),
        Case("all local", kinds("L", 6, 50, 8)),
        Case("a text shorter than the window", kinds("GLL", 6, 20, 64)),
        Case("a text as long as the window, two-sided", kinds("GLL", 7, 30, 30), saved_two_sided),
    ),
    right_answers=(saving_by_shares, saving_by_hand),
    mistakes={
        "the quotient is cut to a whole number (// for /)": lambda layer_types, n, window, *, causal=True: (
            pattern_pairs(["full"] * len(layer_types), n, window, causal=causal)
            // pattern_pairs(layer_types, n, window, causal=causal)
        ),
        "the quotient stands upside down": lambda layer_types, n, window, *, causal=True: (
            1 / saving_by_hand(layer_types, n, window, causal=causal)
        ),
        "the ceiling is given, and without full layers the number of layers": (
            lambda layer_types, n, window, *, causal=True: len(layer_types) / max(list(layer_types).count("full"), 1)
        ),
        "the ceiling is given, as if the window layers cost nothing": lambda layer_types, n, window, *, causal=True: (
            local_global.saving_ceiling(layer_types)
        ),
        "the layers are divided by the window layers, where it is the full ones that remain": (
            lambda layer_types, n, window, *, causal=True: (
                len(layer_types) / (len(layer_types) - list(layer_types).count("full") or math.inf)
            )
        ),
        "it is the saving of one window layer, n / window, and the full layers are forgotten": (
            lambda layer_types, n, window, *, causal=True: n / window
        ),
        "it is the saving of one window layer in pairs, and the full layers are forgotten": (
            lambda layer_types, n, window, *, causal=True: (
                pattern_pairs(["full"], n, window, causal=causal) / pattern_pairs(["window"], n, window, causal=causal)
            )
        ),
        "the full layers that it is compared with are counted as n², with the future that they never score": (
            lambda layer_types, n, window, *, causal=True: (
                len(layer_types) * n * n / pattern_pairs(layer_types, n, window, causal=causal)
            )
        ),
        "the savings of the layers are averaged, where their pairs are added up": (
            lambda layer_types, n, window, *, causal=True: (
                sum(saving_by_hand([kind], n, window, causal=causal) for kind in layer_types) / len(layer_types)
            )
        ),
        "a window layer is counted as n · window, though the first queries see fewer": (
            lambda layer_types, n, window, *, causal=True: saved_with(
                layer_types, n * (n + 1) // 2 if causal else n * n, n * min(window, n)
            )
        ),
        "full and window layers are taken for each other": lambda layer_types, n, window, *, causal=True: (
            saving_by_hand(["window" if kind == "full" else "full" for kind in layer_types], n, window, causal=causal)
        ),
        "a full causal layer is counted as n² / 2, without half of the diagonal": (
            lambda layer_types, n, window, *, causal=True: saved_with(
                layer_types, n * n / (2 if causal else 1), local_global.window_pairs(n, window, causal=causal)
            )
        ),
        "the ceiling is given, and without full layers n / window": lambda layer_types, n, window, *, causal=True: (
            len(layer_types) / list(layer_types).count("full") if "full" in layer_types else n / window
        ),
        "causal is not handed on": lambda layer_types, n, window, *, causal=True: saving_by_hand(
            layer_types, n, window
        ),
        "causal is handed on for one of the two counts only": lambda layer_types, n, window, *, causal=True: (
            pattern_pairs(["full"] * len(layer_types), n, window) / pattern_pairs(layer_types, n, window, causal=causal)
        ),
        "the stack is compared with a single full layer": lambda layer_types, n, window, *, causal=True: (
            pattern_pairs(["full"], n, window, causal=causal) / pattern_pairs(layer_types, n, window, causal=causal)
        ),
        "the difference is given, where a factor is asked": lambda layer_types, n, window, *, causal=True: (
            pattern_pairs(["full"] * len(layer_types), n, window, causal=causal)
            - pattern_pairs(layer_types, n, window, causal=causal)
        ),
        "the share that is saved is given, where a factor is asked": lambda layer_types, n, window, *, causal=True: (
            1 - 1 / saving_by_hand(layer_types, n, window, causal=causal)
        ),
        "the factor is rounded to two decimals": lambda layer_types, n, window, *, causal=True: round(
            saving_by_hand(layer_types, n, window, causal=causal), 2
        ),
        "the factor is rounded to four decimals": lambda layer_types, n, window, *, causal=True: round(
            saving_by_hand(layer_types, n, window, causal=causal), 4
        ),
        "a full layer is counted as a window of n, which two-sided reaches only n // 2 to each side": (
            lambda layer_types, n, window, *, causal=True: saved_with(
                layer_types,
                local_global.window_pairs(n, n, causal=causal),
                local_global.window_pairs(n, window, causal=causal),
            )
        ),
        "only the stack that it is compared with counts a full layer as a window of n, too few pairs two-sided": (
            lambda layer_types, n, window, *, causal=True: (
                len(layer_types)
                * local_global.window_pairs(n, n, causal=causal)
                / pattern_pairs(layer_types, n, window, causal=causal)
            )
        ),
        "a window layer counts a whole window for every query, up to a full layer's pairs": (
            lambda layer_types, n, window, *, causal=True: saved_with(
                layer_types,
                full := n * (n + 1) // 2 if causal else n * n,
                min(n * (window if causal else 2 * (window // 2) + 1), full),
            )
        ),
        "only the stack that it is compared with counts a full causal layer as n² / 2": (
            lambda layer_types, n, window, *, causal=True: (
                len(layer_types) * n * n / (2 if causal else 1) / pattern_pairs(layer_types, n, window, causal=causal)
            )
        ),
    },
)


# pattern_kv_bytes ------------------------------------------------------------------------------------------------


def kv_layer_by_layer(layer_types, n, window, kv_heads, head_dim, element_bytes=2):
    total = 0
    for kind in layer_types:
        tokens = n if kind == "full" or n < window else window
        total += tokens * kv_heads * head_dim * element_bytes * 2
    return total


def kv_bytes(
    tokens=lambda kind, n, window: n if kind == "full" else min(n, window),
    each=lambda heads, d, e: 2 * heads * d * e,
):
    """Bytes made of the tokens that a layer holds and the bytes of each, so that a mistake can replace one."""

    def pattern_kv_bytes(layer_types, n, window, kv_heads, head_dim, element_bytes=2):
        return sum(tokens(kind, n, window) for kind in layer_types) * each(kv_heads, head_dim, element_bytes)

    return pattern_kv_bytes


def held(unit, layers, *sizes):
    return lambda normal: (local_global.layer_pattern(unit, layers), *sizes)


KV_BYTES = Exercise(
    title="the bytes of a mixed cache",
    section="A few layers that see everything",
    difficulty=2,
    minutes=8,
    reference=local_global.pattern_kv_bytes,
    hints=(
        "At token 131,072, how many tokens does a full layer hold, and how many a layer with a window of 1,024? And at "
        "token 500?",
        "Add up the tokens over the layers: n in a full one, the smaller of n and window in the others. Each token is "
        "kv_heads · head_dim numbers, for keys and again for values.",
        'tokens = sum(... for kind in layer_types), where a "full" layer counts n. Multiply by kv_heads, head_dim and '
        "element_bytes, and do not forget that there are keys and values.",
    ),
    cases=(
        Case("Gemma 3 12B at 131,072 tokens", held("LLLLLG", 48, 131_072, 1024, 8, 256)),
        Case("gpt-oss-120b at 131,072 tokens", held("LG", 36, 131_072, 128, 8, 64)),
        Case("GLL, 7 layers, 1,000 tokens, a window of 100, 3 heads of 4", held("GLL", 7, 1000, 100, 3, 4)),
        Case("a text shorter than the window", held("GL", 4, 50, 128, 2, 8)),
        Case("10**15 + 1 tokens, 11 heads of 13", held("GLL", 7, 10**15 + 1, 129, 11, 13)),
        Case("all full", held("G", 3, 100, 8, 2, 4)),
        Case("all local, 4 bytes each", held("L", 3, 100, 8, 2, 4, 4)),
        Case("GLL, 5 layers, 1 byte each", held("GLL", 5, 90, 7, 3, 4, 1)),
    ),
    right_answers=(
        kv_layer_by_layer,
        lambda layer_types, n, window, kv_heads, head_dim, element_bytes=2: (
            2
            * kv_heads
            * head_dim
            * element_bytes
            * (list(layer_types).count("full") * n + list(layer_types).count("window") * min(n, window))
        ),
    ),
    mistakes={
        "every layer holds the window only, though full layers grow with the text": kv_bytes(
            tokens=lambda kind, n, window: min(n, window)
        ),
        "every layer holds the whole text": kv_bytes(tokens=lambda kind, n, window: n),
        "only the full layers are counted": kv_bytes(tokens=lambda kind, n, window: n if kind == "full" else 0),
        "a window layer holds `window` tokens even when there are fewer": kv_bytes(
            tokens=lambda kind, n, window: n if kind == "full" else window
        ),
        "a window layer holds window - 1 tokens, as between two tokens, and not the one that is decoded": kv_bytes(
            tokens=lambda kind, n, window: n if kind == "full" else min(n, window - 1)
        ),
        "a window layer holds window + 1 tokens, the decoded one beside the window": kv_bytes(
            tokens=lambda kind, n, window: n if kind == "full" else min(n, window + 1)
        ),
        "the token that is decoded is left out in the full layers": kv_bytes(
            tokens=lambda kind, n, window: n - 1 if kind == "full" else min(n, window)
        ),
        "the token that is decoded is left out in the full layers and in short texts": kv_bytes(
            tokens=lambda kind, n, window: n - 1 if kind == "full" else min(n - 1, window)
        ),
        "the token that is decoded is left out in every layer": kv_bytes(
            tokens=lambda kind, n, window: n - 1 if kind == "full" else min(n, window) - 1
        ),
        "pairs of query and key are counted, where a cache holds keys": (
            lambda layer_types, n, window, kv_heads, head_dim, element_bytes=2: (
                2 * pattern_pairs(layer_types, n, window) * kv_heads * head_dim * element_bytes
            )
        ),
        "element_bytes is taken for bits, and divided by 8": (
            lambda layer_types, n, window, kv_heads, head_dim, element_bytes=2: (
                kv_layer_by_layer(layer_types, n, window, kv_heads, head_dim, element_bytes) // 8
            )
        ),
        "the bytes are a float, which holds whole numbers up to 2**53 only": (
            lambda *sizes: float(kv_layer_by_layer(*sizes))
        ),
        "full and window layers are taken for each other": kv_bytes(
            tokens=lambda kind, n, window: min(n, window) if kind == "full" else n
        ),
        "keys are counted and values are not: the factor 2 is missing": kv_bytes(
            each=lambda heads, d, e: heads * d * e
        ),
        "the heads are forgotten": kv_bytes(each=lambda heads, d, e: 2 * d * e),
        "head_dim is forgotten": kv_bytes(each=lambda heads, d, e: 2 * heads * e),
        "numbers are counted, and not bytes": kv_bytes(each=lambda heads, d, e: 2 * heads * d),
        "every number counts 2 bytes, whatever element_bytes says": kv_bytes(each=lambda heads, d, e: 4 * heads * d),
        "the bytes of a token multiply the tokens of the window layers only (brackets are missing)": (
            lambda layer_types, n, window, kv_heads, head_dim, element_bytes=2: (
                (full := list(layer_types).count("full")) * n
                + (len(layer_types) - full) * min(n, window) * 2 * kv_heads * head_dim * element_bytes
            )
        ),
        "each kind of layer is counted once, as if its layers shared a cache": (
            lambda layer_types, *sizes: kv_layer_by_layer(tuple(set(layer_types)), *sizes)
        ),
        "a window layer holds the larger of n and window, where it is the smaller": kv_bytes(
            tokens=lambda kind, n, window: n if kind == "full" else max(n, window)
        ),
        "a window layer counts its keys and not its values": kv_bytes(
            tokens=lambda kind, n, window: n if kind == "full" else min(n, window) / 2
        ),
        "the window is taken for a two-sided one, of 2 · (window // 2) + 1 tokens": kv_bytes(
            tokens=lambda kind, n, window: n if kind == "full" else min(n, 2 * (window // 2) + 1)
        ),
        "a full layer holds a window beside all its tokens": kv_bytes(
            tokens=lambda kind, n, window: min(n, window) + (n if kind == "full" else 0)
        ),
        "the layers are not added up: one full layer and one window layer are counted": (
            lambda layer_types, n, window, kv_heads, head_dim, element_bytes=2: (
                2 * (n + min(n, window)) * kv_heads * head_dim * element_bytes
            )
        ),
    },
)


# cached_window_attention -----------------------------------------------------------------------------------------


def chunks_of(lengths, *tensors):
    return zip(*(each.split(list(lengths), dim=-2) for each in tensors), strict=True)


def streamed(function, q, k, v, window, sinks, lengths):
    """Outputs of all tokens when they arrive in chunks of these lengths."""
    cache, parts = WindowCache(window, sinks), []
    for chunk in chunks_of(lengths, q, k, v):
        parts.append(function(*chunk, cache))
        if not isinstance(parts[-1], Tensor):
            return parts[-1]
    return torch.cat(parts, dim=-2)


def streamed_in_every_length(function, q, k, v, window, sinks):
    n = q.shape[-2]
    outputs = []
    for chunk in range(1, n + 1):
        lengths = [chunk] * (n // chunk) + [n % chunk] * (n % chunk > 0)
        outputs.append(streamed(function, q, k, v, window, sinks, lengths))
        if not isinstance(outputs[-1], Tensor):
            return outputs[-1]
    return torch.stack(outputs)


def kept_positions(function, q, k, v, window, sinks, lengths):
    """Where the tokens stand that the cache holds after the last chunk."""
    cache = WindowCache(window, sinks)
    for chunk in chunks_of(lengths, q, k, v):
        function(*chunk, cache)
    return cache.position


def gradients_of_stream(function, q, k, v, window, sinks, lengths):
    """Of all tokens; later ones reach the earlier through the cache."""
    whole = lambda q, k, v: streamed(function, q, k, v, window, sinks, lengths)  # noqa: E731
    return felt("q", "k", "v")(whole, q, k, v)


def kept_tensor(name):
    def outcome(function, q, k, v, window, sinks, lengths):
        cache = WindowCache(window, sinks)
        for chunk in chunks_of(lengths, q, k, v):
            function(*chunk, cache)
        return getattr(cache, name)

    return outcome


def cached_one_by_one(q, k, v, cache):
    rows = []
    for i in range(q.shape[-2]):
        all_k, all_v = cache.append(k[..., i : i + 1, :], v[..., i : i + 1, :])
        rows.append(grouped_attention(q[..., i : i + 1, :], all_k, all_v))
        last = cache.position[-1]
        cache.keep((cache.position > last + 1 - cache.window) | (cache.position < cache.sinks))
    return torch.cat(rows, dim=-2)


def cached_fused(q, k, v, cache):
    first = cache.tokens
    cache.append(k, v)
    behind = torch.arange(first, cache.tokens)[:, None] - cache.position
    mask = ((behind < cache.window) | (cache.position < cache.sinks)) & (behind >= 0)
    out = scaled_dot_product_attention(q, cache.k, cache.v, attn_mask=mask, enable_gqa=True)
    cache.keep((cache.tokens - cache.position < cache.window) | (cache.position < cache.sinks))
    return out


def not_in_the_past(position, cache, following):
    return (following - position < cache.window) | (position < cache.sinks)


def cached_by(
    mask=lambda queries, cache: window_mask(queries, cache.position, cache.window, sinks=cache.sinks),
    keep=not_in_the_past,
    first=None,
    following=lambda queries, cache: cache.tokens,
    attend=grouped_attention,
    append=lambda cache, k, v: cache.append(k, v),
):
    """A cache made of the mask of a chunk and of what is kept after it, so that a mistake can replace one.

    first: if given, cut before the chunk attends, as seen from first(cache), and not after
    following: where the next token stands
    """

    def cached_window_attention(q, k, v, cache):
        all_k, all_v = append(cache, k, v)
        queries = cache.position[len(cache.position) - q.shape[-2] :]
        if first is not None:
            kept = keep(cache.position, cache, first(cache))
            cache.keep(kept)
            all_k, all_v = all_k[..., kept, :], all_v[..., kept, :]
        out = attend(q, all_k, all_v, mask=mask(queries, cache))
        if first is None and keep is not None:
            cache.keep(keep(cache.position, cache, following(queries, cache)))
        return out

    return cached_window_attention


def last_by_slice(position, cache, following):
    kept = torch.zeros(len(position), dtype=torch.bool)
    kept[-(cache.window - 1) :] = True
    kept[: cache.sinks] = True
    return kept


def last_with_room_for_sinks(position, cache, following):
    kept = torch.zeros(len(position), dtype=torch.bool)
    kept[-(cache.window - 1 + cache.sinks) :] = True
    return kept


def a_chunk_late(queries, cache):
    return window_mask(queries + len(queries), cache.position, cache.window, sinks=cache.sinks)


def cut_for_the_last(q, k, v, cache):
    last = cache.tokens + q.shape[-2] - 1
    if len(cache):
        cache.keep(not_in_the_past(cache.position, cache, last))
    return local_global.cached_window_attention(q, k, v, cache)


def heads_along_the_first(q, k, v, *, mask=None):
    group = q.shape[-3] // k.shape[-3]
    return attention(q, k.repeat_interleave(group, dim=0), v.repeat_interleave(group, dim=0), mask=mask)


def swapped(cache, k, v):
    all_v, all_k = cache.append(v, k)
    return all_k, all_v


def stream_of(n, heads=2, kv_heads=None, d_value=5, batch=()):
    kv_heads = kv_heads or heads
    shapes = ((heads, n, 8), (kv_heads, n, 8), (kv_heads, n, d_value))
    return lambda normal: tuple(normal(*batch, *shape) for shape in shapes)


def stream_in(window, sinks, *lengths, **shape):
    return lambda normal: (*stream_of(sum(lengths), **shape)(normal), window, sinks, lengths)


def stream_whole(n, window, sinks):
    return lambda normal: (*stream_of(n, heads=1)(normal), window, sinks)


CACHE = Exercise(
    title="a cache that forgets",
    section="A cache that forgets",
    difficulty=4,
    minutes=18,
    reference=local_global.cached_window_attention,
    hints=(
        "A window of 4, five tokens arrive at once. Which old keys does the first of them still see? So when may the "
        "cache forget them?",
        "Append first, then attend with the mask between the chunk's positions and cache.position, and only then "
        "cache.keep what the next token may see. cache.position, cache.window, cache.sinks are at hand.",
        "The chunk's positions are the last q.shape[-2] of cache.position. The next token stands at the last of them "
        "plus 1: its row of window_mask over cache.position is what cache.keep wants.",
    ),
    cases=(
        Case("token by token, a window of 4", stream_in(4, 0, *[1] * 11), streamed),
        Case("all 11 tokens at once", stream_in(4, 0, 11), streamed),
        Case("chunks of 3, a window of 4", stream_in(4, 0, 3, 3, 3, 2), streamed),
        Case("chunks longer than the window", stream_in(3, 0, 7, 7, 1), streamed),
        Case("a window of 1", stream_in(1, 0, 2, 1, 3), streamed),
        Case("2 sinks, a prompt of 7, then single tokens", stream_in(3, 2, 7, *[1] * 6), streamed),
        Case("2 sinks, chunks of 4", stream_in(3, 2, 4, 4, 4), streamed),
        Case("a window wider than the text", stream_in(40, 0, 4, 3, 1), streamed),
        Case("more sinks than tokens", stream_in(2, 12, 4, 3, 1), streamed),
        Case("6 heads on 2 key heads, chunks of 3", stream_in(4, 1, 3, 3, 2, heads=6, kv_heads=2), streamed),
        Case("values of 19 numbers", stream_in(4, 0, 5, 3, d_value=19), streamed),
        Case("a batch of 2, 6 heads on 3 key heads", stream_in(3, 1, 4, 3, heads=6, kv_heads=3, batch=(2,)), streamed),
        Case("every chunk length from 1 to 9", stream_whole(9, 3, 0), streamed_in_every_length),
        Case("every chunk length from 1 to 9, 1 sink", stream_whole(9, 2, 1), streamed_in_every_length),
        Case("what the cache holds after 11 tokens", stream_in(4, 0, *[1] * 11), kept_positions),
        Case("what the cache holds, with 2 sinks", stream_in(4, 2, 6, 5, 3), kept_positions),
        Case("what the cache holds with a window of 1", stream_in(1, 0, 2, 3), kept_positions),
        Case("what the cache holds with a window of 1 and 1 sink", stream_in(1, 1, 2, 3), kept_positions),
        Case("what cache.k holds", stream_in(4, 2, 6, 5, 3, heads=6, kv_heads=2), kept_tensor("k")),
        Case("what cache.v holds", stream_in(4, 2, 6, 5, 3, heads=6, kv_heads=2), kept_tensor("v")),
        Case("what cache.k holds, float16", stream_in(4, 2, 6, 5, 3), kept_tensor("k"), dtype=torch.float16),
        Case("what cache.v holds, float16", stream_in(4, 2, 6, 5, 3), kept_tensor("v"), dtype=torch.float16),
        Case("the gradients through chunks of 3", stream_in(4, 1, 3, 3, 2), gradients_of_stream),
        Case("float64", stream_in(3, 1, 4, 5), streamed, dtype=torch.float64),
        Case("float16", stream_in(3, 1, 4, 5), streamed, dtype=torch.float16),
    ),
    right_answers=(cached_one_by_one, cached_fused, cached_by()),
    mistakes={
        "the cache is cut to what the next token may see before the chunk attends, and queries lose keys": cached_by(
            first=lambda cache: cache.tokens
        ),
        "the cache is cut to the last w tokens before the chunk attends, and its first queries lose keys": cached_by(
            first=lambda cache: cache.tokens - 1
        ),
        "the chunk's positions begin at cache.tokens, read after the append: a chunk too late": cached_by(
            mask=a_chunk_late
        ),
        "the chunk's positions begin at cache.tokens, read after the append, and the next token's follow them": (
            cached_by(mask=a_chunk_late, following=lambda queries, cache: cache.tokens + len(queries))
        ),
        "the last window - 1 are taken as [-(window - 1):], which with a window of 1 is all of them": cached_by(
            keep=last_by_slice
        ),
        "what is kept is chosen for the last token of the chunk, not for the one after it": cached_by(
            following=lambda queries, cache: cache.tokens - 1
        ),
        "the past is cut before the chunk comes, to what the chunk's last token may see of it": cut_for_the_last,
        "the mask is one key too wide: in a chunk a query sees w + 1, itself included": cached_by(
            mask=lambda queries, cache: window_mask(queries, cache.position, cache.window + 1, sinks=cache.sinks)
        ),
        "the mask is one key too narrow: a query sees w - 1, itself included": cached_by(
            mask=lambda queries, cache: near_by(lambda w: w - 2, lambda w: 0)(
                queries, cache.position, cache.window, sinks=cache.sinks
            )
        ),
        "the mask is one key too narrow, but for a window of 1": cached_by(
            mask=lambda queries, cache: window_mask(
                queries, cache.position, max(cache.window - 1, 1), sinks=cache.sinks
            )
        ),
        "the mask is that of a two-sided window": cached_by(
            mask=lambda queries, cache: window_mask(
                queries, cache.position, cache.window, causal=False, sinks=cache.sinks
            )
        ),
        "keys are taken to stand in a row up to the newest, also the sinks, which the mask then hides": cached_by(
            lambda queries, cache: window_mask(
                queries,
                torch.arange(cache.tokens - len(cache.position), cache.tokens),
                cache.window,
                sinks=cache.sinks,
            )
        ),
        "the last window - 1 + sinks are kept, where the sinks are the first": cached_by(keep=last_with_room_for_sinks),
        "keys and values are appended in swapped places, so that cache.k holds the values": cached_by(append=swapped),
        "attention is called, which knows no shared key heads (grouped_attention does)": cached_by(attend=attention),
        "the cache keeps w - 2 tokens, and the oldest visible key is gone": cached_by(
            keep=lambda position, cache, following: (following - position < cache.window - 1) | (position < cache.sinks)
        ),
        "the cache never forgets": cached_by(keep=None),
        "the sinks are forgotten with the rest": cached_by(
            keep=lambda position, cache, following: following - position < cache.window
        ),
        "the sinks are kept, but the mask hides them": cached_by(
            mask=lambda queries, cache: window_mask(queries, cache.position, cache.window)
        ),
        "the sinks are neither seen nor kept": cached_by(
            mask=lambda queries, cache: window_mask(queries, cache.position, cache.window),
            keep=lambda position, cache, following: following - position < cache.window,
        ),
        "the chunk's tokens are counted from 0 again, as if it were the beginning": cached_by(
            mask=lambda queries, cache: window_mask(
                torch.arange(len(queries)), cache.position, cache.window, sinks=cache.sinks
            )
        ),
        "there is no mask, so that tokens of a chunk see those that come after them": cached_by(
            mask=lambda queries, cache: None
        ),
        "only the future is masked: in a long chunk keys older than the window are seen": cached_by(
            mask=lambda queries, cache: cache.position <= queries[:, None]
        ),
        "the key heads are laid out 0 1 0 1 (repeat), where a group of query heads shares one (repeat_interleave)": (
            cached_by(attend=heads_in_turn)
        ),
        "the key heads are repeated along dimension 0, which is the batch where there is one": cached_by(
            attend=heads_along_the_first
        ),
        "the sinks are counted among the window - 1 tokens that are kept": cached_by(
            keep=lambda position, cache, following: (
                (position >= following - max(cache.window - 1 - cache.sinks, 0)) | (position < cache.sinks)
            )
        ),
        "between calls the cache holds the whole chunk, and what the chunk's first token sees": cached_by(
            following=lambda queries, cache: int(queries[0])
        ),
        "the sinks are seen from before them": cached_by(
            mask=lambda queries, cache: (
                window_mask(queries, cache.position, cache.window) | (cache.position < cache.sinks)
            )
        ),
        "the chunk attends to itself only": cached_by(
            mask=lambda queries, cache: (
                window_mask(queries, cache.position, cache.window, sinks=cache.sinks) & (cache.position >= queries[0])
            )
        ),
    },
)

EXERCISES = (MASK, PAIRS, REACH, BAND, FIELD, PATTERN, SAVING, KV_BYTES, CACHE)

"""Drawings of the lesson flash_in_triton."""

from dataclasses import dataclass

import torch

from solutions import flash, local_global
from widgets.drawings import drawing
from widgets.drawings.canvas import SMALL, Canvas, extent
from widgets.kit.format import count, fixed, signed

ROWS, WIDTH = (2, 3), 4

KEYS, HEAD_DIM = 128, 128  # of a tile whose cycles are drawn
H100, B200 = 4_096, 8_192  # operations of the tensor cores of one processor a cycle: FlashAttention-4, section 3.1
EXPONENTIALS = 16  # of either a cycle: FlashAttention-4, section 3.1
PROCESSORS, CLOCK, L2 = 132, 1.83e9, 12e12  # of an H100: FlashAttention-3, section 3.1 and table 1


def addresses() -> torch.Tensor:
    """What `rows[:, None] * WIDTH + columns` is for two rows of a 4 × 4 matrix: (2, 4)."""
    rows, columns = torch.tensor(ROWS), torch.arange(WIDTH)
    return rows[:, None] * WIDTH + columns


@drawing
def row_addresses(page: Canvas) -> str:
    at = addresses()
    first, last = int(at.min()), int(at.max())
    rows, columns = torch.tensor(ROWS), torch.arange(WIDTH)
    top = page.title(
        "Which numbers does a program load?", "A column and a row of positions, added, are a block of them."
    )
    cell, y = page.choose(54, 36), top + page.choose(42, 34)

    def grid(x: float, y: float, values: torch.Tensor, colour: str, name: str) -> None:
        page.text(x + cell * values.shape[1] / 2, y - 12, name, SMALL, colour, "middle", mono=True)
        for (i, j), value in zip(
            torch.cartesian_prod(*map(torch.arange, values.shape)).tolist(), values.flatten(), strict=True
        ):
            page.rect(x + cell * j, y + cell * i, cell, cell, colour, opacity=0.16)
            page.rect(x + cell * j, y + cell * i, cell, cell, line="paper", width=2)
            page.text(
                x + cell * (j + 0.5), y + cell * (i + 0.5) + 6, str(int(value)), page.choose(17, 15), anchor="middle"
            )

    x = page.choose(10, 6)
    grid(x, y, rows[:, None], "q", "rows")
    page.text(x + cell * 1.5 + 4, y + cell + 6, f"× {WIDTH}", page.choose(17, 15), "ink-2", "middle")
    page.text(x + cell * 2.25 + 6, y + cell + 6, "+", page.choose(20, 17), "ink-2", "middle")
    x += cell * 2.75 + page.choose(10, 4)
    grid(x, y + cell / 2, columns[None], "k", "columns")
    if page.narrow:
        x, y = 6 + cell * 2.75 + 4, y + cell * 2 + 48
        page.text(x - 24, y + cell + 6, "=", 17, "ink-2", "middle")
    else:
        x += cell * WIDTH
        page.text(x + 34, y + cell + 7, "=", 20, "ink-2", "middle")
        x += 68
    grid(x, y, at, "mark", "addresses")
    y += 2 * cell + page.choose(74, 56)
    page.text(0, y, f"x in memory: {WIDTH} rows of {WIDTH} numbers, one after the other", SMALL, "ink-2")
    y, step = y + 16, page.width / WIDTH**2
    for place in range(WIDTH**2):
        chosen = bool((at == place).any())
        x = step * place
        if chosen:
            page.rect(x + 1, y, step - 2, page.choose(44, 30), "mark", opacity=0.2)
        else:
            page.rect(x + 1, y, step - 2, page.choose(44, 30), "panel", line="line")
        colour, size = "ink" if chosen else "ink-2", page.choose(15, 12)
        page.text(x + step / 2, y + page.choose(28, 20), str(place), size, colour, "middle", bold=chosen)
    y += page.choose(44, 30)
    for row in range(WIDTH):
        left, right = step * WIDTH * row + 3, step * WIDTH * (row + 1) - 3
        page.line([(left, y + 6), (left, y + 11), (right, y + 11), (right, y + 6)], "q" if row in ROWS else "line", 1.5)
        page.text((left + right) / 2, y + 30, f"row {row}", SMALL, "q" if row in ROWS else "ink-2", "middle")
    return (
        f"The rows {ROWS[0]} and {ROWS[1]} as a column, times {WIDTH}, plus the columns 0 to {WIDTH - 1} as a row, "
        f"give a block of 2 × {WIDTH} addresses, {first} to {last}. In memory, where the {WIDTH} rows of the matrix "
        f"lie one after the other, these are the cells of rows {ROWS[0]} and {ROWS[1]}."
    )


def cycles(queries: int, operations: int) -> tuple[int, int]:
    """Of one processor, for a group's queries and a tile of keys: both products, and the exponentials."""
    return 4 * queries * KEYS * HEAD_DIM // operations, queries * KEYS // EXPONENTIALS


def loading() -> int:
    """Cycles in which an H100's cache gives a processor a tile of keys and one of values, in half precision."""
    return round(4 * KEYS * HEAD_DIM / (L2 / PROCESSORS / CLOCK))


@drawing
def ping_pong(page: Canvas) -> str:
    products, exponentials = cycles(64, H100)
    wide_products, wide_exponentials = cycles(128, B200)
    alone = f"{fixed(100 * products / (products + exponentials), 0)} %"
    y = page.title(
        "Two groups of warps take turns",
        "Cycles of one processor, to scale. A group multiplies its queries with 128 keys and their weights with the "
        f"values (d = {HEAD_DIM}), and takes exponentials between. Nothing else is counted.",
    )
    end = 5 * products
    left = page.choose(76, 0)
    scale, high = (page.width - left - 1) / end, 28

    def lane(name: str, parts: list[tuple[int, int, str]]) -> None:
        """A row of what one unit does: (from, to, what), in cycles."""
        nonlocal y
        if page.narrow:
            page.text(0, y + 13, name, SMALL, "ink-2")
            y += 18
        else:
            page.text(0, y + 19, name, SMALL, "ink-2")
        page.rect(left, y, end * scale, high, "panel")
        for begin, stop, what in parts:
            begin, stop = min(begin, end), min(stop, end)
            if begin < stop:
                colour = {"products": "mark", "exp": "s"}.get(what, "k")
                page.rect(left + begin * scale, y, (stop - begin) * scale - 2, high, colour, opacity=0.22, line=colour)
                if extent(what, SMALL) <= (stop - begin) * scale:
                    page.text(left + (begin + stop) / 2 * scale - 1, y + 19, what, SMALL, anchor="middle")
        y += high + page.choose(6, 5)

    def turns(first: int, rest: int, work: tuple[int, int]) -> list[tuple[int, int, str]]:
        """Products and exponentials, begun at `first` and again each time that the other group has had its turn."""
        multiply, raise_ = work
        starts = range(first, end, 2 * multiply if rest else multiply + raise_)
        return [
            part
            for at in starts
            for part in ((at, at + multiply, "products"), (at + multiply, at + multiply + raise_, "exp"))
        ]

    def heading(words: str, said: str) -> None:
        nonlocal y
        y += 20
        page.text(0, y, words, bold=True)
        y = page.paragraph(0, y + 19, said, page.width, SMALL) - 6

    pair = (products, exponentials)
    heading(
        "H100, one group of 64 queries",
        f"{count(products)} cycles of products, then {count(exponentials)} of exponentials: its tensor cores work "
        f"{alone} of the time.",
    )
    lane("group 1", turns(0, 0, pair))
    heading(
        "H100, two groups: FlashAttention-3",
        f"The exponentials of one hide under the products of the other. Meanwhile TMA brings the next keys and values, "
        f"from the cache in {count(loading())} cycles.",
    )
    lane("group 1", turns(0, 1, pair))
    lane("group 2", turns(products, 1, pair))
    lane("TMA", [(at, at + loading(), "K, V") for at in range(0, end, 2 * products)])
    heading(
        "B200, two groups of 128 queries",
        f"Tensor cores are twice as fast, the exponentials' unit is not: {count(wide_products)} cycles and "
        f"{count(wide_exponentials)}. Both are always busy, and neither may be late.",
    )
    lane("group 1", turns(0, 1, (wide_products, wide_exponentials)))
    lane("group 2", turns(wide_products, 1, (wide_products, wide_exponentials)))
    return (
        f"Three timelines of one processor. One group of warps on an H100 takes {count(products)} cycles for its "
        f"products and {count(exponentials)} for its exponentials, in turn, so that the tensor cores work {alone} of "
        "the time. Two groups shifted against each other keep them busy always, while keys and values are loaded. On "
        f"a B200 products and exponentials take {count(wide_products)} cycles each, and both units are full."
    )


TENSORS = {"q": "Q", "k": "K", "v": "V", "o": "output", "s": "scores"}
BLOCKS, THREADS, REGISTERS = 128, 32, 255  # of a tile; of a warp; that a thread can have


def shared(stages: int) -> list[tuple[str, int]]:
    """Bytes of shared memory that blocks of 128 × 128 take at d = 128 in half precision, by tensor."""
    tile = flash.shared_memory_bytes(BLOCKS, BLOCKS, HEAD_DIM, stages=stages) // (1 + 2 * stages)
    return [("q", tile), *([("k", tile), ("v", tile)] * stages)]


def registers(warps: int) -> tuple[int, int]:
    """Of a thread: for its part of the output, and of a tile of scores, in float32."""
    return BLOCKS * HEAD_DIM // (THREADS * warps), BLOCKS * BLOCKS // (THREADS * warps)


@drawing
def what_fits(page: Canvas) -> str:
    limit = flash.SHARED_MEMORY_LIMITS["sm_90"]
    y = page.title(
        "Two limits of an H100, of two kinds",
        f"Blocks of {BLOCKS} queries and {BLOCKS} keys, d = {HEAD_DIM}, half precision.",
    )
    left, high = page.choose(76, 66), 26
    room = page.width - left - page.choose(172, 4)

    def rows(bars: list[tuple[str, list[tuple[str, int]], str]], most: float, border: int, said: str) -> None:
        nonlocal y
        scale, top = room / most, y
        for name, parts, told in bars:
            page.text(0, y + 18, name, SMALL, "ink-2")
            x = left
            for tensor, size in parts:
                page.rect(x, y, size * scale, high, tensor, opacity=0.3)
                page.rect(x, y, size * scale, high, line="paper", width=1.5)
                page.text(x + size * scale / 2, y + 18, TENSORS[tensor], SMALL, anchor="middle")
                x += size * scale
            over = sum(size for _, size in parts) > border
            beside, under = (page.width - 162, y + 18), (left, y + high + 15)
            at = page.choose(beside, under)
            page.text(at[0], at[1], told, SMALL, bold=over)
            y += high + page.choose(6, 24)
        edge = left + border * scale
        page.line([(edge, top - 5), (edge, y)], "bad", 2, "5 3")
        page.text(edge - 6, y + 13, said, SMALL, "bad", "end")
        y += 20

    stages = {number: shared(number) for number in (2, 3, 4)}
    sizes = {number: sum(size for _, size in parts) for number, parts in stages.items()}
    y += 18
    named = page.choose("Shared memory of a program: Q once, K and V for each stage", "Shared memory")
    page.text(0, y, named, bold=True)
    y += 14
    rows(
        [
            (f"{n} stages", parts, f"{count(sizes[n])} B" + ", no launch" * (sizes[n] > limit))
            for n, parts in stages.items()
        ],
        max(sizes.values()), limit, f"{count(limit)} B: more is an error",
    )  # fmt: skip
    y += 22
    named = page.choose("Registers of a thread: its part of the output and of a tile of scores", "Registers")
    page.text(0, y, named, bold=True)
    y += 14
    needed = {warps: registers(warps) for warps in (4, 8)}
    rows(
        [
            (f"{n} warps", [("o", out), ("s", scores)], f"{out} + {scores}" + ", spills" * (out + scores > REGISTERS))
            for n, (out, scores) in needed.items()
        ],
        280, REGISTERS, f"{REGISTERS}: more is no error",
    )  # fmt: skip
    return (
        f"Bars against two limits. Shared memory with 2 to 4 stages is {', '.join(map(count, sizes.values()))} bytes, "
        f"and {count(limit)} are the limit: 4 stages can't be launched. Output and scores take {needed[4][0]} "
        f"and {needed[4][1]} registers of a thread with 4 warps, more than the {REGISTERS} there are, {needed[8][0]} "
        f"and {needed[8][1]} with 8 warps."
    )


@drawing
def backward_of_a_tile(page: Canvas) -> str:
    y = page.title(
        "A tile of the backward pass: five products",
        "In come tiles of Q, K, V and dO, and two numbers a row: lse and δ. Numbered boxes are products of matrices.",
    )
    wide, high = page.choose(203, 165), 44
    across, down = wide + page.choose(52, 26), high + 34
    nodes = {
        "S": ("1", "S = Q Kᵀ / √d", (0, 0)),
        "P": ("", "P = exp(S − lse)", (1, 0)),
        "dV": ("2", "dV += Pᵀ dO", (2, 0)),
        "dP": ("3", "dP = dO Vᵀ", (0, 1)),
        "dS": ("", "dS = P ⊙ (dP − δ)", (1, 1)),
        "dQ": ("4", "dQ += dS K / √d", (2, 1)),
        "dK": ("5", "dK += dSᵀ Q / √d", (2, 2)),
    }
    if page.narrow:
        turned = {(column, row): (min(row, 1), column + (row == 2)) for _, _, (column, row) in nodes.values()}
        nodes = {name: (number, words, turned[place]) for name, (number, words, place) in nodes.items()}
    y += 12
    at = {name: (1 + column * across, y + row * down) for name, (_, _, (column, row)) in nodes.items()}

    def arrow(one: str, other: str) -> None:
        """From the side of one box to the side of another that lies to the right of it or below."""
        (x0, y0), (x1, y1) = at[one], at[other]
        if x1 > x0 and y1 == y0:
            page.arrow([(x0 + wide, y0 + high / 2), (x1 - 3, y1 + high / 2)])
        elif x1 > x0:
            turn = (x0 + wide + x1) / 2
            page.arrow([(turn, y0 + high / 2), (turn, y1 + high / 2), (x1 - 3, y1 + high / 2)])
        else:
            page.arrow([(x0 + wide / 2, y0 + high), (x1 + wide / 2, y1 - 3)])

    for one, other in (("S", "P"), ("P", "dV"), ("P", "dS"), ("dP", "dS"), ("dS", "dQ")):
        arrow(one, other)
    if page.narrow:
        (x0, y0), (_, y1) = at["dS"], at["dK"]
        edge = x0 - 12
        page.arrow([(x0, y0 + high * 0.75), (edge, y0 + high * 0.75), (edge, y1 + high / 2), (x0 - 3, y1 + high / 2)])
    else:
        arrow("dS", "dK")
    for name, (number, words, _) in nodes.items():
        x, top = at[name]
        page.rect(x, top, wide, high, "paper", line="mark" if number else "line", radius=6, width=2 if number else 1)
        page.rect(x, top, wide, high, "mark" if number else "s", opacity=0.1, radius=6)
        page.text(x + 12, top + 28, number, colour="mark", bold=True)
        page.text(x + wide / 2 + (8 if number else 0), top + 28, words, page.choose(15, 14), anchor="middle")
    return (
        "A graph of one tile backward. Product 1 makes the scores again, and with the log-sum-exp the weights P. "
        "Product 2 adds Pᵀ dO to dV. Product 3 is dP, the product of dO and V. P, dP and δ give dS, from which "
        "products 4 and 5 add to dQ and dK."
    )


TOKENS, TILE, ROOM = 1_024, 64, 8  # of the run that is drawn; of a block; tiles that a cache has room for
TILES = TOKENS // TILE


@dataclass
class Stay:
    """A tile in the cache: fetched at its first request, found at the others, gone at `until` (None: it stays)."""

    tensor: str
    tile: int
    asked: list[int]
    until: int | None = None


def stays(together: int) -> list[Stay]:
    """All stays of tiles in a cache that drops the one asked for longest ago, requests counted from 0.

    So many programs go in step. Each asks for its tile of Q, then for K and V, tile after tile.
    """
    requests = [
        request
        for first in range(0, TILES, together)
        for request in [
            *(("q", program) for program in range(first, first + together)),
            *((tensor, tile) for tile in range(TILES) for tensor in "kv" for _ in range(together)),
        ]
    ]
    found: list[Stay] = []
    held: dict[tuple[str, int], Stay] = {}  # the one asked for longest ago comes first
    for at, request in enumerate(requests):
        stay = held.pop(request, None)
        if stay is None:
            stay = Stay(*request, [])
            found.append(stay)
        stay.asked.append(at)
        held[request] = stay
        if len(held) > ROOM:
            held.pop(next(iter(held))).until = at
    return found


@drawing
def stays_in_the_cache(page: Canvas) -> str:
    top = page.title(
        "Is a tile of K still there when it is asked for again?",
        f"A cache of 64 KiB has room for {ROOM} tiles of K and V; together they have {2 * TILES}. Time goes to the "
        "right, by requests.",
    )
    top += 10
    for place, (name, opacity) in enumerate(
        (("fetched from HBM", 1), ("asked for, and found", 0.5), ("lies in the cache", 0.16))
    ):
        x, y = page.choose((190 * place, top), (180 * (place % 2), top + 20 * (place // 2)))
        page.rect(x, y, 14, 14, "k", opacity=opacity)
        page.text(x + 21, y + 12, name, SMALL, "ink-2")
    top += page.choose(44, 66)
    inset, row, told = 38, page.choose(11, 10), []

    def panel(x: float, y: float, together: int, shown: int, names: dict[int, str], heading: str, said: str) -> None:
        """The stays of K's tiles while so many requests are made; names: what begins at a request."""
        scale = (page.choose(345, page.width) - inset) / shown
        of_k = [stay for stay in stays(together) if stay.tensor == "k"]
        there = [stay for stay in of_k if stay.asked[0] < shown]
        page.text(x, y, heading, bold=True)
        page.text(x, y + 20, said, SMALL, "ink-2")
        left, y, bottom = x + inset, y + 36, y + 36 + row * TILES
        page.rect(left, y, scale * shown, row * TILES, "panel")
        for tile in (0, TILES - 1):
            page.text(left - 7, y + row * (tile + 1), f"K{tile}", SMALL, "ink-2", "end")
        lies = [(stay, min(stay.until or shown, shown) - stay.asked[0]) for stay in there]
        found = [(stay, stay.asked[-1] + 1 - stay.asked[0]) for stay in there if len(stay.asked) > 1]
        for lasting, opacity in ((lies, 0.16), (found, 0.5), ([(stay, 1) for stay in there], 1)):
            for stay, requests in lasting:
                start, high = left + scale * stay.asked[0], y + row * stay.tile + 1
                page.rect(start, high, max(3, scale * requests), row - 2, "k", opacity=opacity)
        for request, name in names.items():
            at = left + scale * request
            if request:
                page.line([(at, y), (at, bottom + 4)], "ink-2", 1, "3 3")
            page.text(at + (5 if request else 0), bottom + 17, name, SMALL, "ink-2")
        fetched, asked = len(of_k), sum(len(stay.asked) for stay in of_k)
        told.append((fetched, asked))
        page.big(x, bottom + page.choose(70, 58), count(fetched), f"of {count(asked)} requests for K go to HBM")

    run = 1 + 2 * TILES  # requests of a program
    panel(0, top, 1, 2 * run, {0: "program 0", run: "program 1"}, "One program, then the next",
          f"A tile is asked for again after {2 * TILES} others.")  # fmt: skip
    x, y = page.choose((375, top), (0, top + 314))
    panel(x, y, TILES, TILES * run, {0: f"programs 0 to {TILES - 1}"},
          f"{TILES} programs in step", "All ask for a tile in a row, while it is there.")  # fmt: skip
    (alone, asked), (in_step, _) = told
    return (
        f"Two timelines of the {TILES} tiles of K in a cache that holds {ROOM} tiles. One program asks for one tile "
        "after the other. Each has left the cache long before the next program asks for it, so that "
        f"{alone} of {asked} requests fetch it from HBM. {TILES} programs in step ask for a tile one right "
        f"after the other, while it lies there: {in_step} of {asked} fetch it."
    )


RULES = {"a mask alone": (False, None), "causal bounds": (True, None), f"and a window of {TILE}": (True, TILE)}


def tiles(bounded: bool, window: int | None) -> list[list[tuple[bool, int]]]:
    """For each program and tile of K: whether it is loaded, and how many of its scores may be seen."""
    place = torch.arange(TOKENS)
    seen = local_global.window_mask(place, place, window or TOKENS).reshape(TILES, TILE, TILES, TILE).sum((1, 3))
    found = []
    for program in range(TILES):
        low, high = flash.key_range(program * TILE, TILE, TILE, TOKENS, TOKENS, causal=bounded, window=window)
        loaded = [low <= TILE * tile < high for tile in range(TILES)]
        found.append(list(zip(loaded, seen[program].tolist(), strict=True)))
    return found


@drawing
def tiles_skipped(page: Canvas) -> str:
    y = page.title(
        "A mask hides, bounds skip",
        f"{count(TOKENS)} tokens, blocks of {TILE}. A row is a program, a square a tile of K that it loads.",
    )
    y += 10
    shown = ("all seen", "k", 0.75), ("partly masked", "k", 0.35), ("wholly masked", "", 1)
    for place, (name, fill, opacity) in enumerate(shown):
        x, down = page.choose((150 * place, y), (150 * (place % 2), y + 20 * (place // 2)))
        page.rect(x, down, 14, 14, fill, line="" if fill else "bad", opacity=opacity)
        if not fill:
            page.hatch(x, down, 14, 14, "bad", 5)
        page.text(x + 21, down + 12, name, SMALL, "ink-2")
    y += page.choose(46, 62)
    cell, numbers = page.choose(13, 10), {}
    for place, (name, rule) in enumerate(RULES.items()):
        x, top = page.choose((256 * place, y), (0, y + 186 * place))
        found = tiles(*rule)
        numbers[name] = sum(loaded for line in found for loaded, _ in line)
        page.rect(x, top, cell * TILES, cell * TILES, "panel")
        squares: dict[bool, list[tuple[float, float, float, float]]] = {True: [], False: []}  # by whether all is seen
        for program, line in enumerate(found):
            at = top + cell * program
            for tile, (loaded, seen) in enumerate(line):
                if loaded and seen:
                    squares[seen == TILE**2].append((x + cell * tile, at, cell - 1.5, cell - 1.5))
            masked = [tile for tile, (loaded, seen) in enumerate(line) if loaded and not seen]
            if masked:
                page.hatch(x + cell * masked[0], at, cell * len(masked) - 1.5, cell - 1.5, "bad")
        for tile in range(1, TILES):
            page.line([(x + cell * tile - 0.75, top), (x + cell * tile - 0.75, top + cell * TILES)], "panel", 1.5)
        for whole, there in squares.items():
            if there:
                page.cells(there, "k", 0.75 if whole else 0.35)
        at, down = page.choose((x, top + cell * TILES + 24), (cell * TILES + 20, top + 20))
        page.text(at, down, name, bold=True)
        page.text(at, down + page.choose(42, 44), str(numbers[name]), page.choose(34, 30), bold=True)
        at += page.choose(84, 0)
        page.text(at, down + page.choose(42, 64), f"of {TILES**2} tiles", SMALL, "ink-2")
    mask, causal, window = numbers.values()
    return (
        f"Three squares of {TILES} programs and {TILES} tiles of K. With a mask alone all {mask} tiles are loaded, and "
        f"those above the diagonal are wholly masked. With causal loop bounds it is {causal}, of which the {TILES} on "
        f"the diagonal are partly masked. With a window of {TILE} as well it is {window}, at most two a program."
    )


SPLIT, IN_TILE, HEAD = 4, 4, 8  # tiles of a row; keys of a tile; numbers of a head


def one_row() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """P and dP of one query with 16 keys, and its output and dO: the row whose δ is drawn."""
    generator = torch.Generator().manual_seed(10)
    k, v = torch.randn(2, SPLIT * IN_TILE, HEAD, generator=generator, dtype=torch.float64).unbind(0)
    q, grad_out = torch.randn(2, HEAD, generator=generator, dtype=torch.float64).unbind(0)
    p = (k @ q / HEAD**0.5).softmax(-1)
    return p, v @ grad_out, p @ v, grad_out


@drawing
def delta_two_ways(page: Canvas) -> str:
    p, dp, out, grad_out = one_row()
    keys, sums = len(p), (p * dp).reshape(SPLIT, IN_TILE).sum(1).tolist()
    found = signed(float((p * dp).sum())), signed(float((out * grad_out).sum()))
    top = page.title(
        "δ of one row, added up two ways",
        f"A query, {keys} keys in {SPLIT} tiles, a head of {HEAD}. Bars are numbers, each line to its own scale.",
    )
    name_wide, high, apart = 58, page.choose(44, 38), 12

    def bars(x: float, y: float, wide: float, values: torch.Tensor, colour: str, gaps: int) -> None:
        """Numbers as bars up and down from a line, with so many gaps between tiles."""
        most, least = max(float(values.max()), 0.0), min(float(values.min()), 0.0)
        unit, step = high / (most - least), (wide - apart * gaps) / len(values)
        line = y + most * unit
        places = [x + step * i + apart * (i * (gaps + 1) // len(values)) for i in range(len(values))]
        sizes = [value * unit for value in values.tolist()]
        page.cells([(at, line - max(size, 0), step - 2, abs(size)) for at, size in zip(places, sizes, strict=True)],
                   colour, 0.75)  # fmt: skip
        page.line([(x, line), (x + wide - 2, line)], "ink-2")

    def panel(x: float, y: float, wide: float, rows: dict[str, tuple[torch.Tensor, str]], gaps: int) -> float:
        """Rows of numbers with their names. Returns what is under them."""
        for name, (values, colour) in rows.items():
            page.text(x + name_wide - 10, y + high / 2 + 5, name, SMALL, "ink", "end")
            bars(x + name_wide, y, wide - name_wide, values, colour, gaps)
            y += high + 12
        return y

    def total(x: float, y: float, said: str, delta: str) -> None:
        page.text(x, y + 32, said, SMALL, "ink-2")
        page.text(x, y + 68, f"δ = {delta}", page.choose(30, 26), bold=True)

    wide = page.choose(420, page.width)
    page.text(0, top + 22, f"Along the keys: a tile has {IN_TILE} of {keys}", bold=True)
    y = panel(0, top + 36, wide, {"P": (p, "s"), "dP": (dp, "s"), "P · dP": (p * dp, "mark")}, SPLIT - 1)
    page.text(name_wide - 10, y + 14, "sums", SMALL, "ink", "end")
    span = (wide - name_wide - apart * (SPLIT - 1)) / SPLIT
    for tile, each in enumerate(sums):
        x = name_wide + tile * (span + apart)
        page.line([(x, y - 3), (x + span - 2, y - 3)], "mark", 2)
        page.text(x + span / 2, y + 14, signed(each), anchor="middle")
    total(0, y + 10, f"{keys} products of P and dP, which were never stored", found[0])
    x, top = page.choose((wide + 44, top), (0, y + 106))
    page.text(x, top + 22, f"Along the head: all {HEAD}", bold=True)
    rows = {"O": (out, "o"), "dO": (grad_out, "o"), "O · dO": (out * grad_out, "mark")}
    y = panel(x, top + 36, page.width - x, rows, 0)
    page.line([(x + name_wide, y - 3), (page.width - 2, y - 3)], "mark", 2)
    total(x, y + page.choose(10, -12), f"{HEAD} products; O and dO are stored", found[1])
    return (
        f"Bars of one row. Along its {keys} keys the products of P and dP are summed tile by tile, "
        f"{', '.join(map(signed, sums))}, together δ = {found[0]}. Along the head's {HEAD} numbers the products of the "
        f"output O and its gradient dO have the same sum, {found[1]}, from two tensors that are in memory."
    )

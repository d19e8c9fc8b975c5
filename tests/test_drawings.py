"""The still drawings: each stands in its lesson, says in words what it shows, and its numbers are the course's."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import press  # noqa: E402

from solutions import flash, infini, local_global, quadratic, serving, streams  # noqa: E402
from solutions.checkpoints import load  # noqa: E402
from solutions.pictures import as_html, picture_of  # noqa: E402
from solutions.sparse import LAYOUTS, price  # noqa: E402
from widgets import drawings, figures  # noqa: E402
from widgets.drawings import PRINTED, __main__, drawn, kept, names  # noqa: E402
from widgets.drawings import deepseek_sparse_attention as sparse_drawings  # noqa: E402
from widgets.drawings import local_and_global as local_drawings  # noqa: E402
from widgets.kit.format import count  # noqa: E402

NODE = shutil.which("node")
SVG = "{http://www.w3.org/2000/svg}"


def words(drawing: drawings.Drawing) -> list[str]:
    """What is written in a drawing, first on its wide canvas, then on its narrow one."""
    return ["".join(text.itertext()) for text in ElementTree.fromstring(drawing.svg).iter(f"{SVG}text")]


def test_what_is_printed_are_the_drawings():
    wanted = {f"{name}.{kind}" for name in names() for kind in ("svg", "png")}
    assert {path.name for path in PRINTED.iterdir()} == wanted


@pytest.mark.seconds
@pytest.mark.parametrize("name", names())
def test_a_drawing_is_printed_as_it_is_drawn_now(name):
    now, then = drawn(name), kept(name)
    assert (words(now), now.alt) == (words(then), then.alt), "python -m widgets.drawings draws it anew"
    assert __main__.made_from(PRINTED / f"{name}.png") == then.made_from


@pytest.mark.parametrize("name", names())
def test_a_drawing_stands_in_its_lesson_once(name):
    lesson = drawings.DRAWINGS[name].__module__.rpartition(".")[2]
    mark = rf":tags: \[drawing\]\n{name}\n"
    placed = [path.stem for path in press.lessons() for _ in re.findall(mark, path.read_text(encoding="utf-8"))]
    assert placed == [lesson]


@pytest.mark.parametrize("name", names())
def test_a_drawing_has_words_for_those_who_do_not_see_it(name):
    drawing = kept(name)
    root = ElementTree.fromstring(drawing.svg)
    assert root.get("role") == "img" and root.get("aria-label") == drawing.alt
    assert len(drawing.alt.split()) >= 20 and drawing.alt.endswith(".")
    ids = [part for part in root.iter() if part.get("id")]
    assert not ids and "http" not in drawing.svg.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("name", names())
def test_a_notebook_shows_a_drawing_with_its_words_and_a_dark_one_in_the_dark(name):
    data = kept(name)._repr_mimebundle_()
    there = picture_of(data)
    assert there is not None and there.alt == kept(name).alt == data["text/plain"]
    assert data["text/html"].startswith(f'<style>[data-jp-theme-light="false"] .{name} {{ content: url(data:image/svg')
    for theme in ("light", "dark"):
        assert ElementTree.fromstring(kept(name).alone(theme)).get("data-theme") == theme


def test_a_drawing_that_there_is_not_is_told():
    with pytest.raises(ValueError, match="there is no drawing 'nothing'; there are "):
        drawn("nothing")


# --- the numbers, each by another way than the drawing's ---


def multiplications(product) -> int:
    with FlopCounterMode(display=False) as counter:
        product()
    return counter.get_total_flops() // 2


def three_counts():
    n, d = 16_384, 128
    counts = 2 * (4 * n * n + 4 * n * d), flash.flash_issued_bytes(n, d, 128, 128), 8 * n * d + 4 * n
    times = counts[0] / 3.35e12, 4 * n * n * d / 989e12 + n * n / 3.9e12, counts[2] / 3.35e12
    return [f"{each / 1e6:,.0f}" for each in counts] + [f"{1e6 * each:.0f} µs" for each in times]


def mask_after_and_before():
    x = torch.tensor([[0.0, 0, 1], [2, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1], [0, 2, 0]])
    return [f"{1 - float((x @ x[0] / 3**0.5).softmax(0)[0]):.2f}"]


def bracket_moved():
    q, k, v = torch.randn(3, 512, 64).unbind(0)
    first, second = multiplications(lambda: (q @ k.T) @ v), multiplications(lambda: q @ (k.T @ v))
    far = f"{first // second} times fewer at 512 tokens, {131_072 // 64:,} times at 131,072: M stays 64 × 64."
    return [f"{first / 1e6:.1f} M", f"{second / 1e6:.1f} M", count((q @ k.T).numel()), count((k.T @ v).numel()), far]


def cone_of_reach():
    config_reach = local_global.receptive_field(8, 16) - 1
    row = local_drawings.cone()[0].flip(0)
    assert float(row[config_reach]) > 0 and not row[config_reach + 1 :].any()
    return [str(config_reach), "24"]  # the lesson's, printed there


def keys_of_a_block():
    near = local_global.window_mask(torch.arange(128, 192), torch.arange(256), 100)
    keys = near.any(0).nonzero().flatten()
    return [str(int(keys[0])), str(int(keys[-1])), str(len(keys)), f"{64 * len(keys):,}"]


def latent_two_ways():
    return [f"{2 * 128 * (192 + 128):,}", f"{2 * 128 * (512 + 64 + 512):,}"]


def sparse_attention_whole():
    index, core, dense = 131_072 * 2 * 64 * 128, 2_048 * 278_528, 131_072 * 278_528
    return [f"{index / 1e9:.2f}", f"{core / 1e9:.2f}", f"{dense / 1e9:.1f} GFLOP", f"{dense / (index + core):.1f}"]


def training_memory():
    n, width, layers, heads = 131_072, 4_096, 32, 32
    scores = layers * (34 * n * width + 5 * heads * n * n)
    return [f"{scores / 1e12:.1f} TB", f"{layers * 34 * n * width / 1e9:.0f} GB"] + [
        f"{layers * 2 * n * width / ranks / 1e9:.1f} GB" for ranks in (1, 8)
    ]


def what_breaks_when():
    room, params, width, layers, heads = 80e9, serving.MODELS["Llama-3.1-8B"].parameters, 4_096, 32, 32
    linear, square = 34 * layers * width, 5 * heads * layers
    scores = ((linear**2 + 4 * square * room) ** 0.5 - linear) / (2 * square)
    cache = (0.9 * room - 2 * params) / (2 * layers * 8 * 128 * 2)
    found = scores, room / linear, room / (2 * layers * width), cache
    return ["2,049"] + [f"{math.floor(each) + 1:,}" for each in found]


def rounded_positions():
    from widgets.drawings.from_2k_to_128k import AROUND, stored

    bits = torch.tensor([float(each) for each in AROUND]).view(torch.int32)
    upper = [each >> 16 for each in bits.tolist()]  # bfloat16 is the upper half of float32: rounded to even
    rounded = [(each + ((each & 0xFFFF) > 0x8000 or ((each & 0xFFFF) == 0x8000 and high & 1)) * 0x10000) >> 16
               for each, high in zip(bits.tolist(), upper, strict=True)]  # fmt: skip
    expected = torch.tensor([each << 16 for each in rounded], dtype=torch.int32).view(torch.float32).int().tolist()
    assert [stored(each, torch.bfloat16) for each in AROUND] == expected
    places = torch.arange(131_072)
    gaps = {dtype: int(places.to(dtype).double().unique().diff().max()) for dtype in (torch.bfloat16, torch.float32)}
    half = int(places[places <= 65_504].half().double().unique().diff().max())
    assert float(torch.tensor(65_504).half()) == 65_504 and torch.tensor(65_536).half().isinf()
    told = f"float16: up to {half}, ends at 65,504"
    assert " ".join(words(kept("rounded_positions"))).count(told) == 2
    last = [f"bfloat16: up to {gaps[torch.bfloat16]}", f"float32: always {gaps[torch.float32]}"]
    return ["254", "255", "256", "257", "258", *last]


def ten_needles():
    z, shown = 1.96, []
    for found in range(10, 7, -1):  # Wilson's quadratic for p: n (s - p)² = z² p (1 - p)
        a, b, c = 10 + z * z, -(2 * found + z * z), found * found / 10
        roots = [(-b + side * (b * b - 4 * a * c) ** 0.5) / (2 * a) for side in (-1, 1)]
        assert roots[0] < 0.9 < roots[1]
        often = sum(math.prod(0.9 if bit == "1" else 0.1 for bit in f"{cell:010b}")
                    for cell in range(1024) if cell.bit_count() == found)  # fmt: skip
        shown += [f"{roots[0]:.2f} to {roots[1]:.2f}", f"{100 * often:.0f} %"]
    assert serving.needle_interval(7, 10)[1] < 0.9
    return shown


def losses_and_weights():
    return ["24", "10", "0", "of 24", "of 10"]


def memories_to_scale():
    return ["80 GB", "228 KiB", f"{serving.H100_BYTES / (50 * 2**20):,.0f} times smaller"]


def row_addresses():
    return [str(each) for each in torch.arange(16).reshape(4, 4)[2:].flatten().tolist()]


def ping_pong():
    def turn(queries, operations_a_cycle):  # a tile of 128 keys, d = 128
        return 2 * (2 * queries * 128 * 128) / operations_a_cycle, queries * 128 / 16

    products, exponentials = turn(64, 989.4e12 / 132 / 1.83e9)
    bytes_a_cycle = 12e12 / 132 / 1.83e9
    return [
        f"{products:,.0f} cycles of products, then {exponentials:,.0f} of exponentials: its tensor cores work "
        f"{100 * products / (products + exponentials):.0f} % of the time.",
        f"from the cache in {2 * 128 * 128 * 2 / bytes_a_cycle:,.0f} cycles.",
        "is not: {:,.0f} cycles and {:,.0f}. Both are always busy, and neither may be late.".format(*turn(128, 8_192)),
    ]


def what_fits():
    sizes = [2 * 128 * 128 * (1 + 2 * stages) for stages in (2, 3, 4)]
    assert sizes[1] < flash.SHARED_MEMORY_LIMITS["sm_90"] < sizes[2]
    each = [128 * 128 // (32 * warps) for warps in (4, 8)]
    assert 2 * each[1] < 255 < 2 * each[0]
    return [f"{sizes[0]:,} B", f"{sizes[1]:,} B", f"{sizes[2]:,} B, no launch", "232,448 B: more is an error",
            f"{each[0]} + {each[0]}, spills", f"{each[1]} + {each[1]}"]  # fmt: skip


def backward_of_a_tile():
    return ["1", "2", "3", "4", "5"]


def stays_in_the_cache():
    from widgets.drawings.flash_in_triton import stays
    from widgets.scenes.flash_attention import TILE, fetched, reads

    shown = []
    for together in (1, 16):
        there = stays(together)
        fetches = {tensor: sum(stay.tensor == tensor for stay in there) for tensor in "qkv"}
        assert TILE * sum(fetches.values()) == reads().l2_bytes(64 * 1024, together)  # as the lesson prints
        assert fetches["k"] == sum(map(sum, fetched(together, 64 * 1024)))
        shown.append(str(fetches["k"]))
        again = [stay.asked[0] for stay in there if (stay.tensor, stay.tile) == ("k", 3)]
        assert again == [7 + 33 * program for program in range(16)] if together == 1 else len(again) == 1
    left = [stay.until - stay.asked[-1] for stay in stays(1) if stay.until is not None]
    assert set(left) == {8}  # the eighth other tile drives it out
    assert shown == ["256", "16"]
    said = "A tile is asked for again after 32 others."
    return [said, *(f"{each} of 256 requests for K go to HBM" for each in shown)]


def tiles_skipped():
    place = torch.arange(1_024)
    causal = place[None] <= place[:, None]
    near = causal & (place[None] > place[:, None] - 64)
    needed = [int(mask.reshape(16, 64, 16, 64).any(3).any(1).sum()) for mask in (causal, near)]
    asked = [flash.forward_bytes(1_024, 1_024, 64, 64, 64, causal=True, window=window)["k"] for window in (None, 64)]
    assert [each // (64 * 64 * 2) for each in asked] == needed
    return [str(each) for each in (16 * 16, *needed)]


def delta_two_ways():
    from widgets.drawings.flash_in_triton import one_row

    p, dp, out, grad_out = one_row()
    scores = p.log().requires_grad_()
    (ds,) = torch.autograd.grad(scores.softmax(-1), scores, dp)
    found = dp - ds / p  # ds = p (dp - δ)
    assert torch.allclose(found, found[0].expand(16)) and torch.isclose(found[0], out @ grad_out)
    sums = [round(float(each.sum()), 2) for each in (p * dp).split(4)]
    assert math.isclose(sum(sums), round(float(found[0]), 2))  # also as they are written
    return [f"{each:.2f}".replace("-", "−") for each in sums] + [f"δ = {float(found[0]):.2f}"]


def wrong_reshape():
    merged = torch.arange(24).reshape(2, 6, 2).transpose(0, 1).reshape(6, 4)
    return [str(each) for each in merged[0].tolist()] + ["half is word 3's"]


def simulated_repetition():
    return ["× 10"]


def read_as_balance():
    values, weights = torch.tensor([2.0, 6.0]), torch.tensor([3.0, 1.0])
    total, all_weights = float(weights @ values), float(weights.sum())
    left, right = weights * (values - total / all_weights).abs()
    assert left == right  # it balances
    return [f"3 · 2 + 1 · 6 = {total:g}", f"3 + 1 = {all_weights:g}", f"12 / 4 = {total / all_weights:g}", "3, read"]


def memory_and_cache():
    memory, cache = torch.zeros(128, 128).numel() + 128, 2 * 128 * 1_000_000
    return [f"128 · (128 + 1) = {memory:,}", f"{cache / memory:,.0f}", f"of {memory / 256:g} tokens", "z, 128"]


def stream_in_pieces():
    from widgets.drawings.infini_attention import held_after_pieces

    read = [3, 6, 9, 12, 15, 18, 20]
    assert held_after_pieces() == [(n, n - n % 8, n % 8) for n in read]
    return [str(n - n % 8) for n in read] + [str(n % 8) for n in read]


def which_way_round():
    p = torch.tensor([0.48, 0.02, 0.48, 0.02], dtype=torch.float64)
    one, even = torch.tensor([0.94, 0.02, 0.02, 0.02], dtype=torch.float64), torch.full((4,), 0.25).double()
    kl = torch.nn.functional.kl_div  # of log q and p: KL(p ‖ q)
    found = [float(kl(b.log(), a, reduction="sum")) for a, b in ((p, one), (p, even), (one, p), (even, p))]
    assert found[0] > found[1] and found[2] < found[3]  # they disagree, and so is "nearer" drawn
    assert math.isclose(found[0], 0.48 * math.log(0.48 / 0.94) + 0.48 * math.log(0.48 / 0.02))  # as the lesson says
    return [f"{each:.2f}" for each in found]


def mass_and_found():
    from widgets.measurements import results

    shares = []
    for stage, selector in (("dense", "indexer"), ("sparse", "indexer"), ("sparse", "window")):
        runs = [run for seed in range(3) for run in results("sparse")[f"seed-{seed}"]["runs"] if run["stage"] == stage]
        rows = [each for run in runs for each in run["readings"]
                if (each["selector"], each["top_k"], each["tokens"]) == (selector, 8, 96)]  # fmt: skip
        assert len(rows) == 3
        shares += [torch.tensor([row["mass"]["of_best"] for row in rows]).double().mean()]
        shares += [sum(row[key] for row in rows) / 3 for key in ("recall", "far_recall")]
    assert shares[-3] > 0.7 and shares[-1] < 0.05  # the last keys: much mass, no far values
    return [f"{100 * float(each):.1f}" for each in shares]


def pairs_that_turn():
    pairs = {name: sparse_drawings.partners(turn) for name, turn in LAYOUTS.items()}
    assert pairs == {
        "half-split": [(i, i + 8) for i in range(8)],
        "interleaved": [(i, i + 1) for i in range(0, 16, 2)],
    }
    return [str(entry) for entry in range(16)] + [
        "Thick: the pair that turns fastest. Of 8 pairs the two have none in common."
    ]


def mean_is_an_area():
    shown = []
    for model in (price.V31, price.V32_EXP):
        costs = [price.figure_cost(at, "decode", model) for at in range(131_072)]
        shown += [costs[-1], (sum(costs) - (costs[0] + costs[-1]) / 2) / 131_071]
    return [f"{each:.3f}" for each in shown] + ["2.40", "0.70"]


def mean_and_sum():
    return ["average (2, 1)", "sum (4, 2)"]


def squares_of_the_lessons():
    near = [min(6, i + 1) for i in range(24)]
    far = f"Lesson 7 2 K {131_072 // 2_048} times longer than the trained 2 K {sum(near)} pairs in two of the lessons:"
    return [f"all {24 * 25 // 2} pairs", f"{4 * 6 * 7 // 2}, and a memory of", f"{far} the nearest, or the chosen."]


def moved_scores():
    scores = torch.tensor([100.0, 95.0, 60.0])
    assert math.isinf(scores.exp().sum()) and math.isnan((scores.exp() / scores.exp().sum())[0])
    top, second, last = (scores.double() - 100).softmax(0).tolist()
    for dtype, low, high in ((torch.float32, -104.0, 88.7), (torch.float16, -17.3, 11.1)):  # to a tenth, by trying
        rounded = torch.tensor([low - 0.1, low + 0.1, high - 0.1, high + 0.1], dtype=dtype).exp().tolist()
        assert rounded[0] == 0 < rounded[1] and rounded[2] < rounded[3] == math.inf
    after = f"After: the weights are {top:.3f}, {second:.3f} and {last:.0e}."
    return ["−104.0", "88.7", "float16: −17.3 to 11.1", f"{top:.3f}", after]


def mixed_cache():
    a_token = 2 * 8 * 256 * 2  # keys and values, heads, numbers, bytes
    mixed, whole = a_token * (8 * 131_072 + 40 * 1_024), a_token * 48 * 131_072
    told = f"GB in place of {whole / 1e9:.1f}: {whole / mixed:.1f} times less."
    return [f"{mixed / 1e9:.1f}", f"{a_token * 8 * 131_072 / 1e9:.1f}", told]


def mass_outside_a_window():
    from widgets.drawings.local_and_global import kept_by_head

    sample = streams.recall(1, 32, torch.Generator().manual_seed(7)).tokens[:1]
    place = torch.arange(96)
    near = local_global.window_mask(place, place, 8)
    with torch.no_grad():
        for layer, (q, k) in enumerate(load("window-all-global").queries_and_keys(sample)):
            weights = quadratic.attention_scores(q, k).masked_fill(place > place[:, None], -math.inf).softmax(-1)
            for head, kept_here in enumerate((weights * near).sum((-1, -2))[0] / 96):
                assert kept_by_head()[layer, head] == pytest.approx(float(kept_here), abs=1e-5)
    shares = [f"{100 * each:.0f}" for each in kept_by_head().values()]
    return [min(shares), max(shares), f"{100 * sum(min(8, i) / i for i in range(1, 97)) / 96:.0f} % if spread evenly"]


def days_of_a_question():
    return ["0", "2", "6", "14", "30", "5", "8", "31"]


@pytest.mark.seconds
@pytest.mark.parametrize(
    "numbers",
    [
        three_counts, mask_after_and_before, bracket_moved, cone_of_reach, keys_of_a_block, latent_two_ways,
        sparse_attention_whole, training_memory, losses_and_weights, memories_to_scale, row_addresses, ping_pong,
        what_fits, backward_of_a_tile, wrong_reshape, simulated_repetition, what_breaks_when,
        read_as_balance, memory_and_cache, stream_in_pieces, which_way_round, mass_and_found, pairs_that_turn,
        mean_is_an_area, mean_and_sum, squares_of_the_lessons, moved_scores, mixed_cache, mass_outside_a_window,
        days_of_a_question, stays_in_the_cache, tiles_skipped, delta_two_ways, rounded_positions, ten_needles,
    ],
    ids=lambda numbers: numbers.__name__,
)  # fmt: skip
def test_the_numbers_of_a_drawing_are_the_courses(numbers):
    written = [each.removesuffix(" MB") for each in words(kept(numbers.__name__))]
    for number in numbers():  # on either canvas, a sentence in as many lines as it takes
        there = " ".join(written) if number.endswith((".", "smaller")) else written
        assert there.count(number) >= 2, (number, written)


def test_an_indexer_chooses_as_many_earlier_words_as_it_may():
    from widgets.drawings.start_here import pairs

    chosen = pairs()["chosen"]
    assert chosen.sum(-1).tolist() == [min(6, i + 1) for i in range(24)] and not chosen.triu(1).any()
    assert not torch.equal(chosen, pairs()["near"])


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_a_question_comes_back_on_the_days_on_which_the_practice_asks_it():
    from widgets.drawings.the_interview import HABITS, SPAN
    from widgets.interview import mock

    boxes = {"days": mock.BOXES, "rise": mock.RISE, "fall": mock.FALL}
    said = [[4] * SPAN, [4, 4, 4, 0] + [4] * SPAN, [2] * 2 * SPAN]  # points of four, answer by answer
    script = f"""import {{ day, standing }} from {json.dumps((ROOT / "widgets/interview/boxes.js").as_uri())};
        const days = ([count, ...later], on, answers) => {{
          const when = new Date(2026, 0, 1 + on, 12);
          answers = [...answers, {{ id: "q", when, of: 4, ticked: [0, 1, 2, 3].slice(0, count), late: false }}];
          const next = on + standing(answers, {json.dumps(boxes)}).get("q").due - day(when);
          return next > {SPAN} ? [on] : [on, ...days(later, next, answers)];
        }};
        console.log(JSON.stringify({json.dumps(said)}.map((points) => days(points, 0, []))));"""
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout) == list(HABITS.values())


def test_unpacking_a_latent_is_paid_back_when_it_is_said_to_be():
    flops, queries = sparse_drawings.unpacking()
    v32 = price.V32
    assert flops == 2 * 128 * (128 + 128) * 512
    assert flops + queries * v32.expanded <= queries * v32.absorbed
    assert flops + (queries - 1) * v32.expanded > (queries - 1) * v32.absorbed


@pytest.mark.seconds
def test_one_segment_times_ten_is_ten_segments():
    from widgets.drawings.infini_attention import repeated_memories

    stream, once = repeated_memories()
    assert (stream - once).abs().max() / once.abs().max() < 1e-14 and stream.shape == (8, 8)
    assert not torch.equal(stream, infini.update_linear(*torch.zeros(2, 1, 8), torch.zeros(8, 8), torch.zeros(8))[0])


@pytest.mark.seconds
def test_nothing_crosses_between_the_two_losses():
    found = sparse_drawings.moved()
    assert {pair: some == every for pair, (some, every) in found.items()} == {
        ("task", "model"): True, ("task", "indexers"): False, ("divergence", "model"): False,
        ("divergence", "indexers"): True,
    }  # fmt: skip
    assert sorted(some for some, _ in found.values())[:2] == [0, 0]


def test_what_the_mask_leaves_is_what_attention_computes():
    from widgets.drawings.quadratic_attention import SIX, masked_after_and_before

    _, before = masked_after_and_before()
    torch.testing.assert_close(before @ SIX, quadratic.attention(SIX, SIX, SIX, causal=True))


# --- pictures and their words ---


def test_a_picture_and_its_words_are_found_again():
    there = picture_of({"text/html": as_html('less than "1" < 2\nand', "aGk=", width=720, name="one")})
    assert there == ('less than "1" < 2\nand', "aGk=")
    assert picture_of({"text/html": "<p data-twin>"}) is picture_of({"image/png": "aGk="}) is None


def test_a_figure_is_shown_with_its_words_and_once(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda data, raw: shown.append(data))
    figures.plt.close("all")
    figures.lines([1, 2, 4], {"one": [1, 2, 3]}, x="x", y="y")
    figures.show("A line that rises.")
    [data] = shown
    there = picture_of(data)
    assert there is not None and there.alt == data["text/plain"] == "A line that rises."
    assert not figures.plt.get_fignums()


def test_the_site_gets_a_figure_as_a_file_and_a_drawing_as_its_svg():
    name = names()[0]
    data = {"text/html": as_html("A line.", "aGk="), "text/plain": "A line."}
    figure = nbformat.v4.new_output("display_data", data=data)
    drawing = nbformat.v4.new_output("display_data", data=kept(name)._repr_mimebundle_())
    cells = [nbformat.v4.new_code_cell("plot()", outputs=[figure]), press.drawing(name, ROOT / "lesson.md", "site")]
    cells[1].outputs = [drawing]
    first, second = press.pictures_for_page(nbformat.v4.new_notebook(cells=cells)).cells
    assert first.metadata.mystnb.image.alt == "A line." and first.outputs[0].data["image/png"] == "aGk="
    assert "text/html" not in first.outputs[0].data
    assert second.outputs[0].data["text/html"] == kept(name).svg and "remove-input" in second.metadata.tags


def test_a_lesson_that_names_no_drawing_is_told():
    with pytest.raises(press.PressError, match="there is no drawing 'nothing'"):
        press.drawing("nothing", ROOT / "lesson.md", "student")

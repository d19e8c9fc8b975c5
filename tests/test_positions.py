"""The rules for positions against their published forms, what an extended model keeps, the shipped comparison."""

import json
import math
import re
from pathlib import Path
from statistics import mean

import pytest
import torch
from torch import nn
from torch.nn.functional import log_softmax, one_hot

from solutions import streams, tiny
from solutions.checkpoints import about, load
from solutions.checkpoints import positions as recipe
from solutions.checkpoints import positions_passkey as passkeys
from solutions.positions import (
    FAR_LAGS,
    LAGS,
    RAMPS,
    SCALINGS,
    SYMBOLS,
    VOCABULARY,
    by_parts,
    copied_from,
    exact_lags,
    extend,
    interpolated_angles,
    kept_shares,
    loss_by_position,
    never_turned,
    ntk_base,
    parts,
    rope_frequencies,
    tempered_attention,
    turns,
    wavelengths,
    yarn_temperature,
)
from solutions.quadratic import attention
from solutions.tiny import Config, TinyTransformer, rotate

HEADS = [(128, 10_000.0, 2048, 64.0), (128, 500_000.0, 8192, 8.0), (64, 10_000.0, 4096, 32.0), (32, 10_000.0, 128, 8.0)]
every_head = pytest.mark.parametrize("head_dim, base, length, factor", HEADS)


def by(scaling, head_dim=128, base=10_000.0, length=2048, factor=64.0, **more):
    return rope_frequencies(head_dim, base, scaling=scaling, factor=factor, original_length=length, **more)


# Published numbers -------------------------------------------------------------------------------------------------


def test_counts_of_published_heads():
    """Facts: YaRN on Llama at 2,048 tokens; the rule of Llama 3.1; pairs that never turned."""
    assert parts(128, original_length=2048) == (17, 24, 23)
    assert parts(128, 500_000.0, original_length=8192, alpha=1.0, beta=4.0) == (29, 6, 29)
    assert [never_turned(128, 10_000.0, length) for length in (2048, 4096, 8192)] == [23, 18, 14]
    assert never_turned(128, 500_000.0, 8192) == 29
    assert ntk_base(128, 10_000.0, 64.0) == pytest.approx(683_675, abs=0.5)
    for factor, on_each, on_logits in ((64, 1.416, 2.005), (40, 1.369, 1.874), (1, 1, 1)):
        assert [yarn_temperature(factor) ** power for power in (1, 2)] == pytest.approx([on_each, on_logits], abs=6e-4)


@pytest.mark.parametrize(
    "pair, wavelength, turned, ntk, yarn",
    [
        (0, 6.3, 326, 1.0, 1.0),
        (16, 62.8, 32.6, 2.9, 1.0),
        (25, 229, 8.9, 5.2, 3.7),
        (35, 967.6, 2.1, 10.1, 19.6),
        (40, 1987, 1.03, 14.0, 60.2),
        (41, 2294.5, 0.89, 15.0, 64.0),
        (63, 54_410, 0.038, 64.0, 64.0),
    ],
)
def test_how_much_each_rule_slows_a_pair(pair, wavelength, turned, ntk, yarn):
    """One head of 128, base 10,000, from 2,048 tokens to 131,072: the printed table, to the digits that it prints."""
    plain = rope_frequencies(128)
    assert wavelengths(plain)[pair].item() == pytest.approx(wavelength, rel=8e-3)
    assert turns(plain, 2048)[pair].item() == pytest.approx(turned, rel=2e-2)
    slowed = [(plain / by(scaling))[pair].item() for scaling in ("linear", "ntk", "yarn")]
    assert slowed == pytest.approx([64, ntk, yarn], abs=0.051)


def test_ntk_leaves_the_middle_out_of_range():
    """Pair 41 never turned in 2,048 tokens and is slowed by 15 of 64: at 131,072 it is 4.3 times past its arc."""
    past = 64 * by("ntk") / rope_frequencies(128)
    assert past[41].item() == pytest.approx(4.3, abs=0.05)
    assert past[63].item() == pytest.approx(1, abs=1e-5)
    assert (64 * by("by-parts") / rope_frequencies(128))[41:].tolist() == pytest.approx([1] * 23, abs=1e-6)


# The rules as a library makes them ---------------------------------------------------------------------------------

RECORDED = json.loads((Path(__file__).parent / "rope_of_transformers.json").read_text())["found"]
OURS = {"linear": "linear", "dynamic": "ntk", "yarn": "yarn", "llama3": "llama3"}


@pytest.mark.parametrize("found", RECORDED, ids=lambda found: f"{found['model']}, {found['rule']}")
def test_rules_are_those_of_transformers(found):
    """Recorded from its ROPE_INIT_FUNCTIONS, in float32, at the sizes of real models."""
    more = {"ramp": "index", "truncate": found["truncate"]} if found["rule"] == "yarn" else {}
    ours = by(OURS[found["rule"]], found["head_dim"], found["base"], found["length"], found["factor"], **more)
    assert ours.tolist() == pytest.approx(found["frequencies"], rel=1e-6, abs=0)
    temperature = yarn_temperature(found["factor"]) if found["rule"] == "yarn" else 1
    assert found["attention_factor"] == pytest.approx(temperature, rel=1e-12)


@pytest.mark.parametrize(
    "model, pair, times, by_index, by_turns",
    [
        ("LLaMA, 2K to 128K", 37, 5.05, 5.78, 29.18),
        ("Llama 2, 4K to 128K", 40, 3.96, 3.92, 15.52),
        ("DeepSeek-V3", 20, 4.28, 4.00, 17.13),
        ("gpt-oss", 15, 3.68, 3.56, 13.10),
    ],
)
def test_the_two_ramps_of_yarn_differ_by_a_factor(model, pair, times, by_index, by_turns):
    """They keep and divide as many pairs, and blend those between otherwise: the paper's slows one so much more."""
    (found,) = (found for found in RECORDED if (found["model"], found["rule"]) == (model, "yarn"))
    size = found["head_dim"], found["base"], found["length"], found["factor"]
    plain, theirs = rope_frequencies(*size[:2]), torch.tensor(found["frequencies"])
    apart = theirs / by("yarn", *size)
    assert apart.argmax() == pair and apart.max().item() == pytest.approx(times, abs=6e-3)
    assert (plain / theirs)[pair].item() == pytest.approx(by_index, abs=6e-3)
    assert (plain / by("yarn", *size))[pair].item() == pytest.approx(by_turns, abs=6e-3)
    counts = {ramp: parts(*size[:2], original_length=size[2], ramp=ramp, truncate=found["truncate"]) for ramp in RAMPS}
    assert counts["turns"] == counts["index"]


def test_dynamic_scaling_is_ntk_by_the_length_that_is_read():
    """transformers' "dynamic" with a factor f: the base of NTK for f n / L - (f - 1)."""
    head_dim, base, length, n, f = 128, 10_000.0, 2_048, 8_192, 2.0
    dynamic = base * (f * n / length - (f - 1)) ** (head_dim / (head_dim - 2))
    assert ntk_base(head_dim, base, f * n / length - (f - 1)) == dynamic
    assert ntk_base(head_dim, base, 1.0) == base  # up to the trained length


@every_head
def test_properties_of_every_rule(head_dim, base, length, factor):
    plain = rope_frequencies(head_dim, base)
    assert torch.equal(plain, tiny.rope_frequencies(head_dim, base)) and plain.dtype == torch.float32
    for scaling in SCALINGS[1:]:
        new = by(scaling, head_dim, base, length, factor)
        assert new.shape == (head_dim // 2,) and (new.diff() <= 0).all()
        assert (new <= plain * (1 + 1e-6)).all() and (new >= plain / factor * (1 - 1e-6)).all()
        assert (plain[-1] / new[-1]).item() == pytest.approx(factor, rel=1e-6)
        assert torch.allclose(by(scaling, head_dim, base, length, 1.0), plain, rtol=1e-6, atol=0)
    assert by("ntk", head_dim, base, length, factor)[0] == plain[0]
    made, new = turns(plain, length), by("by-parts", head_dim, base, length, factor)
    assert torch.allclose(new, by_parts(plain, factor, length), rtol=1e-5, atol=0)
    assert torch.equal(new[made >= 32], plain[made >= 32])
    assert torch.equal(new[made <= 1], plain[made <= 1] / factor)
    assert torch.equal(by("yarn", head_dim, base, length, factor), new)
    count = parts(head_dim, base, original_length=length)
    assert sum(count) == head_dim // 2 and count.kept == (made >= 32).sum() and count.divided == (made <= 1).sum()
    assert count.divided == never_turned(head_dim, base, length)


def test_no_pair_of_our_model_turns_32_times():
    """The published beta does not carry over to 128 tokens: with 32 nothing is kept, with 4 three pairs are."""
    assert turns(rope_frequencies(32), 128).max().item() == pytest.approx(20.4, abs=0.05)
    assert parts(32, original_length=128) == (0, 6, 10)
    assert parts(32, original_length=128, beta=4.0) == (3, 3, 10)
    assert parts(32, original_length=128, ramp="index") == (1, 5, 10)
    just_above = [parts(32, original_length=128, beta=1.0001, ramp=ramp) for ramp in RAMPS]
    assert just_above == [(6, 0, 10)] * 2  # what turned is kept, what did not is divided


def test_interpolated_angles_are_those_of_slower_pairs():
    position, frequencies = torch.arange(1000), rope_frequencies(64).double()
    angles = interpolated_angles(position, frequencies, 8.0)
    assert torch.allclose(angles, position[:, None] * by("linear", 64, factor=8.0).double(), rtol=1e-6, atol=0)
    assert torch.equal(angles[8 * torch.arange(125)], interpolated_angles(torch.arange(125), frequencies, 1.0))


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("shift, within", [(1000, 1e-4), (131_000, 2e-2)])
def test_scores_depend_on_the_distance_alone(scaling, shift, within):
    """And in float32 still at 131,000, but for the rounding of angles."""
    frequencies = by(scaling, factor=1.0 if scaling is None else 64.0)
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 50, 128, generator=generator) / 128**0.25  # scores of variance 1

    def scores(first):
        position = first + torch.arange(50)
        turned = [rotate(each, position, frequencies) for each in (q, k)]
        assert (turned[0].norm(dim=-1) - q.norm(dim=-1)).abs().max() < 1e-5
        return turned[0] @ turned[1].mT

    assert (scores(shift) - scores(0)).abs().max() < within


def test_temperature():
    q, k, v = torch.randn(3, 2, 9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(tempered_attention(q, k, v, 1.0), attention(q, k, v, causal=True))
    larger = attention(q, k, v, causal=True, scale=(0.1 * math.log(64) + 1) ** 2 / math.sqrt(8))
    assert torch.allclose(tempered_attention(q, k, v, 64.0), larger, rtol=1e-12)
    flat, sharp = (attention(q, k, torch.eye(9, dtype=q.dtype).expand(2, 9, 9), causal=True, scale=s) for s in (1, 2))
    entropy = [-(weights * weights.clamp(min=1e-300).log()).sum(-1).mean() for weights in (flat, sharp)]
    assert entropy[1] < entropy[0]


# A model with other frequencies ------------------------------------------------------------------------------------


def model(**settings):
    return TinyTransformer(
        Config(VOCABULARY, ("full", "window"), width=32, heads=2, rope_share=1.0, seed=1, **settings)
    )


def test_a_copy_of_the_same_frequencies_is_the_same_model():
    one = model()
    tokens = torch.arange(40)[None] % VOCABULARY
    before = one(tokens)
    assert torch.equal(extend(one, rope_frequencies(16))(tokens), before)
    other = extend(one, by("linear", 16, factor=8.0), yarn_temperature(8))
    assert (other(tokens) - before).abs().max() > 1e-3 and torch.equal(one(tokens), before)
    assert {name: tuple(weight.shape) for name, weight in other.named_parameters()} == {
        name: tuple(weight.shape) for name, weight in one.named_parameters()
    }


def test_extended_scores_are_those_of_the_rule():
    """q and k rotated by the new frequencies, both larger by the temperature."""
    one, tokens = model(), torch.arange(30)[None]
    new, temperature = by("yarn", 16, length=128, factor=8.0, beta=4.0), yarn_temperature(8)
    (q, k), (new_q, new_k) = (next(each.queries_and_keys(tokens)) for each in (one, extend(one, new, temperature)))
    position, old = torch.arange(30), rope_frequencies(16)
    for before, after in ((q, new_q), (k, new_k)):
        unturned = rotate(before, -position, old)
        assert torch.allclose(after, temperature * rotate(unturned, position, new), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 64, 200])
@pytest.mark.parametrize("rule", recipe.RULES)
@pytest.mark.slow
def test_reading_in_chunks_is_reading_whole_past_the_old_length(rule, chunk):
    extended = recipe.under(rule, TinyTransformer(recipe.config(seed=0)))
    tokens = exact_lags(2, 160, torch.Generator().manual_seed(0)).tokens
    with torch.no_grad():
        stream = extended.new_stream()
        chunks = torch.cat([extended(part, stream) for part in tokens.split(chunk, dim=1)], dim=1)
        assert (chunks - extended(tokens)).abs().max() < 1e-4


def test_a_model_that_cannot_be_extended_is_refused():
    with pytest.raises(ValueError, match=r"knows no positions: give one whose config has a rope_base"):
        extend(model(rope_base=None), rope_frequencies(16))
    with pytest.raises(ValueError, match=r"frequencies has shape \(16,\); give \(8,\), a frequency for each pair"):
        extend(model(), rope_frequencies(32))
    with pytest.raises(ValueError, match=r"temperature is 0; give a number above 0"):
        extend(model(), rope_frequencies(16), 0)
    mixed = TinyTransformer(Config(9, ("full", "sparse"), width=32, heads=2, rope_share=1.0))
    with pytest.raises(ValueError, match=r"a frequency for each pair that turns"):
        extend(mixed, rope_frequencies(16))  # the indexer's pairs are others, and may not stay as they were unnoticed


def test_loss_by_position_counts_each_token_once():
    one, sample = model(), exact_lags(3, 60, torch.Generator().manual_seed(0))
    tokens, counted = sample.tokens, sample.distance > 0
    right = -log_softmax(one(tokens), dim=-1)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0].detach()
    assert loss_by_position(one, tokens, [60]).item() == pytest.approx(right.mean().item(), abs=1e-6)
    bins = loss_by_position(one, tokens, [2, 20, 60])
    expected = [right[:, low:high].mean().item() for low, high in ((0, 1), (1, 19), (19, 59))]
    assert bins.tolist() == pytest.approx(expected, abs=1e-6)
    told = loss_by_position(one, tokens, [60], counted)
    assert told.item() == pytest.approx(streams.loss(one, sample).item(), abs=1e-6)
    assert not bins.requires_grad


# The text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("far", [0.0, 0.5, 1.0])
def test_every_answer_stands_its_lag_before_its_marker(far):
    sample = exact_lags(8, 1024, torch.Generator().manual_seed(0), far=far)
    tokens, distance = sample.tokens, sample.distance
    marker = tokens >= SYMBOLS
    assert 0.23 < marker.float().mean() < 0.27 and not (marker[:, 1:] & marker[:, :-1]).any()
    assert not sample.ordinary.any() and not marker[distance > 0].any()
    for row, place in (distance > 0).nonzero().tolist():
        lag = int(distance[row, place])
        assert tokens[row, place - 1] == SYMBOLS + (LAGS + FAR_LAGS).index(lag)
        assert tokens[row, place] == tokens[row, place - 1 - lag]
    share = (distance > LAGS[-1]).sum() / (distance > 0).sum()
    assert {0.0: share == 0, 0.5: 0.3 < share < 0.5, 1.0: share == 1}[far]


def test_what_cannot_be_told_is_at_random():
    """After a marker that points before the start or at another marker comes one of all symbols, as often as each."""
    sample = exact_lags(400, 128, torch.Generator().manual_seed(0))
    answers = torch.zeros_like(sample.distance, dtype=torch.bool)
    answers[:, 1:] = sample.tokens[:, :-1] >= SYMBOLS
    untold = sample.tokens[answers & (sample.distance == 0)]
    seen = untold.bincount(minlength=SYMBOLS)
    assert len(seen) == SYMBOLS and (seen / len(untold) * SYMBOLS - 1).abs().max() < 0.35
    assert torch.equal(exact_lags(5, 50, torch.Generator().manual_seed(3)).tokens,
                       exact_lags(5, 50, torch.Generator().manual_seed(3)).tokens)  # fmt: skip


class Copies(nn.Module):
    """A model that always expects the token that stands `back` before the last one."""

    def __init__(self, back):
        super().__init__()
        self.back = back

    def forward(self, tokens):
        return one_hot(tokens.roll(self.back, dims=1), VOCABULARY).float()


@pytest.mark.parametrize("back", [3, 24, 50])
def test_it_is_seen_where_a_model_copies_from(back):
    sample = exact_lags(16, 300, torch.Generator().manual_seed(0))
    share = copied_from(Copies(back), sample, LAGS, 50)
    assert share.shape == (len(LAGS), 51) and share.argmax(dim=1).tolist() == [back] * len(LAGS)
    assert (share[:, back] == 1).all() and share[:, :3].max() < 0.5
    with pytest.raises(ValueError, match=r"no answer at lag 600 has 50 tokens before its marker; give more or longer"):
        copied_from(Copies(back), sample, (3, 600), 50)


# Bad input ---------------------------------------------------------------------------------------------------------

TOKENS = torch.zeros(2, 10, dtype=torch.long)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: rope_frequencies(127), "head_dim is 127; give an even whole number of 2 or more"),
        (lambda: rope_frequencies(0), "head_dim is 0; give an even whole number of 2 or more"),
        (lambda: rope_frequencies(64, 1.0), "base is 1.0; give a number above 1"),
        (lambda: rope_frequencies(64, math.nan), "base is nan; give a number above 1"),
        (lambda: rope_frequencies(64, scaling="pi", factor=2), "scaling is 'pi'; give one of None, 'linear', 'ntk'"),
        (lambda: rope_frequencies(64, factor=8), "factor is 8 without a scaling; give one of 'linear', 'ntk'"),
        (lambda: rope_frequencies(64, scaling="linear", factor=0.5), "factor is 0.5; give the new length over the old"),
        (lambda: rope_frequencies(64, scaling="linear", factor=math.inf), "factor is inf; give the new length over"),
        (lambda: rope_frequencies(2, scaling="ntk", factor=2), "head_dim is 2; give 4 or more"),
        (lambda: rope_frequencies(64, scaling="yarn", factor=2), "the length is None; give the tokens of a training"),
        (lambda: by("by-parts", alpha=32.0, beta=1.0), "alpha is 32.0 and beta is 1.0; give turns with 0 <= alpha <"),
        (lambda: by("llama3", high_freq_factor=1.0), "alpha is 1.0 and beta is 1.0; give turns"),
        (lambda: by("yarn", ramp="pairs"), "ramp is 'pairs'; give one of 'turns', 'index'"),
        (lambda: by("yarn", ramp="index", alpha=0.0), "alpha is 0; over the index give turns above 0"),
        (lambda: by_parts(torch.ones(4), 2.0, 0), "the length is 0; give the tokens of a training text"),
        (lambda: by_parts(torch.ones(2, 2), 2.0, 10), "frequencies has shape (2, 2), which cannot be read as (pairs)"),
        (lambda: never_turned(128, 10_000.0, 2.5), "the length is 2.5; give the tokens of a training text"),
        (lambda: turns(torch.ones(4), -1), "the length is -1; give the tokens of a training text"),
        (lambda: parts(128, original_length=0), "the length is 0; give the tokens of a training text"),
        (lambda: yarn_temperature(0), "factor is 0; give the new length over the old, 1 or more"),
        (lambda: interpolated_angles([1, 2], torch.ones(3), 2.0), "position is [1, 2]; give a tensor (n,)"),
        (lambda: loss_by_position(model(), [[1]], [2]), "tokens is of type list; give a tensor of whole numbers"),
        (lambda: loss_by_position(model(), TOKENS, [8, 8]), "edges is [8, 8]; give rising whole numbers of 2 or more"),
        (lambda: loss_by_position(model(), TOKENS, []), "edges is []; give rising whole numbers"),
        (lambda: loss_by_position(model(), TOKENS, [4, 11]), "edges end at 11, but tokens has 10 positions"),
        (lambda: loss_by_position(model(), TOKENS, [4], TOKENS), "counted is torch.int64, (2, 10); give a boolean"),
        (lambda: loss_by_position(model(), TOKENS, [4, 9], TOKENS > 0), "nothing is counted from position 1 to 3"),
        (lambda: exact_lags(0, 8, torch.Generator()), "batch is 0; give a whole number of 1 or more"),
    ],
)  # fmt: skip
def test_bad_input_is_answered_in_a_sentence(call, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        call()


def test_ten_million_tokens_have_an_answer():
    assert never_turned(128, 10_000.0, 10_000_000) == 0
    assert by("yarn", factor=10_000_000 / 2048).isfinite().all()


# The shipped comparison --------------------------------------------------------------------------------------------

TOLD = about("positions")
NEAR, FAR = 0, len(recipe.EDGES) - 1  # the bins below the old length, and of the last half of the new


def losses(rule, steps, bin):
    """Of every seed."""
    found = [run for run in TOLD["runs"] if (run["rule"], run["steps"]) == (rule, steps)]
    assert [run["seed"] for run in found] == list(recipe.SEEDS)
    return [run["loss_by_position"][bin] for run in found]


@pytest.mark.seconds
def test_the_recipe_runs(tmp_path, monkeypatch, capsys):
    """From end to end, much too short to learn anything."""
    for name, value in {
        "SEEDS": (0,), "STEPS": 3, "BATCH": 2, "TEST": 2, "TUNE_STEPS": (1, 2), "TUNE_BATCH": 1, "FAR_STEPS": 2,
        "FAR_EVERY": 1, "FAR_BATCH": 1,
        "RULES": {rule: recipe.RULES[rule] for rule in ("none", "turns 1", "yarn index 4")},
        "TUNED": ("none", "turns 1"), "FAR_RULES": ("none",), "LONG_RULES": ("yarn index 4",), "LONG": 1500,
        "LONG_TEST": 2, "LONG_EDGES": [500, 1500],
    }.items():  # fmt: skip
        monkeypatch.setattr(recipe, name, value)
    recipe.make(tmp_path)
    said = capsys.readouterr().out
    assert "seed 0  turns 1          2 steps   loss by position" in said
    assert "seed 0  yarn index 4  1500 tokens  loss by position" in said
    assert "steps to 95% of lags (3, 7, 15, 31, 200, 600): None, None" in said
    told = about("positions", tmp_path)
    assert [(run["rule"], run["steps"]) for run in told["runs"]] == [
        *((rule, steps) for rule in ("none", "turns 1") for steps in (0, 1, 2)), ("yarn index 4", 0)
    ]  # fmt: skip
    assert [at["steps"] for at in told["far"][0]["curve"]] == [0, 1, 2]
    assert set(told) == set(TOLD) and load("positions", tmp_path).config == recipe.config(0)


@pytest.mark.seconds
def test_the_shipped_model_does_what_is_written_of_it():
    model = load("positions")
    assert model.config == recipe.config(0) and TOLD["settings"]["edges"] == recipe.EDGES
    for rule in ("none", "turns 1", "index 32"):
        written = next(run for run in TOLD["runs"] if (run["seed"], run["rule"], run["steps"]) == (0, rule, 0))
        assert recipe.measured(recipe.under(rule, model)) == pytest.approx(
            written["loss_by_position"], rel=0.02, abs=2e-3
        )


def test_a_model_that_knows_128_positions_is_lost_beyond_them():
    assert max(losses("none", 0, NEAR)) < 0.01
    for run in TOLD["runs"]:
        if (run["rule"], run["steps"]) == ("none", 0):
            assert run["loss_by_position"] == sorted(run["loss_by_position"])
            assert run["loss_by_position"][FAR] > 500 * run["loss_by_position"][NEAR]


def test_to_slow_exactly_the_pairs_that_never_turned_is_enough():
    """Untrained, in every seed, from the first token to the last: the others are lost where it is right."""
    assert max(max(losses("turns 1", 0, bin)) for bin in range(FAR + 1)) < 0.2
    for rule in set(recipe.RULES) - {"turns 1", "turns 2", "index 2", "yarn turns 1", "yarn turns 2", "yarn index 2"}:
        assert all(
            theirs > 3 * ours for theirs, ours in zip(losses(rule, 0, FAR), losses("turns 1", 0, FAR), strict=True)
        )


@pytest.mark.parametrize("name", ["turns", "index", "yarn turns", "yarn index"])
def test_the_higher_the_bound_the_worse(name):
    """In the mean of all seeds, under either ramp, with the temperature and without."""
    bounds = [bound for bound in recipe.BOUNDS if f"{name} {bound}" in recipe.RULES]
    far = [mean(losses(f"{name} {bound}", 0, FAR)) for bound in bounds]
    assert far == sorted(far) and far[-1] > 2.5 and far[0] < 0.2


def test_the_index_slows_most_pairs_less_and_costs_less():
    bounds = (3, 4, 8, 32)
    slowed_more = []
    for bound in bounds:
        index, made = (kept_shares(32, original_length=128, beta=bound, ramp=ramp) for ramp in ("index", "turns"))
        slowed_more += [(bound, int(pair)) for pair in (index < made).nonzero()]
    assert slowed_more == [(4, 3)]  # rounded outwards, the ramp of 4 begins a pair before its turns do
    for bound in bounds:
        assert mean(losses(f"index {bound}", 0, FAR)) < mean(losses(f"turns {bound}", 0, FAR))


def test_the_temperature_helps_where_the_factor_is_large():
    """At factor 32, with the right bound, in every seed."""
    long = {
        rule: [run["loss_by_position"][-1] for run in TOLD["long"] if run["rule"] == rule]
        for rule in ("none", "turns 1", "yarn turns 1", "turns 4")
    }
    for plain, tempered in zip(long["turns 1"], long["yarn turns 1"], strict=True):
        assert tempered < plain / 2
    assert max(long["turns 1"]) < min(long["turns 4"]) < min(long["none"])


def test_the_temperature_changes_little_at_factor_8():
    change = {
        rule: mean(losses(f"yarn {rule}", 0, FAR)) - mean(losses(rule, 0, FAR))
        for rule in recipe.RULES
        if f"yarn {rule}" in recipe.RULES
    }
    assert -0.25 < min(change.values()) and max(change, key=change.get) == "turns 32"
    assert change["turns 32"] == pytest.approx(0.9, abs=0.05)


def test_the_rules_fail_in_their_own_way():
    far, near = ({rule: mean(losses(rule, 0, bin)) for rule in recipe.RULES} for bin in (FAR, NEAR))
    assert far["ntk"] < far["linear"] - 2 and far["none"] < far["linear"] - 2
    assert near["none"] < near["turns 4"] < near["ntk"] < near["abf"] < near["linear"] < near["turns 32"]
    assert near["linear"] > 1.5 * math.log(SYMBOLS)  # worse than a guess: it is sure of a wrong place


def test_interpolation_looks_eight_times_as_far():
    """Until it is trained: the weights ask for an angle, and eight times as many tokens make it."""
    copied = {(run["seed"], run["rule"]): run["distance"] for run in TOLD["copied"]}
    for seed in recipe.SEEDS:
        assert all(abs(found - 8 * lag) <= 1 for lag, found in zip(LAGS, copied[seed, "linear"], strict=True))
        assert copied[seed, "turns 1"] == list(LAGS)
        assert copied[seed, "turns 32"][0] > LAGS[0]


def test_what_a_short_training_mends():
    """Ten steps for the old frequencies and by parts, a hundred for NTK; where neighbours blur, not even a hundred."""
    for rule, steps, at_most in (("none", 10, 0.1), ("turns 1", 10, 0.1), ("turns 4", 10, 0.25), ("ntk", 100, 0.1)):
        assert max(max(losses(rule, steps, bin)) for bin in range(FAR + 1)) < at_most, rule
    for rule, steps, at_least in (("ntk", 10, 0.5), ("abf", 100, 0.5), ("linear", 100, 2), ("turns 32", 100, 1.5)):
        assert min(min(losses(rule, steps, bin)) for bin in range(FAR + 1)) > at_least, rule


# The passkey under every rule --------------------------------------------------------------------------------------

ASKED = about("positions-passkey")
WHOLE = {row["rule"]: sum(row["whole"]) for row in ASKED["rows"]}


def test_the_passkey_recipe_runs(tmp_path, monkeypatch, capsys):
    for name, value in {"OLD": 64, "NEW": 128, "PROMPTS": 3, "AT_ONCE": 2}.items():
        monkeypatch.setattr(passkeys, name, value)
    monkeypatch.setattr(passkeys, "RULES", {rule: passkeys.RULES[rule] for rule in ("none", "yarn index 32")})
    passkeys.make(tmp_path)
    told = about("positions-passkey", tmp_path)
    assert set(told) == set(ASKED) and [row["rule"] for row in told["rows"]] == ["none", "yarn index 32"]
    assert all(len(found) == 3 and set(found) <= {"0", "1"} for row in told["rows"] for found in row["found"])
    assert "none          digits " in capsys.readouterr().out


def test_the_passkeys_were_asked_of_the_model_that_is_shipped():
    """With other weights, ask again: course.py train positions-passkey --out solutions/checkpoints."""
    assert ASKED["model"]["sha256"] == about(passkeys.ASKED)["sha256"]
    assert [row["rule"] for row in ASKED["rows"]] == list(passkeys.RULES)
    assert ASKED["settings"]["prompts"] == passkeys.PROMPTS
    for row in ASKED["rows"]:
        assert row["whole"] == [found.count("1") for found in row["found"]]
        assert all(len(found) == passkeys.PROMPTS for found in row["found"])


def test_three_hundred_prompts_rank_the_rules():
    """Whole keys; and prompt by prompt, what one rule finds and the other does not."""
    order = ["yarn index 32", "turns 1", "turns 32", "ntk", "none", "linear"]
    assert sorted(WHOLE, key=WHOLE.get, reverse=True) == order
    found = {row["rule"]: "".join(row["found"]) for row in ASKED["rows"]}
    alone = {
        (one, other): sum(a > b for a, b in zip(found[one], found[other], strict=True))
        for one in found
        for other in found
    }
    assert (alone["turns 1", "turns 32"], alone["turns 32", "turns 1"]) == (32, 10)
    assert (alone["yarn index 32", "turns 1"], alone["turns 1", "yarn index 32"]) == (36, 9)
    digits = {row["rule"]: row["digits"] for row in ASKED["rows"]}
    assert digits["linear"][0] > digits["none"][0] + 0.2 and digits["linear"][2] < digits["none"][2] - 0.3
    assert min(digits["turns 1"]) > 0.8

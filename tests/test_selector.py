"""The Eye: its rows against the lesson's, its recordings against the model's own choices, and its words."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from solutions import sparse
from solutions.sparse import SELECTORS
from solutions.tiny import Config, TinyTransformer
from widgets import Eye
from widgets.kit.base import unpacked
from widgets.selector import measure, row, say
from widgets.selector.view import looked

VECTORS = Path(__file__).parent / "js" / "selector.json"
NESTED = ("indexer fp32", "indexer fp8", "indexer fp4", "oracle", "window", "random")  # a larger k keeps what it had


def a_model(top_k=4, heads=4, kv_heads=None, layers=2, seed=0, **sparse_options):
    options = {"sparse": {"top_k": top_k, "index_heads": 3, "index_dim": 8, **sparse_options}}
    config = Config(20, ("sparse",) * layers, width=32, heads=heads, kv_heads=kv_heads, seed=seed, options=options)
    model = TinyTransformer(config)
    with torch.no_grad():  # attention that looks somewhere, and an indexer that knows a little of it
        for layer in model.layers:
            layer.attention.to_q.weight.mul_(4)
            layer.attention.to_k.weight.mul_(4)
            layer.attention.indexer.to_q.weight.mul_(3)
    return model.eval()


def some_tokens(n, seed=0):
    return torch.randint(20, (n,), generator=torch.Generator().manual_seed(seed))


def some_vectors(n=40, heads=4, kv_heads=2, d=6, index_heads=3, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *shape: (torch.randn(*shape, generator=generator) * 64).round() / 64  # noqa: E731  short in JSON
    return {"q": 2 * make(heads, n, d), "k": 2 * make(kv_heads, n, d), "index_q": make(index_heads, n, width),
            "index_k": make(n, width), "index_w": make(n, index_heads)}  # fmt: skip


def sampled(monkeypatch, whole=30, queries=12, exact=30):
    """A long text at a size that a test can afford."""
    for name, value in (("ALL", whole), ("QUERIES", queries), ("EXACT", exact)):
        monkeypatch.setattr(measure, name, value)


def mask(indices, m):
    """Positions (k,), -1 for none, as a boolean (m,)."""
    found = np.zeros(m, bool)
    found[[int(key) for key in indices if key >= 0]] = True
    return found


# One row ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", row.PRECISIONS)
def test_a_row_of_index_scores_is_the_lesson_s(name):
    given = {key: each.double() for key, each in some_vectors().items()}
    kind = row.PRECISIONS[name]
    vectors = given["index_q"][None], given["index_k"][None], given["index_w"][None]
    expected = (sparse.low_precision_scores(*vectors, kind) if kind else sparse.index_scores(*vectors))[0]
    for t in (0, 7, 39):
        q, k = (row.quantised(x.numpy(), kind) for x in (given["index_q"][:, t], given["index_k"]))
        found = row.index_row(q, k, given["index_w"][t].numpy())
        np.testing.assert_allclose(found, expected[t], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["e4m3", "e2m1"])
def test_rounding_is_the_lesson_s_also_at_its_edges(kind):
    most = row.LARGEST[kind]
    edges = torch.tensor([[0.0, 0, 0, 0], [most, -most / 3, 1e-7, 0.3], [1e-6, -1e-9, 0, 0], [2.5, 0.25, 0.75, 6.0],
                          [448.1, 17.0, 1.0625, 0.001], [3.1, -0.3, 1.75, 5.0]], dtype=torch.float64)  # fmt: skip
    for x in (edges, torch.randn(500, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64).exp()):
        codes, scale = sparse.quantise(x.float(), kind)
        np.testing.assert_array_equal(row.quantised(x.float().numpy(), kind), (codes * scale).numpy())


def test_a_row_of_weights_is_the_lesson_s():
    given = {key: each.double() for key, each in some_vectors().items()}
    expected = sparse.causal_probabilities(given["q"][None], given["k"][None])[0]
    for t in (0, 7, 39):
        found = row.weights_row(given["q"][:, t].numpy(), given["k"][:, : t + 1].numpy(), 6**-0.5)
        np.testing.assert_allclose(found, expected[:, t, : t + 1], rtol=1e-12)


def test_of_equal_scores_the_first_is_chosen():
    assert row.best(np.array([1.0, 2, 1, 2, 1]), 3).tolist() == [True, True, False, True, False]
    assert row.best(np.zeros(4), 2).tolist() == [True, True, False, False]
    assert row.best(np.array([1.0, 2]), 5).all() and not row.best(np.array([1.0, 2]), 0).any()


@pytest.mark.parametrize("k", [4, 5, 8, 13])
def test_blocks_are_chosen_as_the_lesson_chooses_them(k):
    scores = torch.randn(1, 1, 30, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for m in (14, 15, 16, 30):
        of_blocks = sparse.pages(scores[0, 0, m - 1, :m, None], 4)[..., 0].amax(-1)
        expected = sparse.own_and_most_voted(of_blocks[None, None, None], m, 4, k)[0, 0]
        np.testing.assert_array_equal(row.best_blocks(of_blocks[: (m - 1) // 4].numpy(), m, k, 4), mask(expected, m))
    assert np.flatnonzero(row.best_blocks(np.array([9.0, 1]), 11, 2, 4)).tolist() == [9, 10]
    assert np.flatnonzero(row.best_blocks(np.array([9.0, 1]), 9, 3, 4)).tolist() == [8]


# Recordings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kv_heads": 2},
        {"selector": "all"},
        {"selector": "window"},
        {"selector": "H2O"},
        {"index": {"precision": "e4m3", "hadamard": True}},
    ],
)
@pytest.mark.seconds
def test_the_recording_is_what_the_model_does(options):
    model, tokens = a_model(**options), some_tokens(300 if "selector" not in options else 40)
    held = measure.record(model, tokens, selectors=["window"])
    chosen = list(sparse.selections(model, tokens[None]))
    kinds = {None: "fp32", "e4m3": "fp8"}
    assert held.precision == kinds[model.layers[0].attention.indexer.precision]
    for layer, selection in zip(held.layers, chosen, strict=True):
        for place in (3, 20, len(tokens) - 1):
            scores, weights = row.rows_of(layer, held.precision, place, place)
            np.testing.assert_allclose(scores, selection.scores[0, place, : place + 1], rtol=2e-3, atol=2e-4)
            np.testing.assert_allclose(weights, selection.target[0, place, : place + 1], rtol=2e-3, atol=1e-5)
            if options.get("selector", "indexer") == "indexer":
                chose = mask(selection.indices[0, place], place + 1)
                np.testing.assert_array_equal(row.best(scores, held.top_k), chose)
    assert not model.training


@pytest.mark.seconds
def test_the_model_is_left_as_it_was():
    model = a_model().train()
    measure.record(model, some_tokens(20))
    assert model.training and all(layer.attention.index_loss is None for layer in model.layers)


def expected_masses(given, name, k, block=4):
    """(1 + heads, n) the slow way: one query at a time, with the functions of the lesson."""
    q, k_, index_q, index_k, index_w = (each.double() for each in given.values())
    n, found = q.shape[1], []
    for t in range(n):
        rows = q[None, :, t : t + 1], k_[None, :, : t + 1]
        seen = sparse.causal_probabilities(*rows)[0, :, 0].numpy()
        seen = np.concatenate([seen.mean(0, keepdims=True), seen])
        if t < k:
            found.append(np.ones(len(seen)))
            continue
        kind, *_ = name.partition(" blocks")
        scores = None
        if kind.startswith("indexer"):
            parts = index_q[None, :, t : t + 1], index_k[None, : t + 1], index_w[None, t : t + 1]
            bits = row.PRECISIONS[kind.split()[1]]
            scores = (sparse.low_precision_scores(*parts, bits) if bits else sparse.index_scores(*parts))[0, 0].numpy()
        elif kind == "random":
            scores = measure.hashed(np.array([t]), np.arange(t + 1))[0].astype(float)
        masses = []
        for view in seen:
            if kind == "oracle":
                scores = view
            if kind == "H2O":
                chosen = mask(SELECTORS["H2O"](q[None], k_[None], k)[0, t], t + 1)
            elif scores is None:
                chosen = mask(SELECTORS[kind](*rows, k)[0, 0], t + 1)
            elif " blocks" in name:
                reduce = np.sum if kind == "oracle" else np.max
                past = reduce(scores[: t // block * block].reshape(-1, block), axis=1)
                chosen = row.best_blocks(past, t + 1, k, block)
            else:
                chosen = row.best(scores, k)
            masses.append(view[chosen].sum())
        found.append(np.array(masses))
    return np.stack(found, axis=1)


def every_choice():
    given = some_vectors(24)
    return list(measure.record_vectors(**given, top_k=4).layers[0].curves)


@pytest.mark.parametrize("name", every_choice())
@pytest.mark.seconds
def test_the_curves_are_quantiles_of_what_each_query_keeps(name):
    given = some_vectors(24)
    held = measure.record_vectors(**given, top_k=4)
    curve = held.layers[0].curves[name]
    assert curve.shape == (5, len(held.budgets), 3)
    for k in (1, 2, 4, 7, 10, 24):
        masses = expected_masses(given, name, k)[:, held.counted]
        at = held.budgets.tolist().index(k)
        np.testing.assert_allclose(curve[:, at].T, np.quantile(masses, (0.1, 0.5, 0.9), axis=1), atol=1e-6)


@pytest.mark.seconds
def test_a_long_text_keeps_even_queries_and_every_row_is_exact(monkeypatch):
    sampled(monkeypatch)
    given = some_vectors(100)
    held = measure.record_vectors(**given, top_k=8)
    assert len(held.at) == 12 and held.at[0] == 0 and held.at[-1] == 99 and set(np.diff(held.at)) == {9}
    assert held.layers[0].q.dtype == np.float16 and held.moved == 0  # these numbers are short
    assert held.budgets[-1] == 64 and held.selectors == ("oracle", "window", "sinks and window", "random")
    for place, t in enumerate(held.at.tolist()):
        scores, weights = row.rows_of(held.layers[0], "fp32", place, t)
        one = np.s_[None, :, t : t + 1]
        parts = given["index_q"][one], given["index_k"][None, : t + 1], given["index_w"][None, t : t + 1]
        np.testing.assert_allclose(scores, sparse.index_scores(*parts)[0, 0], rtol=1e-5, atol=1e-5)
        exact = sparse.causal_probabilities(given["q"][one], given["k"][None, :, : t + 1])[0, :, 0].mean(0)
        np.testing.assert_allclose(weights, exact, rtol=1e-5)
    for name in held.layers[0].curves:
        masses = np.stack([expected_masses(given, name, k)[:, held.at] for k in (1, 8, 64)], axis=1)[..., held.counted]
        at = [held.budgets.tolist().index(k) for k in (1, 8, 64)]
        expected = np.moveaxis(np.quantile(masses, (0.1, 0.5, 0.9), axis=2), 0, 2)
        np.testing.assert_allclose(held.layers[0].curves[name][:, at], expected, atol=1e-6)


@pytest.mark.seconds
def test_float16_is_not_taken_where_it_would_move_a_weight(monkeypatch):
    sampled(monkeypatch)
    given = some_vectors(60)
    given["q"] = 20 * torch.randn(given["q"].shape, generator=torch.Generator().manual_seed(3))
    given["k"] = given["k"] / 3  # of more digits than float16 has
    held = measure.record_vectors(**given, top_k=8)
    assert held.moved is None and held.layers[0].q.dtype == np.float32
    given["q"] = given["q"] / 200
    held = measure.record_vectors(**given, top_k=8)
    assert 0 < held.moved < measure.MOVED and held.layers[0].q.dtype == np.float16


# What must hold -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[0, 1])
def held(request):
    return measure.record(a_model(seed=request.param), some_tokens(60, request.param))


@pytest.mark.seconds
def test_with_as_many_keys_as_are_seen_everything_is_captured(held):
    for layer in held.layers:
        for name, curve in layer.curves.items():
            assert curve[:, -1] == pytest.approx(1, abs=1e-6), name
    scores, weights = row.rows_of(held.layers[0], "fp32", 20, 20)
    for k in (21, 22, 60):
        found = looked(scores, weights, k)
        assert found["mass"] == pytest.approx(1) and found["misses"] == 0


@pytest.mark.seconds
def test_no_choice_keeps_more_than_the_oracle(held):
    for layer in held.layers:
        for name, curve in layer.curves.items():
            assert (curve <= layer.curves["oracle"] + 1e-6).all(), name
            if name.startswith("indexer") and name.endswith("blocks"):
                assert (curve <= layer.curves["oracle blocks"] + 1e-6).all(), name


def test_a_larger_budget_keeps_no_less(held):
    for layer in held.layers:
        for name in NESTED:
            assert (np.diff(layer.curves[name], axis=1) >= -1e-6).all(), name


def test_nothing_is_chosen_after_the_query(held):
    for place in range(len(held.at)):
        scores, weights = row.rows_of(held.layers[0], "fp8", place, place)
        found = looked(scores, weights, held.top_k)
        assert len(found["chosen"]) == place + 1 and found["chosen"].sum() == min(held.top_k, place + 1)
        assert found["mass"] <= found["oracle"] + 1e-12 and found["window"] <= found["oracle"] + 1e-12


def test_random_keeps_what_the_formula_says():
    """With no query more likely than another, the mean over pairs is that of the lesson's formula."""
    numbers = measure.hashed(np.arange(400), np.arange(400)).astype(float)
    kept = [row.best(numbers[t, : t + 1], 8).sum() / (t + 1) for t in range(8, 400)]
    assert np.mean(kept) == pytest.approx(sparse.random_mass(400, 8), abs=1e-9)
    where = np.concatenate([np.flatnonzero(row.best(numbers[t, : t + 1], 8)) / t for t in range(100, 400)])
    assert np.mean(where) == pytest.approx(0.5, abs=0.02) and np.var(where) == pytest.approx(1 / 12, abs=0.005)


def test_density_is_the_share_of_pairs_that_is_chosen(held):
    eye = Eye(held)
    every = eye.density(cell=1, layer=0)
    assert every.shape == (60, 60) and set(np.unique(every)) == {0.0, 1.0} and not np.triu(every, 1).any()
    for t in (3, 30, 59):
        scores, _ = row.rows_of(held.layers[0], "fp32", t, t)
        np.testing.assert_array_equal(every[t, : t + 1] == 1, row.best(scores, held.top_k))
    coarse, pairs = eye.density(cell=8, layer=0), np.tri(60)
    for a, b in ((0, 0), (5, 2), (7, 7)):
        area = np.s_[8 * a : 8 * a + 8, 8 * b : 8 * b + 8]
        assert coarse[a, b] == pytest.approx(every[area].sum() / pairs[area].sum())
    assert eye.density(k=1, cell=64)[0, 0] == pytest.approx(60 / (60 * 61 / 2))


@pytest.mark.seconds
def test_the_density_is_laid_over_the_atlas():
    eye = Eye.of(a_model(), some_tokens(60), text=[f"w{i}" for i in range(60)])
    atlas = eye.atlas(layer=0)
    overlay = atlas.data["overlay"]
    assert (overlay["side"], overlay["cell"], overlay["name"]) == (60, 1, "chosen by the indexer at k = 4")
    np.testing.assert_array_equal(unpacked(overlay["share"]), 255 * eye.density(layer=0))
    assert repr(atlas).endswith(" Dots: chosen by the indexer at k = 4.")
    assert "layer 0" in atlas.provenance()
    weights = eye.recordings[""].layers[0]
    np.testing.assert_allclose(atlas.heads[2].map.row(40)[:41], row.weights_row(
        weights.q[40].astype(float), weights.k[:, :41].astype(float), weights.scale)[2], rtol=1e-5)  # fmt: skip
    coarse = atlas.lay_over(np.full((8, 8), 1e-4), "a little").data["overlay"]
    assert coarse["cell"] == 8 and set(unpacked(coarse["share"]).flat) == {1}  # a little is not nothing


@pytest.mark.parametrize("share", [np.zeros((60, 59)), np.zeros((7, 7)), np.zeros(60), np.full((60, 60), 1.5),
                                   np.full((60, 60), np.nan)])  # fmt: skip
@pytest.mark.seconds
def test_what_cannot_be_laid_over_an_atlas_is_refused(share):
    atlas = Eye.of(a_model(), some_tokens(60)).atlas()
    with pytest.raises(ValueError, match=r"give shares from 0 to 1 of squares of 1, 2, 4, \.\.\. of the 60 tokens"):
        atlas.lay_over(share, "it")
    assert atlas.data["overlay"]["name"] == "chosen by the indexer at k = 4"


def test_no_atlas_is_made_of_some_queries(monkeypatch):
    sampled(monkeypatch)
    with pytest.raises(ValueError, match="12 of 100 queries are kept, and an Atlas needs all"):
        Eye.from_vectors(**some_vectors(100), top_k=8).atlas()


# What it says -------------------------------------------------------------------------------------------------------


@pytest.mark.seconds
def test_the_twin_says_what_the_numbers_say():
    text = [f"w{i}" for i in range(60)]
    eye = Eye.of(a_model(), some_tokens(60), text=text, needles={50: 12}, query=50, layer=1)
    first, second = repr(eye).split("\n")
    held = eye.recordings[""]
    found = looked(*row.rows_of(held.layers[1], "fp32", 50, 50), 4)
    missed = found["missed"]
    weight = row.rows_of(held.layers[1], "fp32", 50, 50)[1][missed]
    assert first.startswith(
        f"{say.QUESTION} Layer 1, all heads, query 50 ‘w50’ of 60, k = 4: the indexer captures "
        f"{say.percent(found['mass'])} of the mass; misses token {missed} ‘w{missed}’ ({say.percent(weight)})"
    )
    whether = "chosen" if found["chosen"][12] else "missed"
    assert first.endswith(f"The needle, token 12 ‘w12’, is {whether}.")
    middle = [float(held.layers[1].curves[name][0, 3, 1]) for name in ("indexer fp32", "oracle", "window")]
    own, oracle, window = map(say.percent, middle)
    assert second == (
        f"At k = 4, half of 56 queries keep more than {own} of their mass with the indexer; {oracle} with the oracle, "
        f"{window} with a window."
    )
    assert repr(Eye.of(a_model(), some_tokens(60), text=text, needles={50: 12}, query=50, layer=1)) == repr(eye)


@pytest.mark.seconds
def test_the_first_query_is_a_typical_one_that_needs_a_far_key():
    needles = {10: 1, 40: 2, 45: 44, 50: 5, 55: 20}
    eye = Eye.of(a_model(), some_tokens(60), needles=needles)
    held = eye.recordings[""]
    assert held.at[eye.row] in (40, 50, 55)
    captured = held.layers[eye.layer].captured
    assert captured[eye.row] == pytest.approx(np.median(captured[[40, 50, 55]]))
    paid = [sum(row.rows_of(layer, "fp32", t, t)[1][needles[t]] for t in (10, 40, 50, 55)) for layer in held.layers]
    assert eye.layer == int(np.argmax(paid))
    assert Eye(held).layer == 1 and held.at[Eye(held).row] >= 30


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.9312, "93 %"), (0.004, "0.4 %"), (0.0001, "under 0.1 %"), (0, "0 %"), (1, "100 %"), (0.9999, "over 99.9 %"),
     (0.9962, "99.6 %"), (0.0951, "9.5 %"), (0.0996, "10 %"), (0.9949, "99 %")],
)  # fmt: skip
def test_shares(share, words):
    assert say.percent(share) == words.replace(" %", "\N{NO-BREAK SPACE}%")


@pytest.mark.seconds
def test_several_models_read_the_same_text():
    models = {"untrained": a_model(seed=1), "trained": a_model()}
    eye = Eye.of(models, some_tokens(40))
    assert eye.shown == "trained" and repr(eye).startswith(f"{say.QUESTION} Trained, layer 1, all heads, query ")
    assert [each["name"] for each in eye.data["models"]] == ["untrained", "trained"] and eye.data["shown"] == 1
    assert Eye.of(models, some_tokens(40), shown="untrained").data["shown"] == 0


def test_the_provenance_says_what_was_kept(monkeypatch):
    sampled(monkeypatch)
    eye = Eye.from_vectors(**some_vectors(100), top_k=8, run="a run")
    told = eye.provenance("")
    assert "a run, 100 tokens, 4 heads of 6, indexer 3 of 5" in told and "12 of 100 queries are kept" in told
    assert "float16" in told and "half of 11 of 100 queries" in repr(eye)


@pytest.mark.seconds
def test_what_travels_is_bytes_and_small():
    eye = Eye.of(a_model(), some_tokens(96))
    sent = eye.data["models"][0]
    layer = sent["layers"][0]
    assert unpacked(layer["q"]).shape == (96, 4, 8) and unpacked(layer["index_k"]).shape == (96, 8)
    assert all(isinstance(layer[name]["bytes"], bytes) for name in ("q", "k", "index_q", "index_k", "index_w"))
    assert len(eye.static_html()) < 300_000


@pytest.mark.seconds
def test_the_figure_is_drawn():
    axes = Eye.of(a_model(), some_tokens(60)).figure().axes
    assert [each.get_ylabel() for each in axes][:2] == ["index score", ""] or axes[0].get_ylabel() == "index score"
    assert any(each.get_xlabel() == "k, keys for each query" for each in axes)


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Eye.of(TinyTransformer(Config(20, ("full",), width=32)), some_tokens(20)), "layers with an indexer"),
        (lambda: Eye.of(a_model(), some_tokens(20), layers=[5]), "its layers .0, 1. have one"),
        (lambda: Eye.of(a_model(), some_tokens(4)), "top_k is 4 for 4 tokens; give a whole number from 1 to 3"),
        (lambda: Eye.of(a_model(), some_tokens(20).reshape(2, 10)), "give one text"),
        (lambda: Eye.of(a_model(), some_tokens(20), selectors=["best"]), "selector is 'best'"),
        (lambda: Eye.of(a_model(), some_tokens(20), block=0), "block is 0; give a whole number from 1 to 20"),
        (lambda: Eye.of(a_model(), some_tokens(20), text=["a"]), "text has 1 entries for 20 tokens"),
        (lambda: Eye.of(a_model(), some_tokens(20), needles={3: 4}), "query 3 needs key 4"),
        (lambda: Eye.of(a_model(), some_tokens(20), query=20), "query is 20, which was not kept; give 0 to 19"),
        (lambda: Eye.of(a_model(), some_tokens(20), layer=2), "layer is 2; give 0 to 1"),
        (lambda: Eye.of({}, some_tokens(20)), "0 recordings"),
        (lambda: Eye.of({"a": a_model(), "b": a_model(layers=1)}, some_tokens(20)), "alike in these"),
        (lambda: Eye.of(a_model(), some_tokens(20), shown="b"), "shown is 'b'"),
        (lambda: Eye.from_vectors(**{**some_vectors(), "k": torch.zeros(3, 40, 6)}, top_k=4), "do not belong together"),
        (lambda: Eye.from_vectors(**{**some_vectors(), "index_w": torch.zeros(39, 3)}, top_k=4), "do not belong"),
        (lambda: Eye.from_vectors(**{**some_vectors(), "q": torch.zeros(1, 4, 40, 6)}, top_k=4), "q has shape"),
        (lambda: Eye.from_vectors(**some_vectors(), top_k=0), "top_k is 0 for 40 tokens"),
        (lambda: Eye.from_vectors(**some_vectors(), top_k=True), "top_k is True"),
        (lambda: Eye.from_vectors(**{**some_vectors(), "q": torch.full((4, 40, 6), torch.nan)}, top_k=4), "a nan or"),
    ],
)  # fmt: skip
@pytest.mark.seconds
def test_what_does_not_fit_is_said(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# The same numbers in JavaScript -------------------------------------------------------------------------------------


def rounded(values):
    return np.round(np.asarray(values, float), 9).tolist()


def vectors():
    given = some_vectors(23)
    held = measure.record_vectors(**given, top_k=4)
    layer = held.layers[0]
    found = {"layer": [{
        "heads": 4, "kv_heads": 2, "d": 6, "index_heads": 3, "index_dim": 5, "scale": 6**-0.5, "tokens": 23,
        **{name: getattr(layer, name).reshape(-1).tolist() for name in ("q", "k", "index_q", "index_k", "index_w")},
    }], "quantised": [], "rows": [], "chosen": [], "hashed": [], "words": []}  # fmt: skip
    x = [[0.0, 0, 0, 0], [448.0, -149.3, 1e-7, 0.3], [1e-6, -1e-9, 0, 0], [2.5, 0.25, 0.75, 6.0], [3.1, -0.3, 1.75, 5]]
    for kind in ("e4m3", "e2m1"):
        found["quantised"].append([kind, x, row.quantised(np.array(x), kind).tolist()])
    for place in (0, 9, 22):
        for precision in row.PRECISIONS:
            scores, weights = row.rows_of(layer, precision, place, place)
            found["rows"].append([place, precision, rounded(scores), rounded(weights)])
    q, k = given["q"][None].double(), given["k"][None].double()
    for name, choose in SELECTORS.items():
        if name in ("random", "oracle"):
            continue
        for budget in (1, 2, 3, 4, 8, 9, 12):
            for place in (12, 15, 19, 22):
                rows = (q, k) if name == "H2O" else (q[:, :, place : place + 1], k[:, :, : place + 1])
                indices = choose(*rows, budget)[0, place if name == "H2O" else 0]
                found["chosen"].append([name, place, budget, np.flatnonzero(mask(indices, place + 1)).tolist()])
    for place in (12, 15, 22):
        scores, weights = row.rows_of(layer, "fp8", place, place)
        for name, values, reduce in (("indexer", scores, np.max), ("oracle", weights, np.sum)):
            for budget in (1, 3, 4, 9):
                past = reduce(values[: place // 4 * 4].reshape(-1, 4), axis=1)
                chosen = row.best_blocks(past, place + 1, budget, 4)
                found["chosen"].append([f"{name} blocks", place, budget, np.flatnonzero(chosen).tolist()])
                chosen = row.best(values, budget)
                found["chosen"].append([name, place, budget, np.flatnonzero(chosen).tolist()])
    for query, key in ((0, 0), (1, 0), (900, 12), (131071, 99999)):
        found["hashed"].append([query, key, int(measure.hashed(np.array([query]), np.array([key]))[0, 0])])
    for share in (0, 0.0001, 0.004, 0.0951, 0.0996, 0.5, 0.9312, 0.9949, 0.9962, 0.99996, 1):
        found["words"].append(["percent", [share], say.percent(share)])
    for arguments in ((12, "bank"), (131071, None), (3, " "), (1, "\n"), (1, "x" * 40), (5, "👩‍🚀 لا")):
        found["words"].append(["named", list(arguments), say.named(*arguments)])
    for arguments in (("indexer", "fp32", 0), ("indexer", "fp8", 4), ("oracle", "fp4", 16), ("Quest", "fp8", 4),
                      ("window", "fp32", 0), ("random", "fp32", 0), ("sinks and window", "fp32", 0)):  # fmt: skip
        found["words"].append(["who", list(arguments), say.who(*arguments)])
    facts = {"visible": 901, "mass": 0.931, "missed": ["12 ‘bank’", 0.004], "misses": 3, "oracle": 0.97, "window": 0.61,
             "needle": None}  # fmt: skip
    for change, chooser in (
        ({}, "the indexer"), ({"misses": 1}, "the indexer in fp8"), ({"missed": None, "misses": 0}, "Quest"),
        ({"missed": None, "misses": 0}, "the oracle"), ({}, "a window"), ({"needle": ["37 ‘v’", True]}, "the indexer"),
        ({"needle": ["37", False]}, "a random choice"), ({"visible": 64}, "the indexer"), ({"visible": 1}, "Quest"),
        ({"misses": 2}, "the oracle by blocks of 4"),
    ):  # fmt: skip
        arguments = ["Layer 1, all heads", "900 ‘x’", 1024, 64, chooser, {**facts, **change}]
        found["words"].append(["queryParts", arguments, say.query_parts(*arguments)])
    half = "half of 88 queries"
    for arguments in ((64, half, "the indexer", 0.93, 0.97, 0.61), (1, half, "Quest", 0.2, 1, None),
                      (8, half, "the oracle", 0.2, 0.2, 0.1), (8, half, "a window", 0.2, 0.3, 0.2),
                      (8, half, "the oracle", 0.2, 0.2, None)):  # fmt: skip
        found["words"].append(["allParts", list(arguments), say.all_parts(*arguments)])
    for arguments in ((88, 96, 96), (496, 512, 131072)):
        found["words"].append(["countedWords", list(arguments), say.counted_words(*arguments)])
    return found


def close(found, told):
    """Equal but for the last bits of a number, which may differ from one machine to another."""
    if isinstance(found, dict):
        return found.keys() == told.keys() and all(close(found[name], told[name]) for name in found)
    if isinstance(found, list | tuple):
        return len(found) == len(told) and all(map(close, found, told))
    return found == pytest.approx(told, abs=2e-8) if isinstance(found, float) else found == told


def test_the_shared_vectors_are_what_python_computes():
    told = json.loads(VECTORS.read_text(encoding="utf-8"))
    for name, found in vectors().items():
        assert close(json.loads(json.dumps(found)), told[name]), name


if __name__ == "__main__":  # writes the file anew, after a change that was meant
    lines = ",\n".join(
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]"
        for name, items in vectors().items()
    )
    VECTORS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")

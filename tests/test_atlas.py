"""The Atlas: its numbers against the whole matrix in float64, its masks pair by pair, and what it refuses."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from solutions.local_global import window_mask
from solutions.quadratic import attention
from solutions.tiny import Config, TinyTransformer
from widgets import Atlas
from widgets.atlas import Allowed, Mask, headmap, measure, say
from widgets.atlas.capture import layers_of
from widgets.atlas.mask import reach_of
from widgets.atlas.view import coded, floor_bits, squares
from widgets.kit.base import unpacked
from widgets.ledger.measure import record

VECTORS = Path(__file__).parent / "js" / "atlas.json"
PATTERNS = {
    "causal": Allowed(),
    "two-sided": Allowed(causal=False),
    "window": Allowed(window=9),
    "window of itself": Allowed(window=1),
    "two-sided window": Allowed(causal=False, window=13),
    "window and sinks": Allowed(window=12, sinks=3),
    "two-sided window and sinks": Allowed(causal=False, window=6, sinks=2),
}


def random_qk(tokens, head_dim=5, seed=0, spread=1.5):
    generator = torch.Generator().manual_seed(seed)
    q, k = (spread * torch.randn(tokens, head_dim, generator=generator) for _ in range(2))
    return q, k


def a_map(tokens=150, allowed=Allowed(), cell=4, block=16, far=20, **kwargs):  # noqa: B008  frozen
    q, k = random_qk(tokens, **kwargs)
    return measure.map_head(q, k, allowed, scale=q.shape[1] ** -0.5, cell=cell, block=block, far=far)


def dense(head):
    """The whole matrix, in float64, by the definition, from the q and k that the map holds."""
    every = np.arange(head.tokens)
    scores = head.scale * (head.q.astype(np.float64) @ head.k.astype(np.float64).T)
    scores = np.where(head.allowed.pairs(every, every), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def dense_mask(head, mask):
    """Every pair that a mask keeps, one by one."""
    every = np.arange(head.tokens)
    i, j = every[:, None], every[None, :]
    allowed = head.allowed.pairs(every, every)
    if mask == Mask():
        return allowed
    kept = np.zeros((head.tokens, head.tokens), bool)
    if mask.window is not None:
        kept |= np.abs(i - j) <= reach_of(mask.window, head.allowed.causal)
    kept |= j < mask.sinks
    for token in mask.global_tokens:
        kept |= (i == token) | (j == token)
    for row, column in zip(*head.chosen(mask), strict=True):
        kept |= (i // head.block == row) & (j // head.block == column)
    return kept & allowed


def random_mask(rng, tokens):
    return Mask(
        window=None if rng.random() < 0.3 else int(rng.integers(1, min(tokens, 60) + 1)),
        sinks=int(rng.integers(0, min(6, tokens))),
        global_tokens=tuple(int(at) for at in rng.integers(0, tokens, rng.integers(0, 4))),
        blocks=int(rng.integers(0, 4)),
    )


# The pass over the scores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize(("tokens", "cell"), [(2, 1), (37, 1), (150, 4), (300, 64), (129, 128), (260, 256)])
@pytest.mark.seconds
def test_squares_and_log_sum_exp_are_those_of_the_whole_matrix(allowed, tokens, cell):
    if allowed.window is not None and allowed.window > tokens:
        allowed = Allowed(allowed.causal, tokens, min(allowed.sinks, tokens))
    head = a_map(tokens, allowed, cell=cell)
    weights = dense(head)
    every = np.arange(tokens)
    np.testing.assert_allclose(head.tile(every, every), weights, rtol=2e-5, atol=1e-12)
    side = -(-tokens // cell)
    padded = np.zeros((side * cell, side * cell))
    padded[:tokens, :tokens] = weights
    by_square = padded.reshape(side, cell, side, cell)
    np.testing.assert_allclose(head.largest, by_square.max(axis=(1, 3)), rtol=2e-5, atol=1e-9)
    np.testing.assert_allclose(head.mass, by_square.sum(axis=(1, 3)), rtol=2e-5, atol=1e-6)
    distance = np.abs(every[:, None] - every)
    np.testing.assert_allclose(head.near, [weights[distance <= reach].sum() for reach in every], rtol=2e-6)
    np.testing.assert_allclose(head.read, weights.sum(axis=0), rtol=2e-5, atol=1e-6)
    late_and_far = weights * (distance >= 20) * (every >= tokens // 2)[:, None]
    np.testing.assert_allclose(head.read_far, late_and_far.sum(axis=0), rtol=2e-5, atol=2e-6)


def test_each_level_is_made_of_the_one_below_and_no_mass_is_lost():
    head = a_map(301, cell=4)
    levels = list(head.levels())
    assert [cell for cell, _, _ in levels] == [4, 8, 16, 32, 64, 128, 256, 512]
    for (_, finer, finer_mass), (cell, largest, mass) in itertools.pairwise(levels):
        for row, column in np.ndindex(largest.shape):
            part = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert largest[row, column] == finer[part].max()
            assert mass[row, column] == pytest.approx(finer_mass[part].sum(), rel=1e-12)
        rows = np.minimum(cell, 301 - cell * np.arange(len(mass)))
        np.testing.assert_allclose(mass.sum(axis=1), rows, rtol=1e-6)  # every row of weights sums to 1
        assert (largest <= 1 + 1e-6).all() and (mass <= cell**2 * largest + 1e-6).all()
        assert not largest[np.triu_indices(len(largest), 1)].any()


@pytest.mark.parametrize("spread", [0.5, 2.0, 3.5])
@pytest.mark.seconds
def test_any_cell_is_within_a_thousandth_of_float64_attention(spread):
    q, k = random_qk(2048, head_dim=64, spread=spread)
    head = measure.map_head(q, k, Allowed(), scale=0.125, cell=64, block=64, far=64)
    exact = attention(q.double(), k.double(), torch.eye(2048, dtype=torch.float64), causal=True).numpy()
    rows = np.arange(0, 2048, 37)
    found = head.tile(rows, np.arange(2048))
    seen = exact[rows] > 0
    assert np.abs(found[seen] / exact[rows][seen] - 1).max() < 1e-3
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-4)


def test_half_precision_is_kept_and_log_sum_exp_is_taken_from_it():
    q, k = (x.half() for x in random_qk(200, head_dim=64, spread=3))
    head = measure.map_head(q, k, Allowed(), scale=0.125, cell=8, block=16, far=20)
    assert np.array_equal(head.q, q.float().numpy())
    np.testing.assert_allclose(head.tile(np.arange(200), np.arange(200)).sum(axis=1), 1, rtol=1e-4)


def test_inputs_may_be_strided_and_keep_their_values():
    q, k = random_qk(64)
    transposed = q.T.contiguous().T
    before = transposed.clone()
    again = measure.map_head(transposed, k, Allowed(), scale=0.4, cell=4, block=16, far=8)
    head = measure.map_head(q, k, Allowed(), scale=0.4, cell=4, block=16, far=8)
    assert np.array_equal(head.mass, again.mass) and torch.equal(transposed, before)


def test_squares_stay_few_and_blocks_small():
    assert headmap.cell_size(131_072, 1) == 64
    assert headmap.cell_size(8_192, 1) == 8
    assert headmap.cell_size(512, 1) == 1
    for tokens, heads in [(512, 48), (8_192, 16), (131_072, 16), (1_000_000, 1)]:
        assert heads * (-(-tokens // headmap.cell_size(tokens, heads))) ** 2 <= 2**22
        assert heads * (-(-tokens // headmap.block_size(tokens, heads))) ** 2 <= 2**17


# Masks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize(("tokens", "cell"), [(2, 1), (90, 1), (143, 8), (300, 64)])
@pytest.mark.seconds
def test_kept_mass_and_pairs_are_the_sum_over_every_pair(allowed, tokens, cell):
    if allowed.window is not None and allowed.window > tokens:
        allowed = Allowed(allowed.causal, tokens)
    head = a_map(tokens, allowed, cell=cell)
    weights, rng = dense(head), np.random.default_rng(tokens)
    pairs = head.allowed.pairs(np.arange(tokens), np.arange(tokens)).sum()
    for mask in [Mask(), Mask(window=1), *(random_mask(rng, tokens) for _ in range(40))]:
        kept = dense_mask(head, mask)
        assert head.kept(mask) == pytest.approx(weights[kept].sum() / tokens, abs=2e-6), mask
        assert head.pairs(mask) == pytest.approx(kept.sum() / pairs, abs=1e-12), mask


@pytest.mark.parametrize("name", [name for name, allowed in PATTERNS.items() if allowed.window])
def test_a_window_means_what_it_means_to_the_mechanism(name):
    allowed, position = PATTERNS[name], torch.arange(40)
    theirs = window_mask(position, position, allowed.window, causal=allowed.causal, sinks=allowed.sinks)
    assert np.array_equal(allowed.pairs(position.numpy(), position.numpy()), theirs.numpy())


def test_more_is_never_less():
    head = a_map(300, spread=2)
    kept = [head.kept(Mask(window=window)) for window in range(1, 301)]
    assert (np.diff(kept) >= -1e-9).all() and kept[-1] == pytest.approx(1)
    blocks = [head.kept(Mask(window=16, sinks=1, blocks=blocks)) for blocks in range(20)]
    assert (np.diff(blocks) >= -1e-9).all() and blocks[-1] > blocks[0] + 0.1


def test_the_heaviest_blocks_are_the_heaviest():
    head = a_map(320, spread=2)
    mask = Mask(window=20, sinks=2, blocks=3)
    weights = dense(head)
    weights[:, :2] = 0
    rows, columns = head.chosen(mask)
    for row in range(20):
        masses = {
            column: weights[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].sum()
            for column in range(row)
            if 16 * row - (16 * column + 15) >= 20
        }
        wanted = sorted(masses, key=lambda column: -masses[column])[:3]
        assert sorted(columns[rows == row]) == sorted(wanted)


# Models -------------------------------------------------------------------------------------------------------------


def reproduces(layer, v, out):
    """The weights that a layer's q and k give, times its v, are what the layer went on with."""
    for number, (head, (q, k)) in enumerate(measure.head_pairs(layer.q, layer.k)):
        one = measure.map_head(q, k, layer.allowed, scale=layer.scale, cell=4, block=16, far=8)
        every = np.arange(one.tokens)
        values = v[head * len(v) // len(layer.q)].double().numpy()
        np.testing.assert_allclose(one.tile(every, every) @ values, out[number].double().numpy(), atol=2e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_layers_of_a_tiny_model_give_the_weights_it_used(causal, kv_heads):
    config = Config(
        vocabulary=11,
        layers=("full", "window", "window"),
        width=32,
        kv_heads=kv_heads,
        causal=causal,
        options={"window": {"window": 8, "sinks": 2}},
    )
    model = TinyTransformer(config)
    model.train()
    tokens = torch.randint(11, (70,), generator=torch.Generator().manual_seed(0))
    layers = layers_of(model, tokens)
    assert [layer.allowed for layer in layers] == [Allowed(causal), *2 * [Allowed(causal, 8, 2)]]
    assert model.training and not any("look" in vars(layer.attention) for layer in model.layers)

    seen = []
    for layer in model.layers:
        look = layer.attention.look
        layer.attention.look = lambda q, k, v, cache=None, look=look: seen.append((v, look(q, k, v))) or seen[-1][1]
    with torch.no_grad():
        model(tokens[None])
    for layer, (v, out) in zip(layers, seen, strict=True):
        reproduces(layer, v[0], out[0])


def test_a_window_as_wide_as_the_sequence_is_no_window():
    config = Config(vocabulary=11, layers=("window",), options={"window": {"window": 64, "sinks": 1}})
    [layer] = layers_of(TinyTransformer(config), torch.arange(10))
    assert layer.allowed == Allowed()


def hugging_face(name):
    transformers = pytest.importorskip("transformers", reason="needs Hugging Face's transformers, which are optional")
    shape = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4}
    special = dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"], 0)
    torch.manual_seed(0)
    match name:
        case "llama":  # causal, grouped keys
            config = transformers.LlamaConfig(**shape, **special, num_hidden_layers=2, num_key_value_heads=2)
            return transformers.LlamaModel(config), [Allowed(), Allowed()]
        case "mistral":  # a causal window
            config = transformers.MistralConfig(
                **shape, **special, num_hidden_layers=1, num_key_value_heads=2, sliding_window=9
            )
            return transformers.MistralModel(config), [Allowed(window=9)]
        case "gpt2":  # positions added, not rotated
            config = transformers.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, **special)
            return transformers.GPT2Model(config), [Allowed(), Allowed()]
        case "modernbert":  # two-sided, every third layer global
            config = transformers.ModernBertConfig(**shape, **special, num_hidden_layers=3, local_attention=16)
            return transformers.ModernBertModel(config), [Allowed(False), Allowed(False, 16), Allowed(False, 16)]


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "modernbert"])
def test_the_layers_of_a_hugging_face_model_give_the_weights_it_says_it_used(name):
    model, allowed = hugging_face(name)
    tokens = torch.randint(50, (1, 60), generator=torch.Generator().manual_seed(0))
    layers = layers_of(model, tokens)
    assert [layer.allowed for layer in layers] == allowed
    model.eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        told = model(tokens, output_attentions=True).attentions
    again = layers_of(model, tokens)
    assert model.config._attn_implementation == "eager"  # what the reader chose is left as it was
    for layer, same, weights in zip(layers, again, told, strict=True):
        torch.testing.assert_close(layer.q, same.q)
        for head, (q, k) in measure.head_pairs(layer.q, layer.k):
            one = measure.map_head(q, k, layer.allowed, scale=layer.scale, cell=4, block=16, far=8)
            every = np.arange(60)
            np.testing.assert_allclose(one.tile(every, every), weights[0, head].numpy(), rtol=1e-3, atol=2e-6)


def test_padding_is_refused_in_words():
    model, _ = hugging_face("llama")
    padding = torch.ones(1, 12, dtype=torch.long)
    padding[:, :3] = 0
    whole = model.forward
    model.forward = lambda tokens: whole(tokens, attention_mask=padding)
    with pytest.raises(ValueError, match="Padding is the usual cause"):
        layers_of(model, torch.arange(12))


class Biased(nn.Module):
    """Attention whose scores are shifted by distance, which the Atlas has no name for."""

    def forward(self, tokens):
        x = tokens[..., None].float().expand(1, 2, -1, 4)
        bias = -torch.arange(tokens.shape[1]).float()[None, :].expand(tokens.shape[1], -1)
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=bias)


def test_a_model_whose_attention_has_no_name_or_cannot_be_seen_is_refused():
    with pytest.raises(ValueError, match="adds a bias"):
        Atlas.from_model(Biased(), torch.arange(8))
    with pytest.raises(ValueError, match=r"never called scaled_dot_product_attention.*pass q and k to Atlas.of"):
        Atlas.from_model(nn.Embedding(8, 4), torch.arange(8))
    with pytest.raises(ValueError, match="give one sequence"):
        Atlas.from_model(nn.Embedding(8, 4), torch.zeros(2, 8, dtype=torch.long))
    model = TinyTransformer(Config(vocabulary=8, layers=("full",)))
    with pytest.raises(ValueError, match=r"layer 3 was not seen; TinyTransformer has layers \[0\]"):
        Atlas.from_model(model, torch.arange(8), layers=[3])
    with pytest.raises(ValueError, match="head is 9; give numbers from 0 to 3"):
        Atlas.from_model(model, torch.arange(8), heads=[9])


def test_layers_and_heads_can_be_chosen():
    model = TinyTransformer(Config(vocabulary=8, layers=("full", "window"), options={"window": {"window": 4}}))
    atlas = Atlas.from_model(model, torch.arange(8), layers=[1], heads=[2, 0])
    assert [(head.layer, head.head) for head in atlas.heads] == [(1, 2), (1, 0)]
    assert atlas.heads[0].map.allowed.window == 4


# What travels -------------------------------------------------------------------------------------------------------


def test_a_cell_stands_in_its_own_row_and_column():
    q, k = random_qk(20, head_dim=6, spread=3)
    atlas = Atlas.of(q, k, causal=False)
    head = atlas.heads[0].map
    weights, bits = dense(head), floor_bits(20)
    sent = unpacked(atlas.data["heads"][0]["largest"]).reshape(20, 20)
    for query, key in np.ndindex(20, 20):
        assert sent[query, key] == coded(weights[query : query + 1, key], bits)[0]
    assert not np.array_equal(sent, sent.T)
    with pytest.raises(ValueError, match="q has 20 tokens and k has 30; a map is square"):
        Atlas.of(q, random_qk(30, head_dim=6)[1])


def test_a_causal_map_sends_its_half():
    atlas = Atlas.of(*random_qk(40))
    head = atlas.data["heads"][0]
    sent = unpacked(head["largest"])
    side = len(atlas.heads[0].map.largest)
    full = coded(atlas.heads[0].map.largest, floor_bits(40))
    assert len(sent) == side * (side + 1) // 2
    for row, column in [(0, 0), (1, 0), (5, 3), (side - 1, side - 1), (side - 1, 0)]:
        assert sent[row * (row + 1) // 2 + column] == full[row, column]


def test_an_overview_of_131072_tokens_is_2_1_megabytes_a_statistic():
    side = 131_072 // headmap.cell_size(131_072, 1)
    assert squares(np.zeros((side, side), np.uint8), causal=True).nbytes == 2_098_176


def test_a_row_that_looks_everywhere_alike_is_above_the_floor():
    for tokens in (2, 500, 131_072):
        bits = floor_bits(tokens)
        assert coded(np.array([1 / tokens]), bits)[0] >= 3 * 255 // bits
        assert coded(np.array([1.0, 0.0, 2.0**-bits]), bits).tolist() == [255, 0, 0]


def test_a_byte_is_within_half_a_step():
    bits, rng = 20, np.random.default_rng(0)
    weights = 2.0 ** -rng.uniform(0, 20, 1000)
    decoded = 2.0 ** (bits * (coded(weights, bits) / 255 - 1))
    assert np.abs(np.log2(decoded / weights)).max() <= bits / 255 / 2 + 1e-9


def test_a_small_atlas_travels_whole_and_a_large_one_in_places():
    small = Atlas.of(*random_qk(300, head_dim=16)).data["heads"][0]
    assert small["whole"] and unpacked(small["q"]).shape == (300, 16)
    q, k = random_qk(9000, head_dim=64)
    large = Atlas.of(q, k)
    sent, head = large.data["heads"][0], large.heads[0].map
    assert not sent["whole"]
    query, key = large.cursor
    assert query // 256 in sent["queries"] and key // 256 in sent["keys"]
    assert {0, 8999 // 256} <= set(sent["keys"])
    place = sent["queries"].index(query // 256)
    start = query // 256 * 256
    assert np.array_equal(unpacked(sent["q"][place]), head.q[start : start + 256])
    assert np.array_equal(unpacked(sent["l"][place]), head.log_sum_exp[start : start + 256])
    # What the page adds up for sinks and global tokens is what the map itself says.
    lines = sent["lines"]
    reaches = unpacked(large.data["reaches"])
    columns = unpacked(lines["column"])
    for index, token in enumerate(lines["at"][:3]):
        line, distance = head.column(token), np.abs(np.arange(9000) - token)
        for at in (0, 5, len(reaches) - 2):
            assert columns[index, at + 1] == pytest.approx(line[distance > reaches[at]].sum(), rel=1e-6, abs=1e-9)
        assert columns[index, 0] == pytest.approx(line.sum(), rel=1e-6)
    assert len(large.static_html()) < 4_000_000


@pytest.mark.seconds
def test_many_heads_travel_in_a_bounded_page_and_the_first_of_them_whole():
    q, k = (x.expand(96, -1, -1).contiguous() for x in random_qk(512, head_dim=64))
    atlas = Atlas.of(q, k)
    sent = atlas.data["heads"]
    assert [head["whole"] for head in sent] == sorted((head["whole"] for head in sent), reverse=True)
    assert sent[0]["whole"] and not sent[-1]["whole"] and sent[-1]["q"] == []
    assert len(atlas.static_html()) < 13_500_000  # of which a third is base64


def test_the_page_of_a_small_map_stays_under_a_megabyte():
    atlas = Atlas.of(*random_qk(512, head_dim=64))
    assert len(atlas.static_html()) < 1_000_000


def test_a_kernel_sends_chunks_and_facts_on_demand(monkeypatch):
    q, k = random_qk(600, head_dim=4)
    atlas = Atlas.of(q, k)
    sent = []
    monkeypatch.setattr(Atlas, "send", lambda self, content, buffers=None: sent.append((content, buffers)))
    atlas._answer(atlas, {"asks": "hello"}, [])
    atlas._answer(atlas, {"asks": "more", "chunks": [[0, "q", 2], [0, "k", 0]], "facts": [0, 77]}, [])
    hello, (more, buffers) = sent
    assert hello[0] == {"answers": "hello"}
    assert more["chunks"] == [[0, "q", 2], [0, "k", 0]]
    log_sum_exp = atlas.heads[0].map.log_sum_exp
    assert buffers == [q[512:].numpy().tobytes(), log_sum_exp[512:].tobytes(), k[:256].numpy().tobytes()]
    row = dense(atlas.heads[0].map)[77]
    assert more["facts"]["query"] == 77 and more["facts"]["first"] == pytest.approx(row[0])


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", '"quoted" & <b>bold</b>', "👩‍🚀", "مرحبا", "x" * 10_000, "", "\n"]
)
def test_text_of_a_token_stays_text(text):
    q, k = random_qk(8)
    atlas = Atlas.of(q, k, tokens=[text] * 8)
    page = atlas.static_html()
    assert page.count("</script>") == 1 and "<b>bold" not in page.split("</script>")[1]
    state = json.loads(re.search(r">(\{.*\})</script>", page)[1])
    assert state["state"]["data"]["text"] == [text] * 8
    if len(text) > say.SHOWN + 20:
        assert text not in str(atlas) and f"({len(text):,} characters)" in str(atlas)


# What it says -------------------------------------------------------------------------------------------------------


def test_the_first_sentence_tells_the_row_and_the_second_the_mask():
    q, k = random_qk(200, spread=2)
    atlas = Atlas.of(q, k, tokens=[f" t{i}" for i in range(200)], cursor=(150, 20), mask=Mask(window=32, sinks=4))
    weights = dense(atlas.heads[0].map)
    first, second = str(atlas).splitlines()
    assert first.startswith(f"{say.QUESTION} ")
    first = first.removeprefix(f"{say.QUESTION} ")
    rest = weights[150].copy()
    rest[0] = rest[150 - 24 : 151] = 0
    here = say.weight_words(weights[150, 20])
    assert first == (
        f"Head 0, query 150 ‘t150’: {say.percent(weights[150, 0])} on the first key, "
        f"{say.percent(weights[150, 126:151].sum())} on the last 25; "
        f"of the rest, most on key {rest.argmax()} ‘t{rest.argmax()}’, {say.percent(rest.max())}. "
        f"Here, on key 20 ‘t20’: {here}."
    )
    kept = dense_mask(atlas.heads[0].map, Mask(window=32, sinks=4))
    assert second == (
        f"{say.percent(weights[kept].sum() / 200)} of the mass is kept by a window of 32 and 4 sinks, "
        f"reading {say.percent(kept.sum() / (200 * 201 / 2))} of the pairs."
    )
    assert atlas.provenance().startswith("measured: 200 tokens, 1 head, head_dim 5, float32, cpu; kept = ")
    assert str(atlas) == str(Atlas.of(q, k, tokens=[f" t{i}" for i in range(200)], cursor=(150, 20), mask=atlas.mask))


def test_the_first_look_falls_on_a_vertical_outside_the_window():
    q, k = random_qk(512, head_dim=16, spread=0.3)
    q[:, 0], k[:, 0] = 4, 0
    k[100, 0] = 5.5
    atlas = Atlas.of(q, k)
    query, key = atlas.cursor
    assert key == 100 and query - key >= atlas.mask.window


def test_sinks_are_counted_from_the_first_key_on():
    q, k = random_qk(256, head_dim=16, spread=0.3)
    q[:, 0], k[:, 0] = 4, 0
    assert Atlas.of(q, k).sink == 1
    k[:3, 0] = 6
    atlas = Atlas.of(q, k)
    assert atlas.sink == 3 and "on the first 3 keys" in str(atlas)


def test_two_atlases_stand_beside_each_other():
    one, other = (Atlas.of(*random_qk(64, seed=seed), run=run) for seed, run in [(0, "local"), (1, "global")])
    both = Atlas.beside(one, other)
    assert both.data["beside"] == 1 and [head["name"] for head in both.data["heads"]] == [
        "local, head 0",
        "global, head 0",
    ]
    assert str(both).splitlines()[-1] == f"Of global, head 0 it keeps {say.percent(other.heads[0].map.kept(one.mask))}."
    with pytest.raises(ValueError, match="the maps differ: 64 and 65 tokens"):
        Atlas.beside(one, Atlas.of(*random_qk(65)))


def test_a_figure_for_print_carries_the_number_and_the_scale():
    for atlas in [Atlas.of(*random_qk(90)), Atlas.of(*random_qk(90), causal=False, window=20, sinks=2)]:
        figure = atlas.figure()
        axes, bar = figure.axes
        assert axes.get_title(loc="left").endswith("kept") and "log scale" in bar.get_ylabel()
        assert axes.get_ylim() == (90, 0) and "each pixel = " in figure._supxlabel.get_text()
        figure.canvas.draw()
        assert np.asarray(figure.canvas.buffer_rgba())[..., :3].std() > 10


@pytest.mark.parametrize("causal, all_of_it", [(True, 12), (False, 23)])
def test_a_window_wider_than_the_text_and_sinks_beyond_it_mean_all(causal, all_of_it):
    q, k = random_qk(12)
    wide = Atlas.of(q, k, causal=causal, window=40, sinks=13, mask=Mask(window=40, sinks=13))
    assert wide.heads[0].map.allowed == Allowed(causal, all_of_it, 12)
    assert wide.mask == Mask(window=all_of_it, sinks=12)
    assert wide.heads[0].map.kept(Mask(window=40)) == pytest.approx(1)
    assert wide.heads[0].map.pairs(Mask(window=40)) == 1
    assert wide.heads[0].map.kept(Mask(sinks=40)) == pytest.approx(1)


# What it refuses ----------------------------------------------------------------------------------------------------

Q, K = random_qk(12)
WITH_NAN = Q.clone()
WITH_NAN[7, 3] = float("nan")
WITH_INFINITY = K.clone()
WITH_INFINITY[2, 0] = float("-inf")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((Q[:0], K[:0]), {}, "q has 0 tokens; a map needs two or more"),
        ((Q[:1], K[:1]), {}, "q has 1 tokens; a map needs two or more"),
        ((WITH_NAN, K), {}, "q holds nan in head 0, token 7, entry 3"),
        ((Q, WITH_INFINITY), {}, "k holds -inf in head 0, token 2, entry 0"),
        ((Q.double() * 1e39, K.double()), {}, "q holds"),
        ((Q, K[:9]), {}, "q has 12 tokens and k has 9"),
        ((Q, K[:, :4]), {}, "q has head_dim 5 and k 4"),
        ((Q.expand(4, -1, -1), K.expand(3, -1, -1)), {}, "q has 4 heads and k 3"),
        ((Q.expand(2, 3, -1, -1), K.expand(2, 3, -1, -1)), {}, r"q has shape \(2, 3, 12, 5\)"),
        ((Q.long(), K.long()), {}, "q is of torch.int64; give floating point numbers"),
        ((Q, K), {"window": 0}, "window is 0; give a whole number of 1 or more"),
        ((Q, K), {"window": -3}, "window is -3"),
        ((Q, K), {"window": 2.5}, "window is 2.5"),
        ((Q, K), {"window": 4, "sinks": 1.5}, "sinks is 1.5; give a whole number"),
        ((Q, K), {"scale": float("nan")}, "scale is nan"),
        ((Q, K), {"mask": Mask(window=0)}, "window is 0"),
        ((Q, K), {"mask": Mask(sinks=-1)}, "sinks is -1; give a whole number"),
        ((Q, K), {"mask": Mask(global_tokens=(3, 12))}, "global token 12 lies outside the 12 tokens"),
        ((Q, K), {"mask": Mask(blocks=-2)}, "blocks is -2"),
        ((Q, K), {"cursor": (3, 12)}, r"cursor is \(3, 12\); give \(query, key\), both from 0 to 11"),
        ((Q, K), {"tokens": ["a"] * 11}, "tokens has 11 texts for 12 tokens"),
        ((Q, K), {"cell": 3}, "cell is 3; give a power of two"),
    ],
)
def test_bad_input_is_refused_in_words(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Atlas.of(*arguments, **options)


def test_more_than_memory_holds_is_refused_with_a_coarser_start(monkeypatch):
    monkeypatch.setattr(measure, "bytes_free", lambda: 3_000_000)
    q, k = random_qk(1000)
    with pytest.raises(ValueError, match=r"1,000 tokens and 1 head need .* and 2\.86 MiB are free") as refused:
        Atlas.of(q, k)
    offered = int(re.search(r"pass cell=(\d+) for a coarser start", str(refused.value))[1])
    assert Atlas.of(q, k, cell=offered).heads[0].map.cell == offered
    monkeypatch.setattr(measure, "bytes_free", lambda: 1000)
    with pytest.raises(ValueError, match="give fewer heads or tokens"):
        Atlas.of(q, k)


@pytest.mark.seconds
def test_the_memory_it_says_it_needs_is_what_it_takes():
    q, k = random_qk(6000, head_dim=8)
    taken = record(measure.map_head, q, k, Allowed(), scale=0.3, cell=8, block=32, far=64).peak_bytes
    assert 0.8 < taken / measure.bytes_needed(6000, 8, 1, 8) < 1.2


# The vectors that Python and the page share -------------------------------------------------------------------------


def vectors():
    """Small maps with everything the page computes again, and sentences; node checks the same file."""
    found = {"maps": [], "codes": [], "facts": [], "words": []}
    for seed, (tokens, allowed) in enumerate(
        [(37, Allowed()), (30, Allowed(causal=False)), (41, Allowed(window=9)), (33, Allowed(False, 12, 2))]
    ):
        q, k = (x.mul(1000).round().div(1000) for x in random_qk(tokens, seed=seed))
        head = measure.map_head(q, k, allowed, scale=0.45, cell=4, block=4, far=8)
        rng = np.random.default_rng(seed)
        reaches = headmap.reaches(tokens, allowed.causal)
        windows = [reach + 1 if allowed.causal else max(1, 2 * reach) for reach in reaches.tolist()]
        masks = [Mask(), Mask(window=1), Mask(sinks=2), Mask(global_tokens=(5, 17)), Mask(blocks=2)]
        masks += [Mask(int(rng.choice(windows)), int(rng.integers(5)), (3, 20), int(rng.integers(4))) for _ in range(6)]
        every = np.arange(tokens)
        found["maps"].append(
            {
                "tokens": tokens,
                "allowed": {"causal": allowed.causal, "window": allowed.window, "sinks": allowed.sinks},
                "q": rounded(q.numpy()),
                "k": rounded(k.numpy()),
                "scale": head.scale,
                "l": rounded(head.log_sum_exp, 9),
                "block": head.block,
                "blocks": rounded(head.blocks, 7),
                "reaches": reaches.tolist(),
                "near": rounded(head.near[reaches], 7),
                "weights": rounded(head.tile(every, every), 7),
                "masks": [
                    {
                        "window": mask.window,
                        "sinks": mask.sinks,
                        "global_tokens": list(mask.global_tokens),
                        "blocks": mask.blocks,
                        "chosen": [list(map(int, pair)) for pair in zip(*head.chosen(mask), strict=True)],
                        "kept": round(head.kept(mask), 6),
                        "pairs": round(head.pairs(mask), 9),
                    }
                    for mask in masks
                ],
            }
        )
    for bits in (8, 20):
        for weight in (1.0, 0.5, 0.3, 0.01, 2.0**-8, 1e-4, 2.0**-20, 1e-9, 0.0):
            found["codes"].append([weight, bits, int(coded(np.array([weight]), bits)[0])])
    row = [0.4, 0.1, 0.02, 0.3, 0.05, 0.05, 0.06, 0.02, 0.0, 0.0]
    for query, sink, near, causal in [
        (7, 1, 3, True),
        (7, 2, 3, True),
        (2, 1, 4, True),
        (4, 1, 4, False),
        (0, 1, 4, True),
    ]:
        told = say.facts(np.array(row), query, sink, near, causal)
        found["facts"].append(
            [row, query, sink, near, causal, {**told, "first": round(told["first"], 9), "near": round(told["near"], 9)}]
        )
    text = [" bank", "‘q’", "x" * 40, " ", "\n", "river\tdelta", "a", "b", "c", "مرحبا"]
    for *_, told in found["facts"]:
        for words in (text, None):
            for key, weight in [(told["key"], 0.0), (5, 0.0), (5, 0.1134), (5, 3.4e-5), (5, 9.96e-8)]:
                arguments = ["Layer 2 head 3", 7, key, weight, told, 2, 64, True, words]
                found["words"].append(["query", arguments, say.query_parts(*arguments)])
    for mask in (
        Mask(),
        Mask(window=128, sinks=1),
        Mask(window=2048, sinks=4, global_tokens=(0, 7, 7), blocks=1),
        Mask(blocks=8),
    ):
        for causal in (True, False):
            sent = {
                "window": mask.window,
                "sinks": mask.sinks,
                "global_tokens": list(mask.global_tokens),
                "blocks": mask.blocks,
            }
            parts = say.mask_parts(mask, causal, 64, 0.7844, 0.00031)
            found["words"].append(["mask", [sent, causal, 64, 0.7844, 0.00031], parts])
    for statistic, cell in [("max", 1), ("max", 64), ("mean", 2)]:
        found["words"].append(["aggregate", [statistic, cell], say.aggregate_words(statistic, cell)])
    nothing = {"first": 0.9996, "near": 0.0004, "key": -1, "weight": 0.0}
    for arguments in (
        ["Head 0", 7, 2, 0.02, nothing, 1, 8, False, text],
        ["Head 0", 7, 3, 1.0, nothing, 1, 4, True, None],
    ):
        found["words"].append(["query", arguments, say.query_parts(*arguments)])
    one = {"window": None, "sinks": 2, "global_tokens": [3], "blocks": 0}
    told = say.mask_parts(Mask(sinks=2, global_tokens=(3,)), True, 64, 0.00001, 1.0)
    found["words"].append(["mask", [one, True, 64, 0.00001, 1.0], told])
    return found


def rounded(values, digits=4):
    return np.round(np.asarray(values, np.float64), digits).tolist()


def close(found, told):
    """Equal but for the last bits of a number, which may differ from one machine to another."""
    if isinstance(found, dict):
        return found.keys() == told.keys() and all(close(found[name], told[name]) for name in found)
    if isinstance(found, list | tuple):
        return len(found) == len(told) and all(map(close, found, told))
    return found == pytest.approx(told, abs=3e-6) if isinstance(found, float) else found == told


def test_the_shared_vectors_are_what_python_computes():
    assert say.beside_parts("head 2", 0.5) == ["Of ", "head 2", " it keeps 50.0\N{NO-BREAK SPACE}%."]
    told = json.loads(VECTORS.read_text(encoding="utf-8"))
    for name, found in vectors().items():
        assert close(json.loads(json.dumps(found)), told[name]), name


if __name__ == "__main__":  # writes the file anew, after a change that was meant
    lines = ",\n".join(
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]"
        for name, items in vectors().items()
    )
    VECTORS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")

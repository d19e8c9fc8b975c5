"""The tiny Transformer: the same from the same seed, causal, whole whatever the chunks, open to new attentions."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solutions import tiny
from solutions.quadratic import attention
from solutions.tiny import ATTENTIONS, Attention, Config, TinyTransformer, rope_frequencies, rotate, train

WITHIN = 1e-10  # float64
MIXED = ("full", "window", "window")


def model(layers=MIXED, *, window=4, sinks=0, **settings):
    options = {"window": {"window": window, "sinks": sinks}} if "window" in layers else {}
    return TinyTransformer(Config(11, layers, width=16, heads=4, options=options, **settings)).double()


def tokens(batch=2, n=23, seed=0):
    return torch.randint(11, (batch, n), generator=torch.Generator().manual_seed(seed))


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


# The model ---------------------------------------------------------------------------------------------------------


def test_the_same_config_gives_the_same_weights():
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    assert same_weights(model(), model())
    assert not same_weights(model(), model(seed=1))
    assert torch.equal(torch.rand(1), first)  # nobody else's random numbers were drawn


def test_parameters_are_counted():
    built = TinyTransformer(Config(100, ("full",) * 2, width=64, heads=4, kv_heads=2))
    attention_and_mlp = 64 * (64 + 32 + 32 + 64) + 2 * 4 * 64 * 64 + 5 * 64 + 2 * 64  # biases of the MLP, two norms
    assert sum(weight.numel() for weight in built.parameters()) == 3 * 100 * 64 + 64 + 2 * attention_and_mlp


@pytest.mark.parametrize("layers", [("full",), ("window",), MIXED], ids="-".join)
@pytest.mark.parametrize("settings", [{}, {"kv_heads": 2}, {"previous_token": False}, {"sinks": 3}], ids=str)
@pytest.mark.seconds
def test_any_chunks_give_the_logits_of_the_whole(layers, settings):
    built, whole_tokens = model(layers, **settings), tokens()
    whole = built(whole_tokens)
    for lengths in (1, 2, 3, 4, 5, 9, 23, [4, 1, 12, 6]):
        stream = built.new_stream()
        parts = [built(part, stream) for part in whole_tokens.split(lengths, dim=1)]
        assert (torch.cat(parts, dim=1) - whole).abs().max() <= WITHIN
        assert stream.tokens == 23


def test_a_stream_keeps_what_its_layers_need():
    built = model(kv_heads=2)
    stream = built.new_stream()
    for part in tokens(batch=1, n=40).split(7, dim=1):
        built(part, stream)
    head_dim, of_keys_and_values, float64 = 4, 2, 8
    assert stream.nbytes == (40 + 3 + 3) * 2 * head_dim * of_keys_and_values * float64


def jacobian(built, n=9):
    x = torch.randn(n, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    moved = torch.autograd.functional.jacobian(lambda x: built.transform(x[None])[0], x)
    return moved.abs().sum(dim=(1, 3))  # (n, n): output i, input j


@pytest.mark.parametrize("layers", [("full",), ("window",), MIXED], ids="-".join)
@pytest.mark.seconds
def test_no_token_sees_a_later_one(layers):
    moved = jacobian(model(layers))
    assert (moved.triu(1) == 0).all()
    assert (moved.diagonal() > 0).all()


def test_two_sided_layers_see_what_their_window_says():
    position = torch.arange(9)
    moved = jacobian(model(("window",), causal=False))
    assert torch.equal(moved > 0, (position - position[:, None]).abs() <= 2)
    assert (jacobian(model(("full",), causal=False)) > 0).all()


def test_the_previous_token_is_the_one_before():
    built = model()
    x = built.embed(tokens())
    swapped = tokens().clone()
    swapped[:, 5] = (swapped[:, 5] + 1) % 11
    changed = (built.embed(swapped) - x).abs().sum(dim=(0, 2)) > 0
    assert changed.nonzero().flatten().tolist() == [5, 6]


def test_local_layers_forget_where_the_sequence_began():
    """Beyond the reach of windows without sinks nothing is left of the start, position included."""
    built, text = model(("window",) * 3), tokens(batch=1, n=60)
    late = built(text)[:, -5:]
    assert (built(text[:, 35:])[:, -5:] - late).abs().max() <= WITHIN
    assert (built(text[:, 54:])[:, -5:] - late).abs().max() > 1e-4


def test_without_positions_a_two_sided_model_does_not_know_the_order():
    blind = model(("full",), causal=False, rope_base=None, previous_token=False)
    shuffle = torch.randperm(23, generator=torch.Generator().manual_seed(1))
    assert (blind(tokens()[:, shuffle]) - blind(tokens())[:, shuffle]).abs().max() <= WITHIN
    seeing = model(("full",), causal=False, previous_token=False)
    assert (seeing(tokens()[:, shuffle]) - seeing(tokens())[:, shuffle]).abs().max() > 1e-4


def test_queries_and_keys_are_those_of_the_scores():
    built, text = model(kv_heads=2), tokens()
    met = list(built.queries_and_keys(text))
    assert [tuple(each.shape) for pair in met for each in pair] == [(2, 4, 23, 4), (2, 2, 23, 4)] * 3
    first = built.layers[0]
    x = first.attention_norm(built.embed(text))
    q, k = met[0]
    v = first.attention.project(x)[2].repeat_interleave(2, dim=1)
    mixed = first.attention.join(attention(q, k.repeat_interleave(2, dim=1), v, causal=True))
    assert (mixed - first.attention(x, torch.arange(23))).abs().max() <= WITHIN


# Positions ---------------------------------------------------------------------------------------------------------


def test_scores_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frequencies = rope_frequencies(12, 10_000.0).double()

    def score(at_q, at_k):
        turned = (rotate(each, torch.tensor([at]), frequencies) for each, at in ((q, at_q), (k, at_k)))
        return (next(turned) * next(turned)).sum().item()

    assert score(7, 4) == pytest.approx(score(1007, 1004), abs=1e-9)
    assert abs(score(7, 4) - score(7, 3)) > 1e-3
    assert rotate(q, torch.tensor([5]), frequencies).norm().item() == pytest.approx(q.norm().item())
    assert torch.equal(rotate(q, torch.tensor([5]), frequencies)[..., 12:], q[..., 12:])


def test_frequencies_by_hand():
    assert rope_frequencies(4, 100.0).tolist() == pytest.approx([1.0, 0.1])
    assert len(rope_frequencies(5, 100.0)) == 2 and len(rope_frequencies(0, 100.0)) == 0
    assert len(rope_frequencies(8, None)) == 0


def test_every_layer_has_its_base():
    built = model(rope_base=(160_000.0, 10_000.0, None))
    assert [len(layer.attention.frequencies) for layer in built.layers] == [1, 1, 0]
    built = TinyTransformer(Config(5, ("full",) * 2, width=64, heads=1, rope_base=(100.0, 10_000.0)))
    assert [layer.attention.frequencies[-1].item() for layer in built.layers] == pytest.approx(
        [100 ** (-30 / 32), 10_000 ** (-30 / 32)]
    )


# Other attentions --------------------------------------------------------------------------------------------------


def test_a_new_attention_enters_by_name(monkeypatch):
    class Nothing(Attention):
        def __init__(self, config, layer, factor):
            super().__init__(config, layer)
            self.factor = nn.Parameter(torch.tensor(float(factor)))

        def look(self, q, k, v, cache=None):
            return self.factor * q

    monkeypatch.setitem(ATTENTIONS, "nothing", Nothing)
    built = TinyTransformer(Config(11, ("full", "nothing"), width=16, heads=4, options={"nothing": {"factor": 2}}))
    assert built.layers[1].attention.factor == 2
    swapped = model(("full", "full")).float().with_attention(("full", "nothing"), nothing={"factor": 3})
    assert swapped.layers[1].attention.factor == 3
    with pytest.raises(ValueError, match=r"no place for layers\.1\.attention\.factor"):
        swapped.with_attention(("full", "full"))


def test_other_attention_on_the_same_weights():
    full, text = model(("full",) * 2), tokens()
    wide = full.with_attention(("window",) * 2, window={"window": 23})
    assert same_weights(full, wide)
    assert (wide(text) - full(text)).abs().max() <= WITHIN
    narrow = full.with_attention(("window",) * 2, window={"window": 4})
    assert (narrow(text)[:, :4] - full(text)[:, :4]).abs().max() <= WITHIN
    assert (narrow(text)[:, 4:] - full(text)[:, 4:]).abs().amax(dim=(0, 2)).min() > 1e-6
    sunk = full.with_attention(("window",) * 2, window={"window": 1, "sinks": 23})
    assert (sunk(text) - full(text)).abs().max() <= WITHIN


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(layers=()), "give one or more of full, window"),
        (dict(layers=("full", "fall")), "give one or more of full, window"),
        (dict(heads=3), "give heads that divide the width"),
        (dict(kv_heads=3), "kv_heads that divide the heads"),
        (dict(vocabulary=0), "must all be 1 or more"),
        (dict(kv_heads=0), "must all be 1 or more"),
        (dict(rope_base=(1e4, 1e4)), "rope_base has 2 numbers; give 1"),
        (dict(rope_share=1.5), "rope_share is 1.5"),
        (dict(options={"window": {}}), "options name window, but the layers are full"),
    ],
    ids=str,
)
def test_configs_that_cannot_be(settings, words):
    with pytest.raises(ValueError, match=words):
        Config(**{"vocabulary": 5, "layers": ("full",), **settings})


@pytest.mark.parametrize(
    "given, words",
    [
        (torch.zeros(5, dtype=torch.long), "give whole numbers"),
        (torch.zeros(1, 5), "tokens is torch.float32"),
        (torch.zeros(1, 0, dtype=torch.long), r"\(1, 0\)"),
        (torch.tensor([[3, 11]]), "tokens reach from 3 to 11; give 0 to 10"),
        (torch.tensor([[-1, 2]]), "tokens reach from -1 to 2"),
    ],
    ids=lambda value: str(value).split(";")[0],
)
def test_tokens_that_cannot_be(given, words):
    with pytest.raises(ValueError, match=words):
        model()(given)


def test_windows_that_cannot_be():
    with pytest.raises(ValueError, match="window is 0"):
        model(window=0)


def test_a_model_that_looks_ahead_reads_no_stream():
    with pytest.raises(ValueError, match="cannot read a stream"):
        model(causal=False).new_stream()


# Training ----------------------------------------------------------------------------------------------------------


def next_token_loss(seed=0):
    """Count upwards modulo 11: what follows is always the token plus 1."""
    generator = torch.Generator().manual_seed(seed)

    def loss(built, step):
        text = (torch.randint(11, (8, 1), generator=generator) + torch.arange(12)) % 11
        return F.cross_entropy(built(text[:, :-1]).transpose(1, 2), text[:, 1:])

    return loss


@pytest.mark.seconds
def test_training_learns_and_repeats_itself():
    losses = [train(model().float(), next_token_loss(), steps=60, warm_up=5) for _ in range(2)]
    assert losses[0] == losses[1]
    assert losses[0][0] > math.log(11) - 0.3 and losses[0][-1] < 0.4
    assert losses[0] != train(model(seed=1).float(), next_token_loss(), steps=60, warm_up=5)


def test_groups_have_rates_of_their_own():
    built = model().float()
    before = {name: weight.clone() for name, weight in built.named_parameters()}
    groups = [{"params": built.head.parameters()}, {"params": built.embedding.parameters(), "lr": 0.0}]
    train(built, next_token_loss(), steps=3, warm_up=1, groups=groups)
    moved = {name for name, weight in built.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {"head.weight"}


def test_the_rate_rises_then_falls_to_a_tenth(monkeypatch):
    rates = []

    class Watched(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    monkeypatch.setattr(tiny.torch.optim, "AdamW", Watched)
    train(model().float(), next_token_loss(), steps=20, warm_up=4, learning_rate=1.0)
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4:] == pytest.approx([1 - 0.9 * step / 16 for step in range(16)])


def test_a_loss_that_explodes_is_told():
    with pytest.raises(ValueError, match="the loss is nan at step 2; give a smaller learning_rate"):
        train(model(), lambda built, step: built.head.weight.sum() * (math.nan if step == 2 else 1), steps=5)


def test_config_survives_json():
    config = model(rope_base=(1.0, None, 2.0)).config
    assert Config(**dataclasses.asdict(config)) == config

"""The costs of a long context: published figures again from the formulas, models from their configs, and bad input."""

import dataclasses
import itertools
import math

import pytest
import torch

from solutions import passkey, sparse
from solutions.local_global import layer_pattern, pattern_kv_bytes
from solutions.quadratic import KVCache, kv_cache_bytes, score_bytes
from solutions.serving import (
    A100_FLOPS,
    A100_LINK,
    H100_BYTES_PER_SECOND,
    H100_FLOPS,
    H100_LINK,
    KEPT,
    MODELS,
    NIC_400G,
    Model,
    activation_bytes,
    attention_flops_share,
    cache_share,
    compute_seconds,
    decode_intensity,
    decode_seconds,
    effective_length,
    kv_bytes,
    logits_bytes,
    needle_interval,
    paged_waste,
    perfect_by_luck,
    prefill_flops,
    requests_that_fit,
    ring_threshold,
    step_bytes,
    training_flops_per_token,
    trials_to_tell,
    weight_bytes,
)

LONG = 131_072
SEVEN, EIGHT, SEVENTY, LARGEST, MISTRAL, GEMMA, GPT_OSS, DEEPSEEK = MODELS.values()
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))


def shown(value, digits):
    """As it is printed: so many digits that count."""
    return float(f"{value:.{digits}g}")


# Models ----------------------------------------------------------------------------------------------------------

MLP = {SEVEN: 11_008, EIGHT: 14_336, SEVENTY: 28_672, LARGEST: 53_248, MISTRAL: 14_336, GEMMA: 15_360}  # from configs


@pytest.mark.parametrize("model", MLP, ids=lambda model: model.name)
def test_parameters_are_those_of_the_config(model):
    width = model.width or model.heads * model.head_dim
    projections = 2 * width * (model.heads + model.kv_heads) * model.head_dim
    norms = 4 * width + 2 * model.head_dim if model is GEMMA else 2 * width
    embeddings = (1 if model is GEMMA else 2) * model.vocabulary * width  # Gemma ties its output to its input
    layer = projections + 3 * width * MLP[model] + norms
    assert model.parameters == model.layers * layer + embeddings + width


def test_parameters_of_the_mixtures():
    width, experts = GPT_OSS.width, 128
    attention = width * 64 * (64 + 2 * 8) + 64 * (64 + 2 * 8) + 64 * 64 * width + width + 64  # biases, and sinks
    mlp = experts * (width + 1) + experts * (2 * width * (width + 1) + width * (width + 1))
    assert GPT_OSS.parameters == 36 * (attention + mlp + 2 * width) + 2 * GPT_OSS.vocabulary * width + width

    width, expert = DEEPSEEK.width, 3 * DEEPSEEK.width * 2048
    query = width * 1536 + 1536 + 1536 * 128 * (128 + 64)
    latent = width * (512 + 64) + 512 + 512 * 128 * (128 + 128)
    layers = 61 * (query + latent + 128 * 128 * width + 2 * width) + 3 * 3 * width * 18_432
    layers += 58 * (257 * expert + 256 * width + 256)
    assert DEEPSEEK.parameters == layers + 2 * DEEPSEEK.vocabulary * width + width
    resting = 58 * (256 - 8) * expert
    assert DEEPSEEK.parameters - resting - DEEPSEEK.vocabulary * width == pytest.approx(DEEPSEEK.active, rel=0.02)


@every_model
def test_models_say_where_they_are_from(model):
    assert model.name in MODELS and "arXiv" in model.source
    assert model.global_layers + model.local_layers == model.layers


@pytest.mark.parametrize(
    "given, words",
    [
        ({"kv_heads": 3}, "heads is 8 and kv_heads is 3; give kv_heads that divide heads"),
        ({"layers": 0}, "layers is 0; give a whole number of 1 or more"),
        ({"head_dim": 64.0}, "head_dim is 64.0"),
        ({"global_every": 6}, "global_every is 6 without a window"),
        ({"latent": 512}, "latent is 512 and rope_latent None; give both or neither"),
    ],
)
def test_a_model_that_cannot_be_is_refused(given, words):
    shape = {"name": "m", "layers": 2, "heads": 8, "kv_heads": 8, "head_dim": 64, "parameters": 1000}
    with pytest.raises(ValueError) as told:
        Model(**shape | given)
    assert words in str(told.value)


# The cache -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, given, gigabytes, digits",
    [
        (SEVEN, {}, 68.7, 3),
        (EIGHT, {}, 17.2, 3),
        (SEVENTY, {}, 42.9, 3),
        (SEVENTY, {"bits": 8}, 21.5, 3),
        (SEVENTY, {"bits": 4, "group": 32}, 13.4, 3),
        (SEVENTY, {"bits": 2, "group": 32}, 8.1, 2),
        (DEEPSEEK, {}, 9.21, 3),
        (GEMMA, {}, 8.93, 3),
        (dataclasses.replace(GEMMA, window=None, global_every=None), {}, 51.5, 3),
    ],
)
def test_caches_at_128k(model, given, gigabytes, digits):
    assert shown(kv_bytes(model, LONG, **given) / 1e9, digits) == gigabytes


def test_bytes_of_a_token():
    assert [kv_bytes(model, 1) for model in (SEVEN, EIGHT, SEVENTY, DEEPSEEK)] == [524_288, 131_072, 327_680, 70_272]
    assert shown(kv_bytes(SEVEN, 2048) / 1e9, 3) == 1.07


def test_the_cache_agrees_with_the_other_lessons():
    assert kv_bytes(SEVENTY, LONG) == kv_cache_bytes(LONG, 80, 8, 128)
    for tokens in (500, LONG):
        assert kv_bytes(GEMMA, tokens) == pattern_kv_bytes(layer_pattern("LLLLLG", 48), tokens, 1024, 8, 256)
    assert kv_bytes(DEEPSEEK, LONG) == sparse.latent_cache_bytes(LONG, "bf16")
    assert shown(sparse.latent_cache_bytes(LONG, "fp8") / 1e9, 3) == 5.24
    assert shown(sparse.index_cache_bytes(LONG) / 1e9, 3) == 1.06


def test_the_cache_is_what_a_cache_measures():
    model = Model("small", layers=3, heads=4, kv_heads=2, head_dim=16, parameters=1)
    caches = [KVCache() for _ in range(model.layers)]
    for cache, _ in itertools.product(caches, range(5)):
        cache.append(*torch.randn(2, 1, 2, 3, 16))
    assert kv_bytes(model, 15, bits=32) == sum(cache.nbytes for cache in caches)


@every_model
def test_more_tokens_take_more_until_every_layer_has_its_window(model):
    assert kv_bytes(model, 20_000) >= kv_bytes(model, 10_000)
    if model is MISTRAL:
        assert kv_bytes(model, LONG) == kv_bytes(model, 4096)
    if model.window is None:
        assert kv_bytes(model, 20_000) == 2 * kv_bytes(model, 10_000)
    assert kv_bytes(model, 64, bits=8) * 2 == kv_bytes(model, 64)


def test_a_group_adds_four_bytes():
    tiny = Model("tiny", 1, 1, 1, 8, 1)
    assert kv_bytes(tiny, 3, bits=4, group=16) == 3 * 8 + 3 * 4
    assert kv_bytes(tiny, 3, bits=4, group=32) == 3 * 8 + 2 * 4, "the second group is not full"


# A node ----------------------------------------------------------------------------------------------------------


def test_requests_on_eight_devices():
    assert requests_that_fit(SEVENTY, LONG) == 10
    assert requests_that_fit(SEVENTY, LONG, bits=8) == 20
    assert shown(weight_bytes(SEVENTY) / 1e9, 3) == 141


@every_model
@pytest.mark.parametrize("tokens", [1, 4096, LONG])
def test_what_fits_fits_and_one_more_does_not(model, tokens):
    room = 8 * 80e9 * 0.9 - weight_bytes(model, 4)
    requests = requests_that_fit(model, tokens, weight_bits=4)
    assert requests * kv_bytes(model, tokens) <= room < (requests + 1) * kv_bytes(model, tokens)


def test_ten_million_tokens_have_an_answer():
    assert requests_that_fit(SEVENTY, 10_000_000) == 0
    assert shown(kv_bytes(SEVENTY, 10_000_000) / 1e12, 3) == 3.28, "terabytes, beside 0.64 in the node"
    assert requests_that_fit(LARGEST, 1) == 0, "the weights alone are too many"
    assert requests_that_fit(LARGEST, LONG, weight_bits=8) == 2


def test_paging_wastes_less_than_a_page_of_each():
    assert paged_waste([1, 16, 17, 1000]) == 15 + 0 + 15 + 8
    assert paged_waste([1000, 3000], reserved=LONG) == 2 * LONG - 4000
    assert paged_waste([5, 6], block=1) == 0
    lengths = range(1, 200)
    assert all(0 <= paged_waste([length]) <= 15 for length in lengths)
    assert paged_waste(list(lengths)) == sum(paged_waste([length]) for length in lengths)


# Time ------------------------------------------------------------------------------------------------------------


def test_prefill_of_128k_on_70b():
    flops = prefill_flops(SEVENTY, LONG)
    assert shown(flops["linear"], 3) == 1.85e16 and shown(flops["attention"], 3) == 2.25e16
    assert round(100 * attention_flops_share(SEVENTY, LONG)) == 55
    assert round(compute_seconds(sum(flops.values()), devices=8)) == 13


def test_a_decoding_step_of_eight_requests():
    read = step_bytes(SEVENTY, LONG, 8)
    assert shown(read["weights"] / 1e9, 3) == 141 and shown(read["cache"] / 1e9, 3) == 344
    assert round(1000 * decode_seconds(SEVENTY, LONG, 8)) == 18
    assert round(100 * cache_share(SEVENTY, LONG, 8)) == 71
    assert decode_seconds(SEVENTY, LONG, 8, devices=16) == decode_seconds(SEVENTY, LONG, 8) / 2


def test_decoding_is_bound_by_memory():
    assert decode_intensity(SEVEN) == 1 and decode_intensity(SEVENTY) == 8 and decode_intensity(SEVENTY, bits=8) == 16
    assert round(decode_intensity(DEEPSEEK)) == 242
    assert round(H100_FLOPS / H100_BYTES_PER_SECOND) == 295


def test_pairs_of_attention():
    tiny = Model("tiny", layers=2, heads=3, kv_heads=1, head_dim=5, parameters=7, window=2, global_every=2)
    assert prefill_flops(tiny, 4) == {"linear": 2 * 7 * 4, "attention": (10 + 7) * 4 * 3 * 5}
    assert DEEPSEEK.pair_flops == sparse.V32.expanded and DEEPSEEK.decode_pair_flops == sparse.V32.absorbed
    assert prefill_flops(DEEPSEEK, 10)["linear"] == 20 * DEEPSEEK.active


# Training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, scores, of_a_layer, flash, checkpoints, ranks, cut",
    [(EIGHT, 2.7, 18.3, 584, 34.4, 8, 4.3), (SEVENTY, 5.5, 36.5, 2920, 172, 16, 10.7)],
)
def test_activations_at_128k(model, scores, of_a_layer, flash, checkpoints, ranks, cut):
    assert shown(score_bytes(LONG, model.heads, 5) / 1e12, 2) == scores
    assert shown(activation_bytes(model, LONG) / model.layers / 1e9, 3) == of_a_layer
    assert shown(activation_bytes(model, LONG) / 1e9, 3) == flash
    assert shown(activation_bytes(model, LONG, "checkpoints") / 1e9, 3) == checkpoints
    assert round(activation_bytes(model, LONG, "checkpoints", ranks=ranks) / 1e9, 1) == cut
    stored = activation_bytes(model, LONG, "scores") - activation_bytes(model, LONG)
    assert stored == model.layers * score_bytes(LONG, model.heads, 5)


@pytest.mark.parametrize("tokens, heads, head_dim", [(24, 2, 8), (20, 3, 6)])
def test_a_block_of_torch_keeps_34_bytes_a_token_and_width_and_5_a_head_and_pair(tokens, heads, head_dim):
    width, kept = heads * head_dim, {}
    x, *matrices = (
        torch.randn(*shape, dtype=torch.bfloat16).requires_grad_()
        for shape in ((tokens, width), *[(width, width)] * 4, (width, 4 * width), (4 * width, width))
    )
    w_q, w_k, w_v, w_o, w_up, w_down = matrices
    parameters = {each.untyped_storage().data_ptr() for each in matrices}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters and tensor.numel() > tokens:  # not LayerNorm's two numbers a token
            kept[storage.data_ptr()] = tensor
        return tensor

    def heads_of(each):
        return each.unflatten(-1, (heads, head_dim)).transpose(0, 1)

    def dropped(each):
        return torch.native_dropout(each, 0.1, True)[0]

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        normed = torch.nn.functional.layer_norm(x, (width,))
        q, k, v = (heads_of(normed @ matrix) for matrix in (w_q, w_k, w_v))
        weights = dropped((q @ k.mT * 0.3).softmax(-1))
        x = x + dropped((weights @ v).transpose(0, 1).flatten(-2) @ w_o)
        normed = torch.nn.functional.layer_norm(x, (width,))
        x = x + dropped(torch.nn.functional.gelu(normed @ w_up) @ w_down)
    counted = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    block = Model("block", layers=1, heads=heads, kv_heads=heads, head_dim=head_dim, parameters=1)
    assert counted == activation_bytes(block, tokens, "scores") == 34 * tokens * width + 5 * heads * tokens**2


def test_activations_of_a_rank_are_those_of_its_rows():
    for kept in KEPT:
        assert activation_bytes(GEMMA, 1000, kept, ranks=8) * 8 == activation_bytes(GEMMA, 1000, kept)
    assert activation_bytes(GEMMA, 100, "checkpoints") == 48 * 2 * 100 * 3840, "its width is not heads · head_dim"
    assert activation_bytes(EIGHT, 9, ranks=8) == activation_bytes(EIGHT, 2), "the longest part"


def test_logits_of_128k():
    assert round(logits_bytes(LONG, EIGHT.vocabulary) / 1e9) == 67


def test_what_training_at_128k_costs():
    shares = [round(100 * attention_flops_share(EIGHT, tokens)) for tokens in (2048, 32_768, LONG)]
    assert shares == [3, 35, 68]
    a_token = training_flops_per_token(EIGHT, LONG)
    assert a_token == 6 * EIGHT.parameters + 6 * 32 * 4096 * (LONG + 1)
    assert shown(a_token / (6 * EIGHT.parameters), 2) == 3.1
    assert round(compute_seconds(5e9 * a_token) / 3600) == 531


def test_from_how_many_tokens_a_ring_hides_its_link():
    assert ring_threshold(A100_FLOPS, A100_LINK) == 1040
    assert round(ring_threshold(H100_FLOPS, H100_LINK)) == 2198
    assert ring_threshold(H100_FLOPS, NIC_400G) == 19_780
    assert math.floor(ring_threshold(H100_FLOPS, NIC_400G, group=8)) == 2472
    assert ring_threshold(H100_FLOPS, NIC_400G) > LONG / 16 > ring_threshold(H100_FLOPS, NIC_400G, group=8)
    assert ring_threshold(H100_FLOPS, H100_LINK, element_bytes=1) == ring_threshold(H100_FLOPS, H100_LINK) / 2


def test_gathering_the_keys_of_a_layer_is_cheap():
    assert round(kv_bytes(EIGHT, LONG) / EIGHT.layers / 1e6) == 537


# What a needle test proves ---------------------------------------------------------------------------------------


def test_perfect_by_luck():
    assert round(perfect_by_luck(0.9, 10), 2) == 0.35 and round(perfect_by_luck(0.9, 32), 2) == 0.03
    assert trials_to_tell(0.9) == 29
    for accuracy in (0.5, 0.9, 0.99):
        trials = trials_to_tell(accuracy, 0.01)
        assert perfect_by_luck(accuracy, trials) <= 0.01 < perfect_by_luck(accuracy, trials - 1)


@pytest.mark.parametrize("right, asked", [(0, 5), (10, 10), (9, 10), (437, 500), (1, 1)])
def test_the_ends_are_z_of_their_own_errors_away(right, asked):
    for end in needle_interval(right, asked):
        away = abs(end - right / asked)
        assert away == pytest.approx(1.96 * math.sqrt(end * (1 - end) / asked), abs=1e-9)


def test_ten_of_ten_does_not_rule_out_nine_tenths():
    assert [round(end, 3) for end in needle_interval(10, 10)] == [0.722, 1.0]
    assert needle_interval(32, 32)[0] < 0.9 < needle_interval(35, 35)[0]
    assert needle_interval(9, 10, z=2.576)[0] < needle_interval(9, 10)[0]


def test_it_holds_95_times_of_100():
    """Exactly, from the binomial: on average over the shares, as Wilson's does, and near what the exact one gives."""
    shares = [share / 100 for share in range(5, 96)]

    def held(interval, asked):
        ends = [interval(right, asked) for right in range(asked + 1)]
        return [
            sum(
                math.comb(asked, right) * share**right * (1 - share) ** (asked - right)
                for right, (low, high) in enumerate(ends)
                if low <= share <= high
            )
            for share in shares
        ]

    wilson, exact = held(needle_interval, 20), held(passkey.interval, 20)
    assert sum(wilson) / len(shares) == pytest.approx(0.95, abs=0.01)
    assert min(exact) >= 0.95 > min(wilson) > 0.88


RULER = {  # arXiv 2404.06654, table 3
    "GPT-4": ({4096: 96.6, 32_768: 93.2, 65_536: 87.0, LONG: 81.2}, 65_536),
    "Llama-3.1-70B": ({4096: 96.5, 32_768: 94.8, 65_536: 88.4, LONG: 66.6}, 65_536),
    "Llama-3.1-8B": ({4096: 95.5, 32_768: 87.4, 65_536: 84.7, LONG: 77.0}, 32_768),
    "Qwen2-72B": ({4096: 96.9, 32_768: 94.1, 65_536: 79.8, LONG: 53.7}, 32_768),
    "LWM-7B": ({4096: 82.3, 32_768: 69.1, 65_536: 68.1, LONG: 65.0}, 0),
}


@pytest.mark.parametrize("name", RULER)
def test_effective_lengths_as_published(name):
    scores, length = RULER[name]
    assert effective_length(scores) == length
    assert effective_length(scores, bar=100) == 0


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [0, -1, 2.5, 1e5, "128K", math.nan])
@pytest.mark.parametrize(
    "calculate",
    [
        kv_bytes,
        requests_that_fit,
        prefill_flops,
        attention_flops_share,
        activation_bytes,
        training_flops_per_token,
        lambda model, tokens: decode_seconds(model, tokens, 8),
        lambda model, tokens: cache_share(model, tokens, 8),
        lambda model, tokens: logits_bytes(tokens, 32_000),
    ],
)
def test_a_context_that_is_no_count_is_told(calculate, tokens):
    with pytest.raises(ValueError, match=r"tokens is .*; give a whole number of 1 or more\."):
        calculate(EIGHT, tokens)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: kv_bytes(EIGHT, 1, bits=0), "kv_bytes: bits is 0; give a number above 0"),
        (lambda: kv_bytes(EIGHT, 1, bits=4, group=0), "group is 0; give a whole number of 1 or more"),
        (lambda: requests_that_fit(EIGHT, 1, usable=90), "usable is 90; give a share above 0 and up to 1"),
        (
            lambda: requests_that_fit(EIGHT, 1, device_bytes=-80e9),
            "device_bytes is -80000000000.0; give a number above",
        ),
        (lambda: requests_that_fit(EIGHT, 1, devices=0), "devices is 0; give a whole number of 1 or more"),
        (lambda: decode_seconds(EIGHT, 1, 0), "requests is 0; give a whole number of 1 or more"),
        (
            lambda: decode_seconds(EIGHT, 1, 1, bytes_per_second=math.inf),
            "bytes_per_second is inf; give a number above",
        ),
        (lambda: compute_seconds(1e15, utilisation=0), "utilisation is 0; give a number above 0"),
        (lambda: activation_bytes(EIGHT, 1, "all"), 'kept is \'all\'; give "scores", "flash" or "checkpoints"'),
        (lambda: paged_waste([]), "lengths is empty; give the tokens of at least one request"),
        (lambda: paged_waste([5, 0]), "a length is 0; give a whole number of 1 or more for each request"),
        (lambda: paged_waste([5, 9], reserved=8), "a request has 9 tokens, but 8 are reserved; reserve the longest"),
        (lambda: ring_threshold(0, 1), "flops_per_second is 0; give a number above 0"),
        (lambda: perfect_by_luck(90, 10), "accuracy is 90; give a share above 0 and up to 1"),
        (lambda: perfect_by_luck(0.9, 0), "trials is 0; give a whole number of 1 or more"),
        (lambda: trials_to_tell(1), "accuracy is 1; give less"),
        (lambda: needle_interval(11, 10), "right is 11 of 10; give a whole number from 0 to 10"),
        (lambda: needle_interval(0.9, 10), "right is 0.9 of 10; give a whole number from 0 to 10"),
        (lambda: needle_interval(0, 0), "asked is 0; give a whole number of 1 or more"),
        (lambda: effective_length({}), "scores is empty; give a score for at least one length"),
    ],
)
def test_bad_input_is_answered(call, words):
    with pytest.raises(ValueError) as told:
        call()
    assert words in str(told.value)

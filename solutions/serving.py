"""What a long context costs to train and to serve: bytes of cache, requests on a node, seconds, and what a test proves.

    cache of a request    2 · layers · kv_heads · head_dim · tokens · bytes      a latent counts once
    prefill               2 P L + 2 L² d n FLOPs      P parameters, n layers of width d, causal
    one decoding step     all weights once, and the cache of every request, read from memory

All of it is arithmetic on published shapes, with 1 GB = 10⁹ bytes. Rates are peaks of the data sheets; what a kernel
reaches of them is the caller's to say. The FP8 cache of DeepSeek, with its scales, is in `solutions.sparse`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solutions.local_global import window_pairs
from solutions.shapes import counts, is_count, shapes

# Models ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """The shape of a decoder, as far as its costs depend on it.

    heads: of the queries; kv_heads: of the keys and values; head_dim: of one head
    parameters: all of them; active: those that one token uses, where experts are chosen, else None
    window: tokens that a local layer keeps; global_every: every how many layers one keeps all (None: no layer does)
    latent, rope_latent: where a layer caches one vector for all heads, its size, and that of the rotated key beside it
    width: of the residual stream, heads · head_dim when None; vocabulary: entries of the output layer
    Raises ValueError for a shape that can't be.
    """

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    parameters: int
    window: int | None = None
    global_every: int | None = None
    latent: int | None = None
    rope_latent: int | None = None
    width: int | None = None
    vocabulary: int | None = None
    active: int | None = None
    source: str = ""

    def __post_init__(self):
        for name, value in vars(self).items():
            if name not in ("name", "source") and not is_count(value):
                raise ValueError(f"{name} is {value!r}; give a whole number of 1 or more.")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads is {self.heads} and kv_heads is {self.kv_heads}; give kv_heads that divide heads.")
        if self.global_every and not self.window:
            raise ValueError(f"global_every is {self.global_every} without a window; give the local layers a window.")
        if (self.latent is None) != (self.rope_latent is None):
            raise ValueError(f"latent is {self.latent} and rope_latent {self.rope_latent}; give both or neither.")

    @property
    def global_layers(self) -> int:
        """Layers that keep every token."""
        if self.window is None:
            return self.layers
        return self.layers // self.global_every if self.global_every else 0

    @property
    def local_layers(self) -> int:
        """Layers that keep a window."""
        return self.layers - self.global_layers

    @property
    def pair_flops(self) -> int:
        """FLOPs of one (query, key) pair in all heads of a layer; a latent is unpacked into keys and values first."""
        return 2 * self.heads * (self.head_dim + (self.rope_latent or 0) + self.head_dim)

    @property
    def decode_pair_flops(self) -> int:
        """The same in decoding, where heads work on the latent itself, and don't unpack it."""
        return 2 * self.heads * (2 * self.latent + self.rope_latent) if self.latent else self.pair_flops


LLAMA_3 = "The Llama 3 Herd of Models, arXiv 2407.21783, table 3"
MODELS = {
    model.name: model
    for model in (
        Model("Llama-2-7B", 32, 32, 32, 128, 6_738_415_616, vocabulary=32_000, source="arXiv 2307.09288, and config"),
        Model("Llama-3.1-8B", 32, 32, 8, 128, 8_030_261_248, vocabulary=128_256, source=LLAMA_3),
        Model("Llama-3.1-70B", 80, 64, 8, 128, 70_553_706_496, vocabulary=128_256, source=LLAMA_3),
        Model("Llama-3.1-405B", 126, 128, 8, 128, 405_853_388_800, vocabulary=128_256, source=LLAMA_3),
        Model(
            "Mistral-7B", 32, 32, 8, 128, 7_241_732_096, window=4096, vocabulary=32_000,
            source="Mistral 7B, arXiv 2310.06825, table 1: every layer has the window",
        ),
        Model(
            "Gemma-3-12B", 48, 16, 8, 256, 11_765_788_416, window=1024, global_every=6, width=3840, vocabulary=262_144,
            source="Gemma 3 report, arXiv 2503.19786, and config: text model, 5 local layers to 1 global",
        ),
        Model(
            "gpt-oss-120b", 36, 64, 8, 64, 116_829_156_672, window=128, global_every=2, width=2880, vocabulary=201_088,
            active=5_130_000_000, source="gpt-oss model card, arXiv 2508.10925, table 1, and config",
        ),
        Model(
            "DeepSeek-V3", 61, 128, 128, 128, 671_026_419_200, latent=512, rope_latent=64, width=7168,
            vocabulary=129_280, active=37_000_000_000, source="DeepSeek-V3 report, arXiv 2412.19437, section 4.2",
        ),
    )
}  # fmt: skip
"""Published shapes. Parameters are counted from the config: embeddings and norms included, vision and MTP left out."""

# Peaks of one device, from NVIDIA's data sheets: dense bf16, memory, NVLink in one direction.
H100_FLOPS, H100_BYTES, H100_BYTES_PER_SECOND, H100_LINK = 989e12, 80e9, 3.35e12, 450e9
A100_FLOPS, A100_LINK = 312e12, 300e9
NIC_400G = 50e9  # bytes per second of a 400 Gb/s network card

# Checks ----------------------------------------------------------------------------------------------------------


def positive(**given: float) -> None:
    """Raise ValueError unless all are finite numbers above 0."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}; give a number above 0.")


def share(**given: float) -> None:
    """Raise ValueError unless all are above 0 and at most 1."""
    for name, value in given.items():
        positive(**{name: value})
        if value > 1:
            raise ValueError(f"{name} is {value!r}; give a share above 0 and up to 1.")


def node_is_sound(device_bytes: float, usable: float, bits: float, weight_bits: float, **_) -> None:
    """Raise ValueError unless a node has memory, part of it usable."""
    positive(device_bytes=device_bytes, bits=bits, weight_bits=weight_bits)
    share(usable=usable)


def bits_are_positive(bits: float, weight_bits: float = 16, **_) -> None:
    """Raise ValueError unless numbers take some bits."""
    positive(bits=bits, weight_bits=weight_bits)


# The cache, and how many fit -------------------------------------------------------------------------------------


@counts("tokens", "group")
@shapes(check=bits_are_positive)
def kv_bytes(model: Model, tokens: int, *, bits: float = 16, group: int | None = None) -> int:
    """Bytes of the cache of one request, rounded up once, at the end.

    tokens: in the context, prompt and answer; bits: of one number in the cache
    group: where so many numbers share a scale and a zero point, 4 bytes together in fp16 (KIVI, arXiv 2402.02750, keeps
    32 so), counted over all numbers, and the last group may be short; None for a plain cast
    A local layer keeps at most its window, whatever the context; model.window is None where no layer is local.
    """
    slots = model.global_layers * tokens
    if model.window:
        slots += model.local_layers * min(tokens, model.window)
    of_a_token = model.latent + model.rope_latent if model.latent else 2 * model.kv_heads * model.head_dim
    scales = math.ceil(slots * of_a_token / group) if group else 0
    return math.ceil(slots * of_a_token * bits / 8) + 4 * scales


@shapes(check=bits_are_positive)
def weight_bytes(model: Model, bits: float = 16) -> int:
    """Bytes of all parameters, experts that rest included."""
    return math.ceil(model.parameters * bits / 8)


@counts("tokens", "devices", "group")
@shapes(check=node_is_sound)
def requests_that_fit(
    model: Model,
    tokens: int,
    *,
    device_bytes: float = H100_BYTES,
    devices: int = 8,
    usable: float = 0.9,
    bits: float = 16,
    group: int | None = None,
    weight_bits: float = 16,
) -> int:
    """Requests of `tokens` each that a node holds beside one copy of the weights; 0 where not even one fits.

    device_bytes: of one device; usable: the share that is left for weights and cache; bits, group: of the cache
    The cache is spread evenly, as tensor parallelism does when devices divide the KV heads. A latent has no heads to
    divide: it is spread by request, and what each device has left over makes this count an upper bound there.
    """
    room = devices * device_bytes * usable - weight_bytes(model, weight_bits)
    return max(0, math.floor(room / kv_bytes(model, tokens, bits=bits, group=group)))


def lengths_fit(lengths: Sequence[int], reserved: int | None, **_) -> None:
    """Raise ValueError unless there are lengths, each a count and within what is reserved."""
    if not lengths:
        raise ValueError("lengths is empty; give the tokens of at least one request.")
    for length in lengths:
        if length is None or not is_count(length):
            raise ValueError(f"a length is {length!r}; give a whole number of 1 or more for each request.")
        if reserved is not None and length > reserved:
            raise ValueError(f"a request has {length} tokens, but {reserved} are reserved; reserve the longest.")


@counts("block", "reserved")
@shapes(check=lengths_fit)
def paged_waste(lengths: Sequence[int], block: int = 16, reserved: int | None = None) -> int:
    """Cache slots, in tokens, that are held and empty.

    lengths: tokens of each request now; block: slots of a page, of which only a request's last is partly empty
    (vLLM, arXiv 2309.06180); reserved: slots that each request holds from the start, where there are no pages
    """
    held = [reserved if reserved else math.ceil(length / block) * block for length in lengths]
    return sum(held) - sum(lengths)


# Time ------------------------------------------------------------------------------------------------------------


@counts("tokens")
def prefill_flops(model: Model, tokens: int) -> dict[str, int]:
    """FLOPs of reading a prompt: `linear`, 2 for each active parameter and token, and `attention`, causal.

    The embedding and the output layer count among the parameters, as is the custom; an engine needs the last for one
    token only. A latent is unpacked into keys and values, as DeepSeek does in prefill.
    """
    pairs = model.global_layers * window_pairs(tokens, tokens)
    if model.window:
        pairs += model.local_layers * window_pairs(tokens, model.window)
    return {"linear": 2 * (model.active or model.parameters) * tokens, "attention": pairs * model.pair_flops}


def machine_is_sound(flops: float, flops_per_second: float, utilisation: float, **_) -> None:
    """Raise ValueError unless there is work, and a rate to do it at."""
    positive(flops=flops, flops_per_second=flops_per_second)
    share(utilisation=utilisation)


@counts("devices")
@shapes(check=machine_is_sound)
def compute_seconds(
    flops: float, *, devices: int = 1, flops_per_second: float = H100_FLOPS, utilisation: float = 0.4
) -> float:
    """Seconds for so many FLOPs, at a share of the peak of each device."""
    return flops / (devices * flops_per_second * utilisation)


@counts("tokens", "requests", "group")
@shapes(check=bits_are_positive)
def step_bytes(
    model: Model, tokens: int, requests: int, *, bits: float = 16, group: int | None = None, weight_bits: float = 16
) -> dict[str, int]:
    """Bytes that one decoding step reads: `weights` once for all requests, `cache` of each request.

    All experts are counted, since a batch of some size touches nearly all; for few requests this is too much.
    """
    cache = requests * kv_bytes(model, tokens, bits=bits, group=group)
    return {"weights": weight_bytes(model, weight_bits), "cache": cache}


def memory_is_sound(bytes_per_second: float, bits: float, weight_bits: float, **_) -> None:
    """Raise ValueError unless there is something to read, and a rate to read it at."""
    positive(bytes_per_second=bytes_per_second, bits=bits, weight_bits=weight_bits)


@counts("tokens", "requests", "devices", "group")
@shapes(check=memory_is_sound)
def decode_seconds(
    model: Model,
    tokens: int,
    requests: int,
    *,
    devices: int = 8,
    bytes_per_second: float = H100_BYTES_PER_SECOND,
    bits: float = 16,
    group: int | None = None,
    weight_bits: float = 16,
) -> float:
    """Seconds of one decoding step, a token for each request, when reading memory at its peak is all that takes time.

    bytes_per_second: of one device's memory
    A bound from below: computing, the links between devices and the host come on top.
    """
    read = step_bytes(model, tokens, requests, bits=bits, group=group, weight_bits=weight_bits)
    return sum(read.values()) / (devices * bytes_per_second)


@counts("tokens", "requests", "group")
@shapes(check=bits_are_positive)
def cache_share(
    model: Model, tokens: int, requests: int, *, bits: float = 16, group: int | None = None, weight_bits: float = 16
) -> float:
    """The cache's share of what one decoding step reads."""
    read = step_bytes(model, tokens, requests, bits=bits, group=group, weight_bits=weight_bits)
    return read["cache"] / sum(read.values())


@shapes(check=bits_are_positive)
def decode_intensity(model: Model, bits: float = 16) -> float:
    """FLOPs of decoding attention for each byte of the cache it reads.

    1 for multi-head attention in bf16, heads / kv_heads for grouped; below a device's peak FLOPs over its peak bytes,
    memory sets the pace.
    """
    return model.decode_pair_flops * model.layers / kv_bytes(model, 1, bits=bits)


# Training --------------------------------------------------------------------------------------------------------

KEPT = ("scores", "flash", "checkpoints")


def kept_is_known(kept: str, **_) -> None:
    """Raise ValueError unless it is one of the three ways to keep activations."""
    if kept not in KEPT:
        raise ValueError(f'kept is {kept!r}; give "scores", "flash" or "checkpoints".')


@counts("tokens", "ranks")
@shapes(check=kept_is_known)
def activation_bytes(model: Model, tokens: int, kept: str = "flash", *, ranks: int = 1) -> int:
    """Bytes that the backward pass of one sequence keeps, all layers, on the rank that has the most tokens.

    kept: "scores", a layer keeps 34 s h + 5 a s² bytes (Korthikanti et al., arXiv 2205.05198, of a GPT block with an
    MLP of 4 h, half precision and dropout); "flash", the second term is made again; "checkpoints", only a layer's
    input, 2 s h, stays
    ranks: over which the sequence is cut (context parallel). s tokens of a rank, h width, a heads. Scores are counted
    whole, so of s rows and all tokens as columns. Other blocks differ in the 34, not in what grows.
    """
    rows = math.ceil(tokens / ranks)
    width = model.width or model.heads * model.head_dim
    of_a_layer = {"checkpoints": 2, "flash": 34, "scores": 34}[kept] * rows * width
    if kept == "scores":
        of_a_layer += 5 * model.heads * rows * tokens
    return model.layers * of_a_layer


@counts("tokens", "vocabulary", "element_bytes")
def logits_bytes(tokens: int, vocabulary: int, element_bytes: int = 4) -> int:
    """Bytes of the output scores of all tokens at once, in fp32; a loss in chunks never holds them."""
    return tokens * vocabulary * element_bytes


@counts("tokens")
def training_flops_per_token(model: Model, tokens: int) -> float:
    """FLOPs of a token in training, forward and backward, in sequences of `tokens`: 6 P + 6 L d n where all attend.

    Backward takes twice the forward's; nothing is made again.
    """
    return 3 * sum(prefill_flops(model, tokens).values()) / tokens


@counts("tokens")
def attention_flops_share(model: Model, tokens: int) -> float:
    """Attention's share of the FLOPs over sequences of `tokens`: the same in training and in prefill."""
    flops = prefill_flops(model, tokens)
    return flops["attention"] / sum(flops.values())


def link_is_sound(flops_per_second: float, bytes_per_second: float, **_) -> None:
    """Raise ValueError unless both rates are positive."""
    positive(flops_per_second=flops_per_second, bytes_per_second=bytes_per_second)


@counts("group", "element_bytes")
@shapes(check=link_is_sound)
def ring_threshold(
    flops_per_second: float, bytes_per_second: float, *, group: int = 1, element_bytes: int = 2
) -> float:
    """Tokens that a rank of a ring needs, so that passing keys and values on hides behind computing.

    A block of c tokens takes 4 c² d FLOPs in each of the `group` query heads that share a key, and 2 c d numbers on
    the link: c >= F · element_bytes / (2 · group · B). bytes_per_second: of the link, one direction.
    """
    return flops_per_second * element_bytes / (2 * group * bytes_per_second)


# What a needle test proves ---------------------------------------------------------------------------------------


def accuracy_is_a_share(accuracy: float, luck: float = 1.0, **_) -> None:
    """Raise ValueError unless the accuracy, and what is left to luck, can be shares."""
    share(accuracy=accuracy, luck=luck)


@counts("trials")
@shapes(check=accuracy_is_a_share)
def perfect_by_luck(accuracy: float, trials: int) -> float:
    """Probability that a cell of that true accuracy shows 100 % after so many independent trials."""
    return accuracy**trials


def accuracy_is_below_one(accuracy: float, luck: float, **_) -> None:
    """Raise ValueError for a cell that never fails, which no number of trials can show up."""
    accuracy_is_a_share(accuracy, luck)
    if accuracy == 1:
        raise ValueError("accuracy is 1; give less, since a cell that never fails is always perfect.")


@shapes(check=accuracy_is_below_one)
def trials_to_tell(accuracy: float, luck: float = 0.05) -> int:
    """Fewest trials after which a cell of that true accuracy is perfect by luck no more often than `luck`."""
    return max(1, math.ceil(math.log(luck) / math.log(accuracy)))


def found_of_asked(right: int, asked: int, z: float) -> None:
    """Raise ValueError unless `right` of `asked` can be a result."""
    positive(z=z)
    if not is_count(asked) or asked is None:
        raise ValueError(f"asked is {asked!r}; give a whole number of 1 or more.")
    if not isinstance(right, int) or not 0 <= right <= asked:
        raise ValueError(f"right is {right!r} of {asked}; give a whole number from 0 to {asked}.")


@shapes(check=found_of_asked)
def needle_interval(right: int, asked: int, z: float = 1.96) -> tuple[float, float]:
    """Between which shares the true one lies, if `right` of `asked` needles were found (Wilson, 1927).

    The shares p for which `right / asked` lies within z standard errors √(p (1 - p) / asked) of p, so the error is that
    of the true share, not of the one that was seen; z = 1.96 is 95 %. Five digits are enough.
    """
    seen = right / asked
    middle = (seen + z * z / (2 * asked)) / (1 + z * z / asked)
    reach = z / (1 + z * z / asked) * math.sqrt(seen * (1 - seen) / asked + z * z / (4 * asked * asked))
    return max(0.0, middle - reach), min(1.0, middle + reach)


RULER_BAR = 85.6  # Llama-2-7B at 4K, mean of the 13 tasks: RULER, arXiv 2404.06654


def there_are_scores(scores: Mapping[int, float], **_) -> None:
    """Raise ValueError for a model that was not tested."""
    if not scores:
        raise ValueError("scores is empty; give a score for at least one length.")


@shapes(check=there_are_scores)
def effective_length(scores: Mapping[int, float], bar: float = RULER_BAR) -> int:
    """The longest tested length whose score is above the bar, in the sense of RULER; 0 where none is.

    scores: tokens -> mean score in per cent
    """
    return max((length for length, score in scores.items() if score > bar), default=0)

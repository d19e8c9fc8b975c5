"""The Tape: its reads against the rules of the lesson, its recordings against the model's own state, and its words."""

import copy
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from solutions.infini import RULES, forced_gates, infini_layers
from solutions.tiny import Config, TinyTransformer
from widgets import Tape
from widgets.kit.base import unpacked
from widgets.kit.format import shown, signed
from widgets.tape import measure, read, say
from widgets.tape.view import answered, with_segment

VECTORS = Path(__file__).parent / "js" / "tape.json"


def a_model(segment=8, layers=("infini",) * 2, heads=2, kv_heads=None, rule="linear", seed=0, vocabulary=12):
    options = {"infini": {"segment": segment, "rule": rule}}
    config = Config(vocabulary, layers, width=12, heads=heads, kv_heads=kv_heads, seed=seed, options=options)
    model = TinyTransformer(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in infini_layers(model):
            layer.beta.copy_(torch.randn(heads, generator=generator))
            for matrix in (layer.to_q, layer.to_k, layer.to_v):
                matrix.weight.mul_(4)
    return model.eval()


def some_tokens(n, seed=0, vocabulary=12):
    return torch.randint(vocabulary, (n,), generator=torch.Generator().manual_seed(seed))


def some_pairs(n, d_key=5, d_value=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d_key, generator=generator), torch.randn(n, d_value, generator=generator)


# Reads and writes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_reading_and_writing_are_the_lesson_s(rule):
    take, put = RULES[rule]
    k, v = (each.double() for each in some_pairs(20))
    memory, z = torch.zeros(5, 3, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    ours = memory.numpy(), z.numpy()
    for i in range(20):
        memory, z = put(k[i : i + 1], v[i : i + 1], memory, z)
        ours = read.write(rule, k[i].numpy(), v[i].numpy(), *ours)
        np.testing.assert_allclose(ours[0], memory, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(ours[1], z, rtol=1e-10, atol=1e-12)
        found = take(k, memory, z).numpy()
        np.testing.assert_allclose(read.read(rule, k.numpy(), *ours), found, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rule", RULES)
def test_one_pair_comes_back_whole_and_nothing_from_nothing(rule):
    k, v = (each[0].double().numpy() for each in some_pairs(1))
    empty = np.zeros((5, 3)), np.zeros(5)
    assert not read.read(rule, k, *empty).any()
    assert read.cosine(read.read(rule, k, *empty), v) is None
    found = read.read(rule, k, *read.write(rule, k, v, *empty))
    assert read.cosine(found, v) == pytest.approx(1, abs=1e-12) and read.returned(found, v) == pytest.approx(1)


def test_a_pair_in_every_segment_is_read_back_by_halves_under_eq_9():
    k, v = some_pairs(1)
    tape = Tape.from_pairs(k.repeat(12, 1), v.repeat(12, 1))
    held = tape.recordings[0]
    for rule, share in (("linear", 1), ("delta", 0.5), ("gamma", 1), ("unit", 1)):
        found = [
            read.returned(read.read(rule, k[0].numpy(), held.memory[rule][i, 0], held.z[rule][i, 0]), v[0].numpy())
            for i in range(12)
        ]
        np.testing.assert_allclose(found, [1] + [share] * 11, atol=1e-5)


def test_the_share_is_what_is_read_when_all_others_carry_nothing():
    k, v = some_pairs(40, d_key=8)
    v[1:] = 0
    held = Tape.from_pairs(k, v).recordings[0]
    every = k.double().numpy()
    for number in (1, 6, 40):
        at = held.after.tolist().index(number)
        m, z = (np.float64(side["linear"][at, 0]) for side in (held.memory, held.z))
        fits = read.fit("linear", every[0], every[:number])
        predicted = read.share(fits[0], fits[1:].mean() if number > 1 else 0, number - 1)
        found = read.returned(read.read("linear", every[0], m, z), v[0].double().numpy())
        assert predicted == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize(("values", "middle"), [([], None), ([3.0], 3.0), ([5.0, 1.0], 3.0), ([4.0, -1.0, 2.0], 2.0)])
def test_the_median(values, middle):
    assert read.median(values) == middle


# Recording ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kv_heads", [None, 1])
@pytest.mark.seconds
def test_memories_are_the_model_s_own_after_every_segment(rule, kv_heads):
    model, tokens = a_model(kv_heads=kv_heads, rule=rule), some_tokens(45)
    held = measure.record(model, tokens, asked=())
    assert held.after.tolist() == [1, 2, 3, 4, 5] and held.segments == 5
    stream = model.new_stream()
    with torch.no_grad():
        for i, number in enumerate(held.after.tolist()):
            model(tokens[None, 8 * (number - 1) : 8 * number], stream)
            own = [torch.cat([getattr(state, name)[0] for state in stream.caches]) for name in ("memory", "z")]
            np.testing.assert_array_equal(held.memory[rule][i], own[0])
            np.testing.assert_array_equal(held.z[rule][i], own[1])
    assert held.nbytes == sum(state.memory_bytes for state in stream.caches)


@pytest.mark.parametrize("rule", RULES)
def test_other_rules_write_the_same_keys_and_values(rule):
    """In the first layer no key depends on the rule, so the tape of another model's rule is that model's own."""
    tokens = some_tokens(40)
    ours = measure.record(a_model(), tokens, asked=())
    theirs = measure.record(a_model(rule=rule), tokens, asked=())
    np.testing.assert_allclose(ours.memory[rule][:, :2], theirs.memory[rule][:, :2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.k[:, :2], theirs.k[:, :2], rtol=1e-5, atol=1e-6)


def test_the_kept_pairs_make_the_memory_when_none_is_left_out():
    model, tokens = a_model(segment=6), some_tokens(24)
    held = measure.record(model, tokens, asked=())
    assert held.answers is None
    assert held.at.tolist() == list(range(24))  # segments shorter than what is sampled
    weight = read.feature("linear", held.k.astype(np.float64))
    made = np.einsum("tmk,tmv->mkv", weight, held.v)
    np.testing.assert_allclose(made, held.memory["linear"][-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weight.sum(axis=0), held.z["linear"][-1], rtol=1e-4)


@pytest.mark.seconds
def test_a_long_stream_is_thinned_and_stays_the_same(monkeypatch):
    model, tokens = a_model(segment=4), some_tokens(4 * 300 + 3)
    held = measure.record(model, tokens, needles=[450, 451], asked=[1201, 1202])
    powers = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert held.after.tolist() == sorted({*powers, 113, 300})
    assert {450, 451} <= set(held.at[held.needle].tolist())
    assert set((held.at // 4 + 1).tolist()) == set(held.after.tolist())
    monkeypatch.setattr(measure, "PIECE", 7)
    again = measure.record(model, tokens, needles=[450, 451], asked=())
    for rule in RULES:
        np.testing.assert_allclose(again.memory[rule], held.memory[rule], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(again.k, held.k, rtol=1e-3, atol=1e-4)
    assert held.nbytes == measure.record(model, tokens[:4], asked=()).nbytes


def test_a_middling_stream_keeps_more():
    assert measure.kept(64) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert measure.kept(16) == list(range(1, 17)) and measure.kept(1) == [1]
    assert measure.kept(2000, [77, 5000]) == [1, 2, 4, 8, 16, 32, 64, 77, 128, 256, 512, 1024, 2000]


@pytest.mark.seconds
def test_recording_leaves_the_model_as_it_was():
    model, tokens = a_model(), some_tokens(40)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        logits = model(tokens[None])
    measure.record(model, tokens)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens[None]), logits, rtol=0, atol=0)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert not any(layer.attention._forward_pre_hooks for layer in model.layers)


def test_layers_without_a_memory_stay_out():
    options = {"infini": {"segment": 8}}
    model = TinyTransformer(Config(12, ("full", "infini"), width=12, heads=2, options=options))
    held = measure.record(model, some_tokens(24), asked=())
    assert held.names == ("layer 1 head 0", "layer 1 head 1") and held.memory["linear"].shape[:2] == (3, 2)


def test_gates_are_named_by_the_memory_they_read():
    held = measure.record(a_model(heads=2, kv_heads=1), some_tokens(24), asked=())
    assert [(gate.name, gate.memory) for gate in held.gates] == [
        ("layer 0 head 0", 0), ("layer 0 head 1", 0), ("layer 1 head 0", 1), ("layer 1 head 1", 1)
    ]  # fmt: skip
    own = torch.sigmoid(torch.cat([layer.beta for layer in infini_layers(a_model(heads=2, kv_heads=1))]))
    assert [gate.share for gate in held.gates] == pytest.approx(own.tolist())


# Answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.seconds
def test_answers_are_what_the_model_says_with_its_gates_forced():
    model, tokens = a_model(), some_tokens(44)
    told = measure.record(model, tokens, asked=[41, 43]).answers
    assert told.at == (41, 43) and told.truth == tuple(tokens[[41, 43]].tolist())
    assert len(told.said) == 2 * 3**4

    @torch.no_grad()
    def says(model, cut=None):
        stream = model.new_stream()
        model(tokens[None, :40], stream)
        if cut:
            for state in stream.caches:
                state.forget()
        logits = model(tokens[None, 40:], stream)[0, [0, 2]]
        return tuple(logits.argmax(-1).tolist()), logits.softmax(-1).gather(1, tokens[[41, 43], None])[:, 0].tolist()

    for state, expected in {"oooo": says(model), "-oooo": says(model, cut=True)}.items():
        assert told.said[state][0] == expected[0]
        assert told.said[state][1] == pytest.approx(expected[1], abs=1e-6)
    # The stream is read with the gates as they are; from the question's segment on they are forced.
    stream = model.new_stream()
    with torch.no_grad():
        model(tokens[None, :40], stream)
        for share in (0, 1):
            with forced_gates(model, share):
                logits = model(tokens[None, 40:], copy.deepcopy(stream))[0, [0, 2]]
            assert told.said[str(share) * 4][0] == tuple(logits.argmax(-1).tolist())
    without = told.said["-0000"], told.said["0000"]
    assert without[0] == without[1]  # a memory that nobody listens to may as well be empty


@pytest.mark.parametrize("kv_heads", [None, 1])
@pytest.mark.seconds
def test_questions_are_the_queries_one_token_before(kv_heads):
    model, tokens = a_model(kv_heads=kv_heads), some_tokens(44)
    held = measure.record(model, tokens, asked=[34, 43])
    heard = {}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, i=i: heard.update({i: layer.project(given[0])[0][0]}))
        for i, layer in enumerate(infini_layers(model))
    ]
    with torch.no_grad():
        model(tokens[None])
    for hook in hooks:
        hook.remove()
    if kv_heads is None:
        q = torch.cat([heard[0], heard[1]])  # (memories, n, d)
    else:  # the head of the group that listens most
        q = torch.stack([heard[i][layer.beta.argmax()] for i, layer in enumerate(infini_layers(model))])
    np.testing.assert_allclose(held.q, q[:, [33, 42]].transpose(0, 1).detach(), rtol=1e-4, atol=1e-5)


def test_a_question_is_looked_at_where_it_finds_a_needle():
    k, v = some_pairs(24, d_key=6, d_value=6)
    tape = Tape.from_pairs(k, v, needles=[5], segment=4)
    held = tape.recordings[0]
    far = torch.full((6,), -9.0)
    held.k[held.at == 5, 0], held.k[held.at != 5, 0] = [9, *far[1:].tolist()], [*far[1:].tolist(), 2]
    said = measure.Answers((23,), (7,), 5, {"": ((7,), (1.0,))})
    asked = dataclasses.replace(held, q=held.k[held.at == 5], answers=said)
    tape = Tape(asked)
    assert (tape.question, held.at[tape.pair]) == (0, 5)
    assert "the question for ‘7’ brings back the value of pair 5 of segment 2 at cosine " in repr(tape)
    weight = read.feature("linear", held.k[:, 0].astype(np.float64))
    fits = weight @ weight[tape.pair]
    others = np.delete(fits, tape.pair)[: np.sum(held.at < 20) - 1]  # the question stands in segment 6 and reads before
    assert answered(asked, 0, 0, tape.pair)[1] == pytest.approx(fits[tape.pair] / others.mean())
    assert "after segment 5 of 6" in repr(tape)
    nobody = dataclasses.replace(asked, q=held.k[held.at == 4])
    assert Tape(nobody).question is None  # it finds something else: the needle is read with its own key


def test_many_heads_are_forced_one_at_a_time():
    said = measure.record(a_model(layers=("infini",) * 3), some_tokens(24)).answers.said
    assert len(said) == 2 * (3 + 2 * 6) and "oo1ooo" in said and "-000000" in said and "o01ooo" not in said


@pytest.mark.seconds
def test_a_short_first_question_begins_with_an_empty_memory():
    told = measure.record(a_model(), some_tokens(9), asked=[3]).answers
    assert told.said["oooo"] == told.said["-oooo"]


# What it refuses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tokens": some_tokens(7)}, "tokens holds 7, a segment of this model 8"),
        ({"tokens": torch.zeros(2, 30).long()}, r"\(2, 30\); give whole numbers"),
        ({"tokens": torch.zeros(30)}, "float32"),
        ({"needles": [2, 40]}, "needles reach from 2 to 40; give positions from 0 to 39"),
        ({"asked": [-1]}, "asked reach from -1"),
        ({"asked": [3]}, "in the last 4 segments of 8"),
    ],
)
def test_bad_streams_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        measure.record(a_model(), **{"tokens": some_tokens(40), **arguments})


def test_a_model_without_memories_is_refused():
    with pytest.raises(ValueError, match="infini"):
        Tape.of(TinyTransformer(Config(12, ("full",), width=12, heads=2)), some_tokens(20))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": torch.zeros(3, 4), "v": torch.zeros(2, 4)}, r"k is \(1, 3, 4\), v \(1, 2, 4\)"),
        ({"k": torch.zeros(0, 4), "v": torch.zeros(0, 4)}, "at least one pair"),
        ({"k": torch.full((3, 4), torch.nan), "v": torch.zeros(3, 4)}, "nan"),
        ({"rule": "hebb"}, "rule is 'hebb'; give one of linear, delta, gamma, unit"),
        ({"segment": 21}, "give 1 to 20"),
        ({"segment": (2, 2)}, r"segments of \[2, 2\]"),
        ({"text": ["a"]}, "text has 1 entries, the recording 20"),
        ({"pair": 20}, "pair is 20, which was not kept"),
        ({"memory": 1}, "memory is 1; give 0 to 0"),
    ],
)
def test_bad_pairs_are_refused(arguments, said):
    k, v = some_pairs(20)
    with pytest.raises(ValueError, match=said):
        Tape.from_pairs(**{"k": k, "v": v, **arguments})


# What it says and sends ---------------------------------------------------------------------------------------------


def test_the_text_says_what_the_picture_says():
    k, v = torch.eye(6) * 9, torch.eye(6)[:, :4] + 0.1
    text = ["the", "key", "is", "7", "x" * 40, "\n"]
    tape = Tape.from_pairs(k - 4, v, needles=[3], text=text, run="by hand")
    lines = repr(tape).split("\n")
    assert len(lines) == 1
    begin = f"{say.QUESTION} The memory, after segment 6 of 6: ‘7’ of segment 4 comes back at cosine "
    assert lines[0].startswith(begin)
    assert lines[0].endswith(f"The state takes {4 * 6 * 5} bytes, after any segment.")
    later = r"cosine (\S+) with [^,]+ of v, 2 segments later; of the other pairs half come back below (\S+)\. "
    told = re.search(later, lines[0])
    found = read.recalled(tape.recordings[0], "linear", 0, 6)
    assert told.groups() == (signed(found[3]), signed(read.median([found[i] for i in (0, 1, 2, 4, 5)])))
    from_where = "measured: by hand, 6 pairs, cpu, float32, written by the linear rule"
    assert tape.data["recordings"][0]["provenance"] == from_where


def test_a_pair_of_nothing_is_left_out_of_what_others_bring_back():
    k, v = some_pairs(12)
    v[3] = 0
    found = read.recalled(Tape.from_pairs(k, v).recordings[0], "linear", 0, 12)
    assert found[3] is None
    half = np.median([cosine for pair, cosine in found.items() if pair not in (0, 3)])
    assert f"of the other pairs half come back below {signed(half)}" in Tape.from_pairs(k, v, pair=0).twin()


@pytest.mark.seconds
def test_a_model_s_tape_says_what_the_model_says():
    model, tokens = a_model(), some_tokens(44)
    names = [f"w{i}" for i in range(12)]
    tape = Tape.of(model, tokens, asked=[42, 43], needles=[17, 18], vocabulary=names)
    said, _ = tape.recordings[0].answers.said["oooo"]
    second = repr(tape).split("\n")[1]
    assert second.startswith(f"Asked at the end, the model says w{said[0]} w{said[1]}: ")
    assert tape.recordings[0].at[tape.pair] in (17, 18)
    assert f"‘w{tokens[tape.recordings[0].at[tape.pair]]}’ of segment 3" in repr(tape)


def test_the_first_pair_is_the_needle_that_stands_out():
    tape = Tape.of(a_model(), some_tokens(48), needles=[17, 18, 30], asked=())
    held = tape.recordings[0]
    gains = {}
    for memory in range(4):
        found = read.recalled(held, "linear", memory, len(held.after))
        rest = read.median([c for p, c in found.items() if not held.needle[p]])
        for pair in np.flatnonzero(held.needle).tolist():
            gains[memory, pair] = held.gates[memory].share * (found[pair] - rest)
    assert (tape.memory, tape.pair) == max(gains, key=gains.get)
    assert Tape.of(a_model(), some_tokens(48), asked=()).pair == 0


def test_what_travels_is_what_was_kept():
    tape = Tape.of(a_model(), some_tokens(44), segments=(8, 4), asked=())
    assert [sent["segment"] for sent in tape.data["recordings"]] == [8, 4]
    for sent, held in zip(tape.data["recordings"], tape.recordings, strict=True):
        for rule in RULES:
            np.testing.assert_array_equal(unpacked(sent["rules"][rule]["memory"]), held.memory[rule])
            np.testing.assert_array_equal(unpacked(sent["rules"][rule]["z"]), held.z[rule])
        np.testing.assert_array_equal(unpacked(sent["k"]), held.k)
        np.testing.assert_array_equal(unpacked(sent["q"]), held.q)
        np.testing.assert_array_equal(unpacked(sent["at"]), held.at)
    assert "nan" not in tape.static_html().lower().split("base64")[0]


def test_another_segment_is_the_same_weights():
    model = a_model()
    other = with_segment(model, 4)
    assert [layer.segment for layer in infini_layers(other)] == [4, 4]
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_the_page_of_a_long_stream_says_what_is_left_out():
    tape = Tape.of(a_model(segment=4), some_tokens(1203), asked=())
    told = tape.data["recordings"][0]["provenance"]
    assert "kept: M and z after 10 of 300 segments; 40 of 1,200 pairs" in told


@pytest.mark.parametrize("of", ["pairs", "a model"])
@pytest.mark.seconds
def test_the_figure_is_drawn(of):
    asked = {"needles": range(10, 30), "asked": [44]}
    tape = Tape.from_pairs(*some_pairs(9)) if of == "pairs" else Tape.of(a_model(), some_tokens(45), **asked)
    figure = tape.figure()
    recall, z, m = figure.axes[:3]
    assert recall.get_ylabel().startswith("fit of the question" if tape.question is not None else "cosine")
    assert z.get_xlabel() == "z"
    held = tape.recordings[0]
    np.testing.assert_array_equal(m.images[0].get_array(), held.memory["linear"][-1, tape.memory])
    points = sum(len(each.get_offsets()) for each in recall.collections)
    assert points == len(held.at)


# The vectors that Python and the page share -------------------------------------------------------------------------


def rounded(values, digits=9):
    return np.round(np.asarray(values, np.float64), digits).tolist()


def vectors():
    """Small memories, everything that is read from and written to them, and sentences; node checks the same file."""
    found = {"reads": [], "fits": [], "shares": [], "words": []}
    for seed, rule in enumerate(read.RULES):
        k, v = (np.round(each.double().numpy(), 3) for each in some_pairs(6, seed=seed))
        held = np.zeros((5, 3)), np.zeros(5)
        for i in range(-1, 4):
            held = read.write(rule, k[i], v[i], *held) if i >= 0 else held
            back = read.read(rule, k[1], *held)
            new = read.write(rule, k[1], v[5], *held)
            found["reads"].append(
                {
                    "rule": rule,
                    "key": k[1].tolist(),
                    "value": v[1].tolist(),
                    "other": v[5].tolist(),
                    "memory": rounded(held[0], 12),
                    "z": rounded(held[1], 12),
                    "feature": rounded(read.feature(rule, k[1])),
                    "read": rounded(back),
                    "cosine": None if (cosine := read.cosine(back, v[1])) is None else round(cosine, 9),
                    "returned": round(read.returned(back, v[1]), 9),
                    "written": rounded(new[0]),
                    "z_written": rounded(new[1]),
                }
            )
        found["fits"].append([rule, k[0].tolist(), k.tolist(), rounded(read.fit(rule, k[0], k))])
    for arguments in ((3.5, 0.25, 0), (3.5, 0.25, 14), (3.5, 1e-5, 1_000_000), (0.0, 0.0, 5)):
        found["shares"].append([*arguments, round(read.share(*arguments), 9)])
    for x in (0.984, -0.126, -0.004, 0.0, 1.0, -1.0):
        found["words"].append(["signed", [x, 2], signed(x)])
    for x in (1, 0.5, 0.0712, 0.0004, 0.000001, 0, -0.03, -0.000001, 2.5):
        found["words"].append(["percent", [x], say.percent(x)])
    for text in ("bank", " ", "\n", "a\tb", "x" * 40, "👩‍🚀", " لا "):
        found["words"].append(["shown", [text], shown(text)])
    for arguments in ((7, 1, "7", "token"), (1204, 19, None, "token"), (0, 1, None, "pair")):
        found["words"].append(["pairName", list(arguments), say.pair_name(*arguments)])
    for arguments in (
        ("Layer 0 head 1", 12, 16, "‘7’ of segment 4", 4, 0.9812, 0.66, 0.4107, None, 16896),
        ("Layer 0 head 1", 4, 16, "‘7’ of segment 4", 4, 0.9812, 1.0, None, None, 16896),
        ("Layer 0 head 1", 5, 16, "‘7’ of segment 4", 4, -0.002, -0.0301, 0.1, 0.55, 16896),
        ("Layer 0 head 1", 3, 16, "‘7’ of segment 4", 4, 0.3, 0.2, 0.1, None, 16896),
        ("Layer 0 head 1", 3, 16, "‘7’ of segment 4", 4, 0.3, 0.2, 0.1, 0.9, 16896),
        ("The memory", 0, 15625, "pair 7 of segment 1", 1, None, 0.0, None, None, 120),
    ):
        found["words"].append(["recallParts", list(arguments), say.recall_parts(*arguments)])
    asks, pair = ("Layer 1 head 0", 12, 16, "8"), ("‘8’ of segment 4", 4)
    for arguments in (
        (*asks, *pair, 0.9934, 0.5349, 536127.8, None, 16896),
        (*asks, *pair, -0.1, 0.00042, 0.0731, None, 16896),
        (*asks, *pair, 0.9934, 0.07, None, 0.5, 16896),
        (*asks, *pair, 0.5, 0.000001, 12.3, -0.5, 16896),
        (*asks, *pair, None, 0.0, 5.0, None, 16896),
        ("Layer 1 head 0", 3, 16, "8", *pair, 0.2, 0.1, 3.0, None, 16896),
        ("Layer 1 head 0", 3, 16, "8", *pair, 0.2, 0.1, 3.0, 0.9, 16896),
    ):
        found["words"].append(["questionParts", list(arguments), say.question_parts(*arguments)])
    names = ["layer 0 head 0", "layer 0 head 1", "layer 1 head 0"]
    for state in ("ooo", "0oo", "o10", "111", "000", "-ooo", "-o1o"):
        for said, truth in ((["7", "3"], ["7", "3"]), (["7", "9"], ["7", "3"])):
            arguments = [state, names, said, truth]
            found["words"].append(["answerParts", arguments, say.answer_parts(*arguments)])
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

"""The models of the gated delta rule: what is shipped finds what is written of it, and the recipes run."""

from itertools import product
from statistics import mean

import pytest
import torch

from solutions import passkey
from solutions.checkpoints import CHECKPOINTS, about, gated, hybrid, load
from solutions.gated_delta import delta_layers
from solutions.tiny import TinyTransformer
from widgets.measurements import RESULTS, results
from widgets.measurements import gated as measurement
from widgets.measurements.infini import measured

MEASURED = [task for task in gated.TASKS if (RESULTS / f"gated_{task.replace('-', '_')}.json").exists()]
SHIPPED = [task for task in gated.TASKS if (CHECKPOINTS / f"gated-{task}.json").exists()]
HYBRIDS = sorted(path.stem.removeprefix("hybrid-") for path in CHECKPOINTS.glob("hybrid-*.safetensors"))


def found_in(task):
    return results(f"gated_{task.replace('-', '_')}")


def cells(run, kind="as trained"):
    return {(cell["tokens"], cell["depth"]): cell for cell in run["cells"] if cell["kind"] == kind}


# Prose -------------------------------------------------------------------------------------------------------------


def test_the_two_parts_of_the_prose_are_in_its_words():
    text = passkey.prose()
    assert len(text.words) == len({*text.words}) == passkey.COMMON
    assert len(text.other) == pytest.approx(passkey.HELD_OUT * (len(text.training) + len(text.other)), abs=1)
    for part in text.training, text.other:
        assert 0 <= part.min() and part.max() < text.vocabulary
    assert text.vocabulary == passkey.VOCABULARY + sum(word not in passkey.NUMBER for word in text.words)


def test_another_text_is_read_in_the_words_that_a_model_knows():
    text = passkey.prose()
    few = ("the", "is", "python", "expression")
    same = passkey.prose(few)
    assert same.words == few and same.vocabulary == passkey.VOCABULARY + 2
    whole, part = (torch.cat([each.training, each.other]) for each in (text, same))
    for word, number in (("the", passkey.NUMBER["the"]), ("expression", passkey.VOCABULARY + 1)):
        new = [each for each in text.words if each not in passkey.NUMBER]
        known = passkey.NUMBER | {each: passkey.VOCABULARY + i for i, each in enumerate(new)}
        assert (part == number).sum() == (whole == known[word]).sum() > 0


# Recipes -----------------------------------------------------------------------------------------------------------


@pytest.mark.seconds
def test_the_recipes_run(tmp_path, monkeypatch, capsys):
    """From end to end, much too short to learn anything."""
    monkeypatch.setattr(gated, "TASKS", {name: {**task, "steps": 3} for name, task in gated.TASKS.items()})
    monkeypatch.setattr(gated, "BATCH", 2)
    monkeypatch.setattr(gated, "SHOWN", (512,))
    gated.make(tmp_path)
    monkeypatch.setattr(hybrid, "KINDS", {name: hybrid.KINDS[name] for name in ("full-rope", "full-first")})
    for name, value in (("STEPS", 3), ("SEEDS", (0,)), ("BATCH", 2), ("TESTS", {96: 4, 192: 2})):
        monkeypatch.setattr(hybrid, name, value)
    hybrid.make(tmp_path)
    assert "four-keys,    512 tokens" in capsys.readouterr().out
    stems = [f"gated-{task}" for task in gated.TASKS] + ["hybrid-full-rope", "hybrid-full-first"]
    made = {f"{stem}.{kind}" for stem, kind in product(stems, ("json", "safetensors"))}
    assert {path.name for path in tmp_path.iterdir()} == made | {"hybrid.json"}
    assert [run["kind"] for run in about("hybrid", tmp_path)["runs"]] == ["full-rope", "full-first"]
    assert load("gated-prose", tmp_path).config.vocabulary == passkey.prose().vocabulary


@pytest.mark.seconds
def test_long_prompts_are_trained_with_powers(monkeypatch):
    """From the step on at which prompts are longer than two segments, filler counts up to 2^11 times."""
    seen = []

    def loss(model, batch):
        seen.append(batch.times)
        return true(model, batch)[0], 1.0  # every digit right, so that prompts grow

    true = passkey.loss
    monkeypatch.setattr(passkey, "loss", loss)
    monkeypatch.setattr(gated, "BATCH", 4)
    model, told = gated.train_one("last-of-three", 0, steps=24)
    assert [times is None for times in seen] == [True] * 20 + [False] * 4
    assert told["segments"] == 4 and max(times.max() for times in seen[20:]) > 1
    assert all(layer.doublings is None for layer in delta_layers(model))


def test_a_hybrid_has_one_full_layer_and_no_positions():
    for at, place in enumerate(hybrid.PLACES):
        model = TinyTransformer(hybrid.config(f"full-{place}", 0))
        assert [name == "full" for name in model.config.layers] == [layer == at for layer in range(hybrid.LAYERS)]
        assert not len(model.layers[at].attention.frequencies)
    assert len(TinyTransformer(hybrid.config("full-rope", 0)).layers[0].attention.frequencies)


# What is shipped ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SHIPPED)
def test_shipped_models_are_those_that_were_measured(task):
    told, run = about(f"gated-{task}"), found_in(task)["runs"][0]
    assert run["seed"] == 0 == told["config"]["seed"]
    for key in ("steps", "cpu_seconds", "tokens", "segments", "right"):
        assert told["result"][key] == run[key], key
    assert told["result"]["steps"] == gated.TASKS[task]["steps"]
    model = load(f"gated-{task}")
    assert sum(each.numel() for each in model.parameters()) == run["parameters"]
    assert model.config == gated.config(0, model.config.vocabulary, **gated.TASKS[task]["options"])


@pytest.mark.parametrize("task", SHIPPED)
@pytest.mark.seconds
def test_shipped_models_find_what_is_written_of_them(task):
    """The same prompts, where Python's reference is that of the machine that measured."""
    told, run = about(f"gated-{task}"), found_in(task)["runs"][0]
    written = cells(run)[2048, 0.5]
    again = measured(load(f"gated-{task}"), 2048, 0.5, written["prompts"], 10, **gated.tried_on(told["result"]))
    assert again["digits"] == pytest.approx(written["digits"], abs=0.05)
    assert again["digits_without_memory"] < 0.3
    assert again["state_bytes"] == written["state_bytes"] == cells(run)[512, 0.5]["state_bytes"]


def test_what_is_measured_is_measured_in_every_length_and_depth():
    for task in MEASURED:
        for run in found_in(task)["runs"]:
            assert {*cells(run)} == {*product(measurement.CELLS, measurement.DEPTHS)}
            for kind in measurement.OTHERS[task]:
                assert {*cells(run, kind)} == {(measurement.ELSEWHERE, depth) for depth in measurement.DEPTHS}
            assert all(cell["prompts"] == measurement.CELLS[cell["tokens"]] for cell in run["cells"])


def test_prose_is_found_at_131072_tokens_with_a_state_of_21_kb():
    for run in found_in("prose")["runs"]:
        assert all(cell["state_bytes"] == 20_992 for cell in run["cells"])
    first = found_in("prose")["runs"][0]
    assert all(cell["exact"] == 1 for cell in cells(first).values())
    lost = next(task for task in results("infini_haystacks")["tasks"] if task["task"] == "prose")
    assert all(cell["exact"] < 0.5 for cell in lost["cells"] if cell["tokens"] == 131_072)


def test_the_last_of_three_is_found_and_random_words_are_a_failure():
    """Trained on sentences alone, it reads their words in another order as if it had never seen the key."""
    for run in found_in("last-of-three")["runs"]:
        assert all(cell["exact"] > 0.8 for cell in cells(run).values())
        assert all(cell["digits"] < 0.3 for cell in cells(run, "random words").values())


# Capacity ----------------------------------------------------------------------------------------------------------

CAPACITY = {(row["d"], row["rule"]): {each["pairs"]: each["seeds"] for each in row["right"]}
            for row in results("gated_capacity")["rows"]}  # fmt: skip


@pytest.mark.parametrize("name", measurement.RULES)
def test_what_a_matrix_gives_back_can_be_counted_again(name):
    rule, passes = measurement.RULES[name]
    for seed in range(2):
        again = measurement.given_back(64, 32, rule, passes, seed)
        assert again == pytest.approx(CAPACITY[32, name][64][seed], abs=2e-3)


def test_one_pass_is_the_loop():
    """The share that one pass of the delta rule gives back, written token by token."""
    generator = torch.Generator().manual_seed(3)
    unit = lambda n: torch.nn.functional.normalize(  # noqa: E731
        torch.randn(measurement.TRIALS, n, 16, dtype=torch.float64, generator=generator), dim=-1
    )
    k, candidates = unit(32), unit(measurement.CANDIDATES)
    which = torch.randint(measurement.CANDIDATES, (measurement.TRIALS, 32), generator=generator)
    right = 0
    for trial in range(measurement.TRIALS):
        S = torch.zeros(16, 16, dtype=torch.float64)
        for key, value in zip(k[trial], candidates[trial][which[trial]], strict=True):
            S += torch.outer(key, value - key @ S)
        right += int((k[trial] @ S @ candidates[trial].T).argmax(dim=-1).eq(which[trial]).sum())
    assert measurement.given_back(32, 16, "delta", 1, 3) == pytest.approx(right / (32 * measurement.TRIALS))


def test_correcting_costs_where_no_key_comes_again():
    for d in measurement.SIZES:
        share = {name: {pairs: mean(seeds) for pairs, seeds in CAPACITY[d, name].items()} for name in measurement.RULES}
        for pairs in (2 * d, 4 * d):
            if pairs in measurement.PAIRS:
                assert share["addition"][pairs] > share["delta, 30 passes"][pairs] >= share["delta, 1 pass"][pairs]
        assert share["delta, 30 passes"][d] > share["delta, 1 pass"][d]


# Hybrids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HYBRIDS)
@pytest.mark.seconds
def test_shipped_hybrids_do_what_is_written_of_them(kind):
    told = about(f"hybrid-{kind}")["result"]
    assert told in about("hybrid")["runs"]
    again, written = hybrid.quality(load(f"hybrid-{kind}"), 384), told["found"][1]
    assert again["recall"] == pytest.approx(written["recall"], abs=5e-3)
    assert again["word_loss"] == pytest.approx(written["word_loss"], abs=5e-3)
    assert again["nbytes"] == written["nbytes"]


def test_order_comes_from_the_states_and_recall_from_one_full_layer():
    """At eight times the trained length, in every seed."""
    far = {kind: [run["found"][2] for run in about("hybrid")["runs"] if run["kind"] == kind] for kind in hybrid.KINDS}
    assert all(found["tokens"] == 768 for runs in far.values() for found in runs)
    for place in ("full-first", "states"):
        assert max(found["word_loss"] for found in far[place]) < min(found["word_loss"] for found in far["full-rope"])
    for found in far["full-first"]:
        assert found["recall"] > 0.95 and found["word_loss"] < 1.2
    for found in far["states"]:
        assert found["recall_by_distance"][-1] < 0.15
    for found in far["full-nope"]:
        assert found["recall"] > 0.95 and found["word_loss"] > 1.5
    assert far["full-nope"][0]["nbytes"] > 3 * far["full-first"][0]["nbytes"] > 30 * far["states"][0]["nbytes"]

"""What is shipped is what was made: small, readable, measured as it is, and the lesson's claims hold in it."""

import json
import subprocess
import sys
from statistics import mean

import pytest
import torch

from solutions import streams
from solutions.checkpoints import (
    CHECKPOINTS,
    Draft,
    about,
    load,
    note,
    recipe_of,
    recipes,
    round_weights,
    save,
    sinks,
    window,
)
from solutions.checkpoints import __main__ as door
from solutions.tiny import Config, TinyTransformer, train

ROOT = CHECKPOINTS.parents[1]
WEIGHTS = sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))
WINDOW, SINKS = about("window"), about("sinks")


def runs(pattern, steps=window.STEPS):
    return [run for run in WINDOW["runs"] if run["pattern"] == pattern and run["steps"] == steps]


# Saving ------------------------------------------------------------------------------------------------------------


def tiny(**settings):
    options = {"window": {"window": 3}}
    return TinyTransformer(Config(7, ("full", "window"), width=16, heads=2, options=options, **settings))


def test_what_is_saved_is_loaded(tmp_path):
    model = tiny(rope_base=(100.0, None), kv_heads=1, seed=3)
    tokens = torch.arange(7)[None]
    round_weights(model)
    save(model, "one", tmp_path, task="counting", steps=5)
    again = load("one", tmp_path)
    assert again.config == model.config and not again.training
    assert torch.equal(again(tokens), model(tokens))
    told = about("one", tmp_path)
    assert told["task"] == "counting" and told["steps"] == 5 and told["config"]["seed"] == 3
    assert set(told["provenance"]) == {"date", "torch", "python", "machine", "threads"}
    assert told["provenance"]["torch"] == torch.__version__
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "one.safetensors"]


def test_rounding_is_what_saving_does(tmp_path):
    model = tiny()
    save(model, "exact", tmp_path)
    exact = model.head.weight.clone()
    round_weights(model)
    assert not torch.equal(exact, model.head.weight)
    assert torch.equal(load("exact", tmp_path).head.weight, model.head.weight)


def test_a_name_that_is_not_there(tmp_path):
    note("found", tmp_path, answer=42)
    with pytest.raises(ValueError, match=r"holds no lost; it holds found\."):
        load("lost", tmp_path)
    assert about("found", tmp_path)["answer"] == 42


@pytest.mark.parametrize("damage", ["changed", "cut", "foreign", "gone", "no hash"])
def test_a_file_that_is_not_what_its_json_says_is_refused(damage, tmp_path):
    save(tiny(), "one", tmp_path, recipe="window")
    path = tmp_path / "one.safetensors"
    content = path.read_bytes()
    if damage == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(content[:100])
    elif damage == "foreign":
        save(tiny(seed=1), "other", tmp_path)
        path.write_bytes((tmp_path / "other.safetensors").read_bytes())
    elif damage == "gone":
        path.unlink()
    else:
        note("one", tmp_path, **{key: value for key, value in about("one", tmp_path).items() if key != "sha256"})
    with pytest.raises(ValueError) as raised:
        load("one", tmp_path)
    assert str(raised.value).endswith(f"Make it again: python3 course.py train window --out {tmp_path}")
    assert ("is missing" in str(raised.value)) == (damage == "gone")


# Drafts ------------------------------------------------------------------------------------------------------------


def learn(folder, *, steps=12, until=None, seed=0):
    """A run with a draft; until: the step at which someone presses Ctrl-C."""
    model = tiny(seed=seed)
    draft = Draft("one", folder, every=5, told={"seen": []})

    def loss(model, step):
        if step == until:
            raise KeyboardInterrupt
        draft.told["seen"].append(step)
        tokens = torch.randint(7, (4, 9), generator=torch.Generator().manual_seed(step))
        return streams.surprise(model, tokens).mean()

    losses = train(model, loss, steps=steps, warm_up=3, full_rate=0.5, draft=draft)
    return model, losses, draft


@pytest.mark.seconds
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(tmp_path):
    whole, losses, draft = learn(tmp_path / "whole")
    draft.done()
    assert not list((tmp_path / "whole").iterdir())
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, until=8)
    again, told, draft = learn(tmp_path)
    assert told == losses and draft.told["seen"] == [*range(5), *range(5, 12)]
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.seconds
def test_a_draft_that_is_damaged_or_of_another_model_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, until=8)
    path = tmp_path / "one.draft"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"one\.draft is damaged. Begin anew: python3 course.py train one --anew"):
        learn(tmp_path)
    path.write_bytes(content)
    other = TinyTransformer(Config(9, ("full",)))
    with pytest.raises(ValueError, match=r"belongs to another model\. Begin anew"):
        Draft("one", tmp_path).take_up(other, torch.optim.AdamW(other.parameters()))


@pytest.mark.parametrize("answer, goes_on", [("", True), ("y", True), ("n", False), (None, True)])
def test_the_next_start_offers_to_go_on(answer, goes_on, tmp_path, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, until=8)
    (tmp_path / "one.draft").rename(tmp_path / "window.draft")
    found = []
    monkeypatch.setattr(window, "make", lambda folder: found.extend(folder.glob("*.draft")))
    monkeypatch.setattr(sys, "argv", ["train", "window", "--out", str(tmp_path)])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: answer is not None, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: print(question) or answer)
    assert door.main() == 0
    said = capsys.readouterr().out
    assert "A run of window was interrupted." in said and f"Written to {tmp_path}" in said
    assert ("Go on with it? [Y/n]" in said) == (answer is not None)
    assert bool(found) == goes_on


def test_an_interruption_says_what_is_kept(tmp_path, monkeypatch, capsys):
    def make(folder):
        learn(folder, until=8)

    monkeypatch.setattr(window, "make", make)
    monkeypatch.setattr(sys, "argv", ["train", "window", "--out", str(tmp_path)])
    assert door.main() == 130
    assert capsys.readouterr().out == "\nInterrupted.\n"  # a draft of another name is none of this recipe's
    (tmp_path / "window.draft").write_bytes((tmp_path / "one.draft").read_bytes())
    assert door.main() == 130
    assert "What was learnt is kept: the same command goes on from there." in capsys.readouterr().out


@pytest.mark.seconds
def test_recipes_are_found_by_name():
    told = subprocess.run([sys.executable, "-m", "solutions.checkpoints", "--help"], capture_output=True, text=True)
    assert {"sinks", "window", "infini", "infini-controls"} <= {*recipes()}
    assert told.returncode == 0 and "{" + ",".join(recipes()) + "}" in told.stdout
    assert [recipe_of(name) for name in ("infini", "infini-controls-xl", "window-3", "door")] == [
        "infini", "infini-controls", "window", ""
    ]  # fmt: skip
    told = subprocess.run([sys.executable, "-m", "solutions.checkpoints", "door"], capture_output=True, text=True)
    assert told.returncode == 2 and "invalid choice: 'door'" in told.stderr


@pytest.mark.seconds
def test_a_recipe_runs(tmp_path, monkeypatch, capsys):
    """Both recipes from end to end, much too short to learn anything."""
    for module, name in ((window, "STEPS"), (sinks, "STEPS")):
        monkeypatch.setattr(module, name, 50)
        monkeypatch.setattr(module, "SEEDS", (0,))
        monkeypatch.setattr(module, "BATCH", 2)
        monkeypatch.setattr(module, "TEST", 64)
    monkeypatch.setattr(window, "PATTERNS", {"every-third-global": "GLL"})
    monkeypatch.setattr(window, "LONGER", {})
    monkeypatch.setattr(window, "LONG", 128)
    window.make(tmp_path)
    sinks.make(tmp_path)
    told = capsys.readouterr().out
    assert "every-third-global       seed 0    50 steps" in told and "window 15 sinks 1" in told
    made = {path.name for path in tmp_path.iterdir()}
    stems = ("sinks", "sinks-start", "sinks-no-start", "window", "window-every-third-global")
    assert made == {f"{stem}.json" for stem in stems} | {f"{stem}.safetensors" for stem in stems if "-" in stem}
    costs = json.loads((tmp_path / "window.json").read_text())["costs"][0]
    a_token_less_in_each_of_four_window_layers = 4 * 2 * 64 * 4
    assert costs["cache_bytes"] == costs["cache_formula"] - a_token_less_in_each_of_four_window_layers


# What is shipped ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WEIGHTS)
def test_shipped_weights_are_small_and_say_how_they_were_made(name):
    assert (CHECKPOINTS / f"{name}.safetensors").stat().st_size < 1_000_000
    told = about(name)
    assert {"config", "recipe", "result", "provenance"} <= set(told)
    assert told["result"]["seconds"] > 0 and told["result"]["steps"] > 0 and told["provenance"]["threads"] == 1
    assert told["recipe"] in recipes()


@pytest.mark.parametrize("pattern", ["all-global", "every-third-global", "all-local"])
@pytest.mark.slow
def test_shipped_weights_do_what_is_written_of_them(pattern):
    measured, written = window.quality(load(f"window-{pattern}")), about(f"window-{pattern}")["result"]
    assert measured["recall"] == pytest.approx(written["recall"], abs=2e-3)
    assert measured["word_loss"] == pytest.approx(written["word_loss"], abs=1e-3)
    assert load(f"window-{pattern}").config == window.config(pattern, seed=0)
    assert written in WINDOW["runs"]


def test_every_third_global_layer_is_within_two_points_of_all():
    everywhere, third = runs("all-global"), runs("every-third-global")
    assert len(everywhere) == len(third) >= 3
    for one, other in zip(everywhere, third, strict=True):
        assert one["seed"] == other["seed"] and one["recall"] > 0.99
        assert abs(one["recall"] - other["recall"]) < 0.02
    beyond = [mean(run["recall_in_window_in_reach_beyond"][2] for run in some) for some in (everywhere, third)]
    assert abs(beyond[0] - beyond[1]) < 0.02


def test_all_local_fails_outside_its_window_and_only_there():
    for run in runs("all-local"):
        near, reach, beyond = run["recall_in_window_in_reach_beyond"]
        assert near > 0.98 and reach < 0.5 and beyond < 0.15
        assert run["word_loss"] < WINDOW["settings"]["word_entropy"] + 0.05
    longer = next(run for run in WINDOW["runs"] if run["pattern"] == "all-local" and run["steps"] > window.STEPS)
    assert longer["recall_in_window_in_reach_beyond"][2] < 0.15


def test_every_pattern_learns_the_words():
    """Ordinary next-token prediction does not tell the patterns apart."""
    losses = [mean(run["word_loss"] for run in runs(pattern)) for pattern in window.PATTERNS]
    assert max(losses) - min(losses) < 0.02


def test_a_long_text_costs_less_with_windows():
    costs = {cost["pattern"]: cost for cost in WINDOW["costs"]}
    full, third, local = (costs[name] for name in ("all-global", "every-third-global", "all-local"))
    for spent in ("cpu_seconds", "training_bytes"):
        assert full[spent] > 1.5 * third[spent] > 1.5 * local[spent]
    assert full["cache_bytes"] / third["cache_bytes"] == pytest.approx(3, abs=0.02)


def test_the_head_rests_on_the_start_token_and_a_sink_mends_its_loss():
    for run in SINKS["runs"]:
        readings = {(each["window"], each["sinks"]): each for each in run["readings"]}
        whole, cut, mended = readings[None, 0], readings[8, 0], readings[7, 1]
        assert whole["known_right"] > 0.999
        if run["start_token"]:
            assert run["mass_on_first"]["known"] > 0.5 > 0.1 > run["mass_on_first"]["looked_up"]
            assert cut["known_loss"][0] < 0.02 < 0.05 < min(cut["known_loss"][1:])  # the start leaves at token 8
            assert readings[16, 0]["known_loss"][1] < 0.02 < min(readings[16, 0]["known_loss"][2:])  # ... and at 16
            assert max(mended["known_loss"]) < 0.02
        else:
            assert run["mass_on_first"]["known"] < 0.1
            assert max(cut["known_loss"]) < 0.02
        assert cut["near_recall"] > 0.98 and mended["near_recall"] > 0.98
        assert cut["far_recall"] < 0.1 and mended["far_recall"] < 0.1  # a sink is no memory


def test_shipped_sinks_do_what_is_written_of_them():
    model, run = load("sinks-start"), about("sinks-start")["result"]
    tried = sinks.sample(64, torch.Generator().manual_seed(1_000_000), start=True)
    measured = sinks.reading(model, tried, 8)
    written = next(each for each in run["readings"] if (each["window"], each["sinks"]) == (8, 0))
    assert mean(measured["known_loss"][1:]) == pytest.approx(mean(written["known_loss"][1:]), rel=0.2)
    assert sinks.rest(model, tried)["known"] == pytest.approx(run["mass_on_first"]["known"], abs=0.02)
    assert streams.VOCABULARY == model.config.vocabulary


@pytest.mark.parametrize("name", ["infini", "infini-knn", "infini-xl", "sparse-trained", "window-all-local"])
@pytest.mark.slow
def test_a_model_is_loaded_by_one_line(name):
    """In a Python that has imported nothing else: which module an attention is in, its name says."""
    line = f"from solutions.checkpoints import load; print(load({name!r}).config.layers[0])"
    done = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() in ("infini", "xl", "sparse", "window"), done.stderr

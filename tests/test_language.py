"""The language models: equal but for their memory, made again in pieces, and what was found."""

import json
from dataclasses import replace
from itertools import product

import pytest
import torch

from solutions import documents
from solutions.checkpoints import about, language, load
from solutions.infini import infini_floats, kv_cache_floats, transformer_xl_floats
from solutions.tiny import TinyTransformer


def test_models_are_equal_in_all_but_their_memory():
    models = {system: TinyTransformer(language.config(system, 0)) for system in language.SYSTEMS}
    sizes = {system: sum(each.numel() for each in model.parameters()) for system, model in models.items()}
    assert set(sizes.values()) <= {142_272, 142_274, 142_276}  # a gate for each head that has a memory
    for system, model in models.items():
        assert replace(model.config, layers=("full",), options={}) == replace(
            models["window"].config, layers=("full",), options={}
        )
        assert torch.equal(model.embedding.weight, models["window"].embedding.weight), system


def test_all_systems_see_the_same_documents_and_no_seed_those_of_another():
    assert torch.equal(language.lesson(1, 7).tokens, language.lesson(1, 7).tokens)
    places = product(language.SEEDS, (0, 149, 150, 299, 300))
    assert len({language.lesson(seed, step).tokens.sum().item() for seed, step in places}) == 15


@pytest.mark.parametrize("step, facts, n", [(0, 4, 256), (149, 4, 256), (150, 8, 256), (299, 8, 256), (300, 32, 512)])
def test_documents_begin_small_and_are_never_longer_than_512(step, facts, n):
    tokens = language.lesson(0, step).tokens
    assert tokens.shape == (language.TOKENS // n, n)
    names = [set(row[row < documents.NAMES].tolist()) for row in tokens]
    assert max(map(len, names)) <= facts
    assert max(map(len, names)) > facts // 2


def test_what_is_asked_was_never_taught():
    taught = {1_000_003 * seed + step for seed in language.SEEDS for step in range(language.STEPS)}
    assert max(taught) < 10**9  # the seeds of what is asked begin there
    assert not torch.equal(language.asked(16, 512, 2).tokens, language.asked(16, 512, 2, holds=64).tokens)


@pytest.mark.parametrize("n", [512, 2048])
@pytest.mark.seconds
def test_bytes_carried_are_those_of_the_formulas(n):
    layers, heads, d = 2, language.HEADS, language.WIDTH // language.HEADS
    expected = {
        "window": kv_cache_floats(language.SEGMENT - 1, layers, heads, d, d),
        "Transformer-XL": transformer_xl_floats(language.SEGMENT, layers, heads, d, d),
        "kNN memory": kv_cache_floats(n, layers, heads, d, d),
        "full attention": kv_cache_floats(n, layers, heads, d, d),
        "Infini, linear": infini_floats(layers, heads, d, d),
    }
    for system, floats in expected.items():
        assert language.carried_bytes(TinyTransformer(language.config(system, 0)), n) == 4 * floats, system


def test_quality_tells_words_names_and_attributes_apart():
    """Of a model that gives every token the same share, and one that knows which kind comes."""

    class Knows(torch.nn.Module):
        def __init__(self, kinds):
            super().__init__()
            self.kinds = kinds

        def forward(self, tokens):
            logits = torch.zeros(*tokens.shape, documents.VOCABULARY)
            if self.kinds:  # an attribute follows a name: chance among ATTRIBUTES
                after = tokens < documents.NAMES
                logits[after] = -30
                logits[..., documents.NAMES : documents.NAMES + documents.ATTRIBUTES][after] = 0
            return logits

    sample = language.asked(8, 512, 4)
    blind, knows = (language.quality(Knows(kinds), sample) for kinds in (False, True))
    assert blind["perplexity"] == pytest.approx(documents.VOCABULARY, rel=1e-3)
    assert knows["said_before_nats"] == pytest.approx(documents.ATTRIBUTE_CHANCE, abs=1e-3)
    assert knows["name_nats"] == knows["word_nats"] == blind["name_nats"]
    asked = [int(band.sum()) for band in language.bands(sample)]
    assert sum(asked) == int((sample.distance > 0).sum()) and asked[0] > asked[2] > 0 == asked[-1]
    assert [share is None for share in blind["right_by_distance"]] == [count == 0 for count in asked]


def small(monkeypatch):
    for name, value in {
        "SYSTEMS": {name: language.SYSTEMS[name] for name in ("Transformer-XL", "Infini, linear")},
        "SEEDS": (0,), "STEPS": 50, "TOKENS": 64, "STAGES": ((25, (1, 2), 32), (50, (2,), 64)), "FACTS": (4,),
        "LENGTHS": {64: 2, 128: 1}, "HOLDS": (64,), "TEXT": 128, "TEXTS": 1,
    }.items():  # fmt: skip
        monkeypatch.setattr(language, name, value)


@pytest.mark.seconds
def test_the_recipe_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    small(monkeypatch)
    language.make(tmp_path / "whole")
    lesson, steps = language.lesson, []

    def interrupted(seed, step):
        steps.append(step)
        if len(steps) == 80:  # in the second model
            raise KeyboardInterrupt
        return lesson(seed, step)

    monkeypatch.setattr(language, "lesson", interrupted)
    with pytest.raises(KeyboardInterrupt):
        language.make(tmp_path)
    assert {path.name for path in tmp_path.glob("*.draft")} == {language.FOUND, "language-infini-linear-0.draft"}
    assert [run["system"] for run in language.found_so_far(tmp_path)] == ["Transformer-XL"]
    del steps[:]
    language.make(tmp_path)
    assert steps == [*range(25, 50)]
    made = {path.name for path in tmp_path.iterdir() if path.is_file()}
    names = [language.name(system, 0) for system in language.SHIPPED]
    assert made == {"language.json", *(f"{name}.json" for name in names), *(f"{name}.safetensors" for name in names)}
    folders = (tmp_path, tmp_path / "whole")
    one, other = (json.loads((folder / "language.json").read_text())["runs"] for folder in folders)
    for run in (*one, *other):
        assert run.pop("seconds") >= 0
    assert one == other
    assert "Infini, linear" in capsys.readouterr().out
    assert language.found_so_far(tmp_path) == []  # all is found: the next time begins anew


# --- what the lesson says of the runs ---


def mean(system, key="perplexity", **where):
    return language.seeds_of(system, key, **where).mean(0).tolist()


def test_every_system_has_three_seeds():
    runs = about("language")["runs"]
    assert sorted((run["system"], run["seed"]) for run in runs) == sorted(product(language.SYSTEMS, language.SEEDS))
    assert {run["steps"] for run in runs} == {language.STEPS}


def test_infini_attention_is_below_transformer_xl_with_a_quarter_of_its_bytes():
    carried = {run["system"]: run["carried_bytes"] for run in about("language")["runs"]}
    assert carried["Transformer-XL"][0] / 1024 == 64 and carried["Infini, linear"][0] / 1024 == 16.5
    for n, below in ((512, 3), (2048, 7), (8192, 9)):
        one, other = (language.seeds_of(name, tokens=n) for name in ("Infini, linear", "Transformer-XL"))
        assert bool((one < other).all()) and round(100 * (1 - one.mean().item() / other.mean().item())) == below


def test_with_few_facts_and_with_many_it_is_a_tie_on_the_trained_length():
    for facts in (4, 64):
        shorter, longer = (
            mean("Infini, linear", facts=facts, tokens=n) / mean("Transformer-XL", facts=facts, tokens=n)
            for n in (512, 8192)
        )
        assert abs(shorter - 1) < 0.005 and longer < 0.97


def test_recall_by_distance_says_why():
    near, next_segment, *far = mean("Transformer-XL", "right_by_distance")
    assert near > 0.995 and 0.5 < next_segment < 0.6 and max(far) < 0.04 < 2 / documents.ATTRIBUTES
    near, _, *far = mean("Infini, linear", "right_by_distance")
    assert round(near, 2) == 0.96 and 0.5 < min(far) < max(far) < 0.75
    assert min(mean("kNN memory", "right_by_distance")) > 0.995


def test_a_memory_that_holds_everything_can_have_the_higher_perplexity():
    few = {"facts": 4, "tokens": 8192}
    values = {key: [round(mean(name, key, **few), 2) for name in ("kNN memory", "Infini, linear")]
              for key in ("perplexity", "name_nats")}  # fmt: skip
    assert values == {"perplexity": [4.35, 4.10], "name_nats": [4.22, 3.69]}
    assert mean("kNN memory", "said_before_nats", **few) < 0.01
    assert mean("kNN memory") < mean("Infini, linear")


def test_facts_that_change_turn_the_order_and_more_of_them_wear_the_matrix_out():
    for holds in language.HOLDS:
        matrix, exact = (language.seeds_of(name, holds=holds) for name in ("Infini, linear", "Transformer-XL"))
        assert bool(((matrix < exact) == (holds == 64)).all())
    right = {name: [round(100 * mean(name, "said_before_right", facts=facts, tokens=8192)) for facts in (4, 16, 64)]
             for name in ("Infini, linear", "kNN memory")}  # fmt: skip
    assert right == {"Infini, linear": [97, 87, 71], "kNN memory": [100, 100, 100]}


@pytest.mark.seconds
@pytest.mark.parametrize("system", language.SHIPPED)
def test_shipped_weights_have_the_perplexity_that_is_written(system):
    run = next(run for run in about("language")["runs"] if (run["system"], run["seed"]) == (system, 0))
    written = next(cell for cell in run["changing"] if (cell["holds"], cell["facts"]) == (512, 16))
    found = language.quality(load(language.name(system, 0)), language.asked(16, language.TEXT, language.TEXTS, 512))
    assert {key: written[key] for key in found if key != "right_by_distance"} == pytest.approx(
        {key: value for key, value in found.items() if key != "right_by_distance"}, abs=2e-3
    )

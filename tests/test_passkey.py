"""The passkey task: prompts hold what they promise, answers are read off honestly, and the numbers have bounds."""

from dataclasses import replace

import pytest
import torch

from solutions import passkey
from solutions.checkpoints import about, load
from solutions.checkpoints import infini as recipe
from solutions.checkpoints import infini_controls as controls
from solutions.infini import repeated
from solutions.passkey import (
    DIGITS,
    FIRST_DIGIT,
    Batch,
    find,
    interval,
    key_in,
    loss,
    only_filler,
    prompts,
    shortest,
    text,
    training_batch,
)
from solutions.tiny import TinyTransformer

train_one = recipe.train_one  # as it is, where a test puts another in its place


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def model(layers=("infini",) * 2, seed=0, **options):
    return TinyTransformer(recipe.config(seed, layers, **options)).eval()


# Prompts -----------------------------------------------------------------------------------------------------------


def test_a_prompt_to_read():
    made = prompts(1, shortest(), generator(3), depth=0.5)
    digits = " ".join(str(digit) for digit in made.key[0].tolist())
    assert text(made.tokens[0]) == (
        "there is important info hidden inside a lot of irrelevant text . find it . the pass key is "
        f"{digits} . remember it . {digits} is the pass key . what is the pass key ? the pass key is"
    )
    assert (len(passkey.TASK), len(passkey.SENTENCES), shortest()) == (15, 24, 53)


@pytest.mark.parametrize("n", [53, 64, 100, 517, 5000])
@pytest.mark.parametrize("filler", passkey.FILLERS)
@pytest.mark.parametrize("settings", [{}, {"keys": 4}, {"times_said": 3}, {"keys": 2, "times_said": 2}], ids=str)
def test_prompts_are_as_long_as_asked_and_say_their_key(n, filler, settings):
    if n < shortest(**settings):
        with pytest.raises(ValueError, match=f"give {shortest(**settings)} "):
            prompts(1, n, generator(), filler=filler, **settings)
        return
    for depth in (None, 0.0, 0.3, 1.0):
        made = prompts(3, n, generator(1), depth=depth, filler=filler, **settings)
        assert made.tokens.shape == (3, n - DIGITS) and made.key.shape == (3, DIGITS)
        for row, key, place in zip(made.tokens, made.key, made.place.tolist(), strict=True):
            sentence = text(row[place : place + 25])
            digits = " ".join(map(str, key.tolist()))
            assert sentence.startswith("the ") and f"pass key is {digits} . remember it . {digits}" in sentence
            label = sentence.split()[1] if settings.get("keys", 1) > 1 else None
            asked = f"the {label} pass key is" if label else "the pass key is"
            assert text(row).endswith(f"? {asked}")
            told = text(row).split(asked + " ")[1:]
            assert len(told) == settings.get("times_said", 1)
            assert told[-1].startswith(digits)  # the last time that its label is said


def test_depth_is_where_the_key_is_said():
    n = 10_000
    room = n - shortest()
    for depth in (0.0, 0.25, 0.5, 1.0):
        made = prompts(4, n, generator(), depth=depth)
        assert (made.place == len(passkey.TASK) + round(depth * room)).all()
    anywhere = prompts(200, 2000, generator()).place.float() / 2000
    assert anywhere.min() < 0.1 and anywhere.max() > 0.9 and abs(anywhere.mean() - 0.5) < 0.1


def test_keys_differ_within_a_batch_and_between_batches():
    keys = torch.cat([prompts(20, 100, generator(seed)).key for seed in range(5)])
    assert len(keys.unique(dim=0)) > 95
    assert torch.equal(prompts(20, 100, generator(1)).tokens, prompts(20, 100, generator(1)).tokens)


def test_rows_may_have_digits_of_three_kinds_and_depths_of_their_own():
    made = prompts(60, 300, generator(), alike=1.0)
    assert max(len(key.unique()) for key in made.key) == 3 and len(made.key.unique()) == 10
    kinds = [len(key.unique()) for key in prompts(200, 60, generator(), alike=0.5).key]
    assert 60 < sum(count > 3 for count in kinds) < 100  # one in five of the others has as few by chance
    made = prompts(3, 1000, generator(), depth=[0.0, 1.0, 0.5])
    assert made.place.tolist() == [15, 15 + 947, 15 + round(0.5 * 947)]
    with pytest.raises(ValueError, match="or one for each of 2 rows"):
        prompts(2, 1000, generator(), depth=[0.5])


def test_filler_may_be_a_text_of_other_words():
    tokens = torch.arange(passkey.VOCABULARY, passkey.VOCABULARY + 100)
    made = prompts(8, 600, generator(2), depth=0.5, filler=tokens)
    for row, key in zip(made.tokens, made.key, strict=True):
        assert torch.equal(key_in(row), key)
        others = row[row >= passkey.VOCABULARY]
        assert len(others) == 600 - shortest()
        steps = (others[1:] - others[:-1]) % 100
        assert (steps != 1).sum() <= 1  # read on, over the end of the text, but where the key's sentence stands
    assert len({row[20].item() for row in made.tokens}) > 1


def test_a_digit_is_answered_whatever_words_come_after_the_digits():
    many = TinyTransformer(replace(recipe.config(0), vocabulary=passkey.VOCABULARY + 50)).eval()
    with torch.no_grad():
        many.head.weight[passkey.VOCABULARY :] = 1e3
    made = prompts(2, 128, generator(), filler=torch.arange(passkey.VOCABULARY, passkey.VOCABULARY + 50))
    assert find(many, made.tokens).digits.max() <= 9


def test_filler_is_periodic_or_random():
    periodic = passkey.filled(3, 240, "sentences", generator())
    assert torch.equal(periodic[:, 24:], periodic[:, :-24])
    random = passkey.filled(3, 240, "words", generator())
    assert set(random.unique().tolist()) == set(periodic.unique().tolist())
    assert (random[:, 24:] == random[:, :-24]).float().mean() < 0.2


def test_the_key_in_a_prompt():
    made = prompts(5, 300, generator(), times_said=2)
    for row, key in zip(made.tokens, made.key, strict=True):
        assert torch.equal(key_in(row), key)
    filler = passkey.filled(1, 500, "sentences", generator())[0]
    for tokens in (filler, filler[:3]):
        with pytest.raises(ValueError, match="holds no key: nowhere 'pass key is' and 5 digits"):
            key_in(tokens)


@pytest.mark.parametrize(
    "n, settings, said",
    [
        (10, {}, r"n is 10; give 53 \(task, key, question and answer, no filler\) to 16,777,216 tokens"),
        (2**24 + 1, {}, "n is 16777217; give 53"),
        (100, {"filler": "essays"}, "filler is 'essays'; give one of sentences, words, or the tokens of a text"),
        (100, {"filler": torch.zeros(0, dtype=torch.long)}, r"of shape \(0,\) .* give the tokens of a text"),
        (100, {"filler": torch.zeros(4)}, r"type torch.float32; give the tokens of a text"),
        (900, {"keys": 9}, "keys is 9; give at most 8"),
        (100, {"depth": 1.2}, "depth is 1.2; give a share"),
        (100, {"keys": 0}, "give a whole number of 1 or more"),
    ],
)
def test_prompts_that_cannot_be(n, settings, said):
    with pytest.raises(ValueError, match=said):
        prompts(1, n, generator(), **settings)


# Training ----------------------------------------------------------------------------------------------------------


def test_question_and_answer_stand_in_one_segment():
    lengths = set()
    for seed in range(60):
        batch = training_batch(2, 4, 64, generator(seed))
        n = batch.tokens.shape[1]
        lengths.add(n)
        assert (n - 15) // 64 == (n - 1) // 64 == 3
        assert batch.times.shape == (2, 4)
    assert min(lengths) < 215 and max(lengths) > 250


def test_only_filler_counts_more_than_once():
    batch = training_batch(64, 8, 64, generator(2))
    alone = only_filler(batch.tokens, 64)
    names = [*passkey.WORDS, *"0123456789"]
    for row in range(64):
        for number in range(8):
            words = {names[token] for token in batch.tokens[row, 64 * number : 64 * number + 64].tolist()}
            assert alone[row, number] == (words <= set(passkey.SENTENCES) and number < batch.tokens.shape[1] // 64)
    assert (batch.times[~alone] == 1).all() and (batch.times >= 1).all() and batch.times.max() <= 3000
    share = (batch.times > 1).any(dim=1).float().mean().item()
    assert 0.5 < share < 0.9
    assert training_batch(2, 3, 64, generator(), simulate=False).times is None


def test_loss_counts_the_answer_and_the_repetition():
    built, batch = model(), training_batch(4, 5, 64, generator(1))
    value, right = loss(built, batch)
    with repeated(built, batch.times):
        logits = built(batch.tokens[:, :-1])
    nats = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.tokens[:, 1:], reduction="none")
    assert value.item() == pytest.approx((nats[:, -5:].mean() + 0.1 * nats[:, :-5].mean()).item(), rel=1e-5)
    assert 0 <= right <= 1
    once = loss(built, Batch(batch.tokens, None))[0]
    assert abs(once.item() - value.item()) > 1e-6
    assert all(layer.attention.times is None for layer in built.layers)


# Finding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [("infini",) * 2, ("xl", "knn"), ("window",) * 2, ("full",) * 2], ids="-".join)
@pytest.mark.seconds
def test_what_is_found_does_not_depend_on_the_chunks(layers):
    options = {"window": {"window": 20, "sinks": 4}} if "window" in layers else {}
    built, made = model(layers, **options), prompts(3, 300, generator())
    whole = made.tokens
    with torch.no_grad():
        for _ in range(DIGITS):  # read anew for each digit, without a stream
            digit = built(whole)[:, -1, FIRST_DIGIT:].argmax(dim=-1)
            whole = torch.cat([whole, FIRST_DIGIT + digit[:, None]], dim=1)
    for chunk in (None, 64, 128, 77):
        found = find(built, made.tokens, chunk=chunk)
        assert torch.equal(found.digits, whole[:, -DIGITS:] - FIRST_DIGIT)
        assert (found.without_memory is None) == ("infini" not in layers)
        assert found.tokens_per_second > 0


def test_in_pieces_every_piece_is_asked_and_the_surest_answer_kept():
    """A stand-in for a model, which answers what its piece says, and is sure of it where it says the key twice."""

    class Reader:
        def new_stream(self):
            return type("Stream", (), {"nbytes": 0, "read": torch.empty(0, 0).long()})()

        def __call__(self, tokens, stream):
            stream.read = torch.cat([stream.read.reshape(len(tokens), -1), tokens], dim=1)
            logits = torch.zeros(len(tokens), 1, passkey.VOCABULARY)
            for row, answer in zip(stream.read, logits, strict=True):
                told = row[row >= FIRST_DIGIT]
                written = stream.read.shape[1] - asked
                if len(told) - written == 2 * DIGITS:
                    answer[0, told[written]] = 5.0
            return logits

    made = prompts(7, 900, generator(), depth=[0.0, 0.1, 0.3, 0.5, 0.8, 0.95, 1.0])
    for piece, overlap, at_once in ((100, 24, 3), (77, 30, 16), (2000, 24, 1)):
        asked = len(passkey.TASK) + min(piece, 885) + len(passkey.asked())
        found = passkey.find_in_pieces(Reader(), made.tokens, piece=piece, overlap=overlap, at_once=at_once)
        assert torch.equal(found.digits, made.key)


@pytest.mark.seconds
def test_in_pieces_a_model_finds_what_it_loses_in_the_whole():
    shipped, made = load("infini-full"), prompts(8, 2048, generator(4))
    right, whole = ((each.digits == made.key).all(dim=1).float().mean() for each in
                    (passkey.find_in_pieces(shipped, made.tokens), find(shipped, made.tokens)))  # fmt: skip
    assert right >= 7 / 8 and whole <= 1 / 8


def test_bytes_of_the_state():
    built = model()
    for n in (300, 3000):
        found = find(built, prompts(2, n, generator()).tokens)
        live = (n - DIGITS) % 64
        assert found.memory_bytes == 4 * 2 * 2 * 32 * 33 == 16_896
        assert found.state_bytes == found.memory_bytes + live * 2 * 2 * 64 * 4
    full = model(("full",) * 2)
    assert find(full, prompts(1, 300, generator()).tokens).state_bytes == 295 * 2 * 2 * 64 * 4


@pytest.mark.seconds
def test_an_emptied_memory_changes_what_is_found_and_not_what_was_read():
    built, made = model(), prompts(30, 700, generator())
    found, again = find(built, made.tokens), find(built, made.tokens)
    assert torch.equal(found.digits, again.digits) and torch.equal(found.without_memory, again.without_memory)
    assert not torch.equal(found.digits, found.without_memory)
    inside = prompts(30, 60, generator())  # one segment: there is nothing to empty
    found = find(built, inside.tokens)
    assert torch.equal(found.digits, found.without_memory)


# How sure one may be -----------------------------------------------------------------------------------------------


def test_intervals():
    for right, asked, low, high in (
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (5, 10, 0.1871, 0.8129),
        (8, 10, 0.4439, 0.9748),
        (1, 20, 0.0013, 0.2487),
    ):  # a table of Clopper and Pearson's intervals
        assert interval(right, asked) == pytest.approx((low, high), abs=5e-5)
    assert interval(2, 2, 0.9)[0] == pytest.approx(0.05**0.5, abs=1e-9)  # one-sided 95 %: p² = 0.05
    assert interval(299, 299, 0.9)[0] > 0.99 > interval(298, 298, 0.9)[0]
    for right, asked in ((3, 2), (-1, 4), (0, 0)):
        with pytest.raises(ValueError, match=f"right is {right} of {asked}"):
            interval(right, asked)


# The recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.seconds
def test_the_recipe_runs_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    """From end to end, much too short to learn anything: interrupted and taken up again, the weights are the same."""
    monkeypatch.setattr(recipe, "STEPS", 30)
    monkeypatch.setattr(recipe, "BATCH", 2)
    monkeypatch.setattr(recipe, "GOOD", -1.0)  # longer prompts at once, so that repetition is simulated
    monkeypatch.setattr(recipe, "LATELY", 2)
    monkeypatch.setattr(recipe, "SHOWN", (300,))
    settings = dict(steps=30, folder=tmp_path / "whole")
    whole = recipe.fresh(recipe.config(0))
    result = recipe.train_one(whole, **settings)
    assert result["segments"] == recipe.MOST and len(result["gates"]) == 3 and not list((tmp_path / "whole").iterdir())

    real, calls = passkey.loss, []

    def interrupted(model, batch):
        calls.append(batch.times is not None)
        if len(calls) == 28:
            raise KeyboardInterrupt
        return real(model, batch)

    monkeypatch.setattr(passkey, "loss", interrupted)
    model = recipe.fresh(recipe.config(0))
    with pytest.raises(KeyboardInterrupt):
        recipe.train_one(model, steps=30, folder=tmp_path)
    assert [path.name for path in tmp_path.glob("*.draft")] == ["infini.draft"]
    assert any(calls) and not calls[0]
    monkeypatch.setattr(passkey, "loss", real)
    monkeypatch.setattr(recipe, "train_one", lambda model, folder: train_one(model, steps=30, folder=folder))
    recipe.make(tmp_path)
    again = load("infini", tmp_path)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    told = about("infini", tmp_path)
    assert told["recipe"] == "infini" and told["result"]["right"] == result["right"]
    assert "300 tokens, depth 1.0:" in capsys.readouterr().out


def test_gates_have_a_rate_and_a_decay_of_their_own():
    weights, betas = recipe.groups(model())
    assert (betas["lr"], betas["weight_decay"]) == (10 * recipe.LEARNING_RATE, 0.0)
    assert [tuple(beta.shape) for beta in betas["params"]] == [(2,), (2,)]
    assert len(weights["params"]) + 2 == len(list(model().parameters()))


def test_the_controls_run(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "BATCH", 2)
    monkeypatch.setattr(controls, "train_one", lambda *given, **rest: recipe.train_one(*given, steps=2, **rest))
    controls.make(tmp_path)
    for name, (layers, _) in controls.CONTROLS.items():
        built = load(f"infini-{name}", tmp_path)
        assert built.config.layers == layers
        find(built, prompts(2, 200, generator()).tokens)


# What is shipped -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0.0, 0.5])
@pytest.mark.seconds
def test_the_shipped_model_finds_the_key_by_its_memory_alone(depth):
    """16 times as long as anything it was trained on; the control is the same model with its memory emptied."""
    shipped, made = load("infini"), prompts(16, 8192, generator(9), depth=depth)
    found = find(shipped, made.tokens)
    right, without = ((digits == made.key).float().mean().item() for digits in (found.digits, found.without_memory))
    assert right > 0.97 and without < 0.25
    assert found.memory_bytes == 16_896


@pytest.mark.seconds
def test_teacher_forced_and_greedy_agree_on_whole_keys():
    shipped, made = load("infini"), prompts(16, 1024, generator(3))
    with torch.no_grad():
        whole = torch.cat([made.tokens, FIRST_DIGIT + made.key], dim=1)
        forced = shipped(whole[:, :-1])[:, -DIGITS:, FIRST_DIGIT:].argmax(dim=-1)
    greedy = find(shipped, made.tokens).digits
    assert torch.equal((forced == made.key).all(dim=1), (greedy == made.key).all(dim=1))


def test_its_gates_have_moved():
    told = about("infini")["result"]
    assert max(abs(share - 0.5) for layer in told["gates_at_the_end"] for share in layer) > 0.3
    assert told["right"][-1] > 0.99 and told["simulate"] and told["segments"] == recipe.MOST

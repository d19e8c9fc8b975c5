"""The Memory Tape: M, z and the gates of a memory of fixed size, and what every key written brings back now."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from widgets.kit.base import Instrument, packed
from widgets.kit.format import capital, count, plural
from widgets.tape import read, say

if TYPE_CHECKING:  # the recorder brings torch, which a picture does not need
    from matplotlib.figure import Figure

    from widgets.tape.measure import Recording


class Tape(Instrument):
    """Draw what `measure.record` or `measure.record_pairs` kept; several recordings differ in their segment.

    text: the text of every token of the stream; vocabulary: token -> its text, for what a model says
    pair: position of the pair to look at first, memory: which one; chosen for what they show when None
    run: where the recording comes from, for the provenance line
    Raises ValueError for no recording, recordings of one segment, and texts that do not fit.
    """

    view = Path(__file__).with_name("view.js")

    def __init__(
        self,
        recordings: "Recording | Sequence[Recording]",
        *,
        text: Sequence[str] | None = None,
        vocabulary: Sequence[str] | None = None,
        pair: int | None = None,
        memory: int | None = None,
        run: str = "",
    ):
        self.recordings = list(recordings) if isinstance(recordings, Sequence) else [recordings]
        lengths = [recording.segment for recording in self.recordings]
        if not lengths or len(set(lengths)) < len(lengths):
            raise ValueError(f"the recordings have segments of {lengths}; give one or more, no two alike.")
        if text is not None and len(text) < max(recording.tokens for recording in self.recordings):
            raise ValueError(
                f"text has {len(text)} entries, the recording {self.recordings[0].tokens} tokens; give one for each."
            )
        self.text = None if text is None else [str(token) for token in text]
        self.vocabulary = None if vocabulary is None else [str(word) for word in vocabulary]
        self.run = run
        first = self.recordings[0]
        if memory is not None and not 0 <= memory < len(first.names):
            raise ValueError(f"memory is {memory}; give 0 to {len(first.names) - 1}: {', '.join(first.names)}.")
        if pair is not None and pair not in first.at:
            raise ValueError(
                f"pair is {pair}, which was not kept; kept were {', '.join(map(str, first.at[:12]))} ... "
                "Name it among the needles to have it kept."
            )
        place = None if pair is None else int(np.flatnonzero(first.at == pair)[0])
        self.memory, self.pair, self.question = telling(first, memory, place)
        super().__init__(data=self._payload())

    @classmethod
    def of(
        cls,
        model: Any,
        tokens: Any,
        *,
        asked: Sequence[int] | None = None,
        needles: Sequence[int] = (),
        segments: Sequence[int] | None = None,
        vocabulary: Sequence[str] | None = None,
        pair: int | None = None,
        memory: int | None = None,
        run: str = "",
    ) -> "Tape":
        """The Tape of a model with Infini-attention, from one run over one stream.

        tokens: (n,) or (1, n); asked: positions that the model is to predict, in the last 4 segments, the last token
            when None, () for none; needles: positions whose pairs are kept and marked
        segments: lengths of a segment to record with, the model's own when None; vocabulary: token -> its text
        Otherwise as above. Raises ValueError as `record` does.
        """
        from widgets.tape.measure import record

        models = [model] if segments is None else [with_segment(model, length) for length in segments]
        found = [record(each, tokens, asked=asked, needles=needles) for each in models]
        ids = np.asarray(tokens).reshape(-1).tolist()
        text = None if vocabulary is None else [vocabulary[token] for token in ids]
        run = run or type(model).__name__
        return cls(found, text=text, vocabulary=vocabulary, pair=pair, memory=memory, run=run)

    @classmethod
    def from_pairs(
        cls,
        k: Any,
        v: Any,
        *,
        rule: str = "linear",
        segment: int | Sequence[int] = 1,
        needles: Sequence[int] = (),
        text: Sequence[str] | None = None,
        pair: int | None = None,
        memory: int | None = None,
        run: str = "pairs",
    ) -> "Tape":
        """The Tape of a matrix as a memory, without a model: pairs are written, `segment` at once.

        k: (n, d_key) or (memories, n, d_key); v: the same with d_value; rule: the one to show first
        segment: one length or several; text: a name for each pair. Raises ValueError as `record_pairs` does.
        """
        from widgets.tape.measure import record_pairs

        lengths = [segment] if isinstance(segment, int) else segment
        found = [record_pairs(k, v, rule=rule, segment=length, needles=needles) for length in lengths]
        return cls(found, text=text, pair=pair, memory=memory, run=run)

    # What it says -------------------------------------------------------------------------------------------------

    def twin(self) -> str:
        return f"{say.QUESTION} " + "\n".join("".join(sentence) for sentence in self.sentences())

    def sentences(self) -> list[list[str]]:
        """What the untouched picture says."""
        recording = self.recordings[0]
        frame = read.frame_of(recording)
        found = read.recalled(recording, recording.rule, self.memory, frame)
        own = found.pop(self.pair, None)
        others = [cosine for pair, cosine in found.items() if not recording.needle[pair] and cosine is not None]
        at = int(recording.at[self.pair])
        segment = at // recording.segment + 1
        begin = capital(recording.names[self.memory]), int(recording.after[frame - 1]), recording.segments
        pair = say.pair_name(at, segment, None if self.text is None else self.text[at], what_of(recording)), segment
        if self.question is None:
            key = recording.k[self.pair, self.memory].astype(np.float64)
            told = [say.recall_parts(*begin, *pair, own, self.back(key), read.median(others), None, recording.nbytes)]
        else:
            assert recording.answers is not None  # questions are a model's, and come with what it answered
            own, ratio = answered(recording, self.memory, self.question, self.pair)
            question = self.words(recording.answers.truth)[self.question]
            back = self.back(recording.q[self.question, self.memory].astype(np.float64))
            told = [say.question_parts(*begin, question, *pair, own, back, ratio, None, recording.nbytes)]
        if recording.answers is not None:
            as_it_is = "o" * len(recording.gates)
            said, _ = recording.answers.said[as_it_is]
            names = [gate.name for gate in recording.gates]
            told.append(say.answer_parts(as_it_is, names, self.words(said), self.words(recording.answers.truth)))
        return told

    def back(self, probe: np.ndarray) -> float:
        """How much of the value of the first pair comes back, read with a key or a question."""
        recording = self.recordings[0]
        frame = read.frame_of(recording) - 1
        m, z = (held[recording.rule][frame, self.memory] for held in (recording.memory, recording.z))
        found = read.read(recording.rule, probe, m.astype(np.float64), z.astype(np.float64))
        return read.returned(found, recording.v[self.pair, self.memory].astype(np.float64))

    def words(self, tokens: Sequence[int]) -> list[str]:
        return [str(token) if self.vocabulary is None else self.vocabulary[token] for token in tokens]

    def provenance(self, recording: "Recording") -> str:
        """Where the numbers come from, and what of a long stream is kept."""
        rule = read.RULES[recording.rule]
        length = plural(recording.tokens, what_of(recording))
        told = f"measured: {self.run}, {length}, {recording.place}, written by the {rule} rule"
        if recording.gates:
            told += "; the other rules write the same keys and values"
        if len(recording.after) < recording.segments:
            told += f"; kept: M and z after {count(len(recording.after))} of {count(recording.segments)} segments"
        if len(recording.at) < recording.segments * recording.segment:
            told += f"; {count(len(recording.at))} of {count(recording.segments * recording.segment)} pairs"
        return told

    def figure(self) -> "Figure":
        """The untouched picture as a matplotlib figure, for print."""
        from widgets.tape.figure import draw

        first = self.recordings[0]
        return draw(first, self.memory, self.pair, self.question, "".join(self.sentences()[0]), self.provenance(first))

    # What travels -------------------------------------------------------------------------------------------------

    def _payload(self) -> dict[str, Any]:
        return {
            "recordings": [self._recording(recording) for recording in self.recordings],
            "memory": self.memory,
            "pair": self.pair,
            "question": self.question,
        }

    def _recording(self, recording: "Recording") -> dict[str, Any]:
        answers = recording.answers
        return {
            "segment": recording.segment,
            "tokens": recording.tokens,
            "what": what_of(recording),
            "after": packed(recording.after),
            "frame": read.frame_of(recording),
            "d_key": recording.k.shape[2],
            "d_value": recording.v.shape[2],
            "names": list(recording.names),
            "rule": recording.rule,
            "rules": {
                rule: {"memory": packed(recording.memory[rule]), "z": packed(recording.z[rule])}
                for rule in recording.memory
            },
            "at": packed(recording.at.astype(np.int32)),
            "needle": packed(recording.needle.astype(np.uint8)),
            "k": packed(recording.k.astype(np.float32)),
            "v": packed(recording.v.astype(np.float32)),
            "q": packed(recording.q.astype(np.float32)),
            "text": None if self.text is None else [self.text[at] for at in recording.at],
            "gates": [{"name": gate.name, "memory": gate.memory, "share": gate.share} for gate in recording.gates],
            "nbytes": recording.nbytes,
            "answers": answers
            and {
                "truth": self.words(answers.truth),
                "said": {
                    state: {"words": self.words(said), "p": [round(p, 4) for p in probabilities]}
                    for state, (said, probabilities) in answers.said.items()
                },
            },
            "provenance": self.provenance(recording),
        }


def with_segment(model: Any, segment: int) -> Any:
    """The same weights, with segments of another length."""
    options = {**model.config.options, "infini": {**model.config.options.get("infini", {}), "segment": segment}}
    return model.with_attention(model.config.layers, **options)


def what_of(recording: "Recording") -> str:
    """What a stream consists of: a model's tokens, or pairs without one."""
    return "token" if recording.gates else "pair"


def answered(recording: "Recording", memory: int, question: int, pair: int) -> tuple[float | None, float | None]:
    """What a question brings back when it is asked: the cosine with a pair's value, and how well it fits its key.

    The second is a / b: the fit of that key by the mean fit of the others that are no needles; None without others.
    """
    rule, query = recording.rule, recording.q[question, memory].astype(np.float64)
    frame = read.frame_of(recording)
    m, z = (held[rule][frame - 1, memory].astype(np.float64) for held in (recording.memory, recording.z))
    found = read.cosine(read.read(rule, query, m, z), recording.v[pair, memory].astype(np.float64))
    fits = read.fit(rule, query, recording.k[:, memory].astype(np.float64))
    written = recording.at < int(recording.after[frame - 1]) * recording.segment
    others = written & ~recording.needle & (np.arange(len(fits)) != pair)
    mean = float(fits[others].mean()) if others.any() else 0.0
    return found, float(fits[pair]) / mean if rule != "unit" and mean > 0 else None


def telling(recording: "Recording", memory: int | None, pair: int | None) -> tuple[int, int, int | None]:
    """The memory, the pair and the question to look at first: where a needle stands out most from what is not one.

    What a head remembers counts as much as it is listened to. A question is looked at with the key that it fits best;
    with no question, or none that finds a needle, it is a pair's own key. Without needles: the first pair.
    """
    chosen = range(len(recording.names)) if memory is None else [memory]
    marked = np.flatnonzero(recording.needle) if pair is None else np.array([pair])
    if not len(marked):
        return (0 if memory is None else memory), 0, None
    frame = read.frame_of(recording)
    best = -np.inf
    found: tuple[int, int, int | None] = (chosen[0], int(marked[0]), None)
    for one in chosen:
        listened = max([gate.share for gate in recording.gates if gate.memory == one], default=1.0)
        values = recording.v[:, one].astype(np.float64)
        m, z = (held[recording.rule][frame - 1, one].astype(np.float64) for held in (recording.memory, recording.z))
        for question, query in enumerate(recording.q[:, one].astype(np.float64)):
            fits = read.fit(recording.rule, query, recording.k[:, one].astype(np.float64))
            fits[recording.at >= int(recording.after[frame - 1]) * recording.segment] = -np.inf  # not written yet
            at = int(fits.argmax()) if pair is None else pair
            back = read.read(recording.rule, query, m, z)
            cosines = [read.cosine(back, value) or 0.0 for value in values]
            rest = read.median([c for c, needle in zip(cosines, recording.needle, strict=True) if not needle]) or 0.0
            if at in marked and listened * (cosines[at] - rest) > best + 1e-9:
                best, found = listened * (cosines[at] - rest), (one, at, question)
    if found[2] is not None:
        return found
    for one in chosen:
        listened = max([gate.share for gate in recording.gates if gate.memory == one], default=1.0)
        recalled = read.recalled(recording, recording.rule, one, frame)
        rest = read.median([c for p, c in recalled.items() if not recording.needle[p] and c is not None]) or 0.0
        for at in marked.tolist():
            if (cosine := recalled.get(at)) is not None and listened * (cosine - rest) > best + 1e-9:
                best, found = listened * (cosine - rest), (one, at, None)
    return found

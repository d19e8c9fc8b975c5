"""What a text names as its source stands in the list of references, and what stands there is named by a text."""

import re
from pathlib import Path

import pytest
from pybtex.database import parse_file

ROOT = Path(__file__).parents[1]
ENTRIES = parse_file(ROOT / "book" / "references.bib").entries
PAGES = ("lessons", "interview", "teaching")
CODE = ("solutions", "widgets")
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "book").glob("*.md")),
    *(path for folder in PAGES for path in sorted((ROOT / "book" / folder).glob("*.md"))),
    *(path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))),
]
TEXT = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in TEXTS}

NUMBER = re.compile(r"(?<![\d.,])(?:0[7-9]|1\d|2\d)(?:0[1-9]|1[0-2])\.\d{4,5}(?![\d%])")
NAME = r"[A-Z][a-z][\w'-]*"
NAMED = re.compile(rf"(?P<first>{NAME})(?:, {NAME})?(?: and {NAME}| et al\.),? \(?(?P<year>(?:19|20)\d\d)")

# What texts call by a name of its own, without authors -> the entry that it then needs.
SYSTEMS = {
    "ARMT": "rodkin2024",
    "DeepSeek-V3.2": "deepseek2025v32",
    "DeepSeek-V3.2-Exp": "deepseek2025",
    "DeepSeek-V4": "deepseek2026",
    "DeltaNet": "yang2024",
    "FlashAttention-4": "zadouri2026",
    "Gated DeltaNet": "yang2024gated",
    "Gemma 3": "gemma2025",
    "gpt-oss": "openai2025",
    "H2O": "zhang2023",
    "HISA": "xu2026",
    "Hugging Face": "huggingface2024",
    "IndexCache": "bai2026",
    "KIVI": "liu2024",
    "Kimi Linear": "kimi2025",
    "HELMET": "yen2024",
    "Landmark": "mohtashami2023",
    "Mamba": "gu2023",
    "Memorizing Transformers": "wu2022",
    "MISA": "zhou2026",
    "MiniMax M3": "lai2026",
    "Mistral 7B": "jiang2023",
    "MoBA": "lu2025",
    "ModernBERT": "warner2024",
    "NoLiMa": "modarressi2025",
    "Quest": "tang2024",
    "RMT": "bulatov2022",
    "RULER": "hsieh2024",
    "SeerAttention": "gao2024seer",
    "StreamingLLM": "xiao2023",
    "Transformer-XL": "dai2019",
    "YaRN": "peng2023",
}


def surnames(entry) -> list[str]:
    """Last names in order; an author that is an institution is one name."""
    people = entry.persons.get("author", [])
    return [" ".join(person.last_names).strip("{}") for person in people]


def first_author_and_year(key: str) -> tuple[str, str]:
    return surnames(ENTRIES[key])[0], ENTRIES[key].fields["year"]


def numbers_in(text: str) -> set[str]:
    return set(NUMBER.findall(text))


def cited_by_authors(text: str) -> set[tuple[str, str]]:
    return {(found["first"], found["year"]) for found in NAMED.finditer(text)}


def systems_in(text: str) -> set[str]:
    return {name for name in SYSTEMS if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-]|\.\d)", text)}


PREPRINTS = {entry.fields["eprint"]: key for key, entry in ENTRIES.items() if "eprint" in entry.fields}
AUTHORS = {first_author_and_year(key) for key in ENTRIES}


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.seconds
def test_what_a_text_cites_is_in_the_list(name):
    text = TEXT[name]
    assert numbers_in(text) <= set(PREPRINTS)
    assert cited_by_authors(text) <= AUTHORS
    assert {SYSTEMS[system] for system in systems_in(text)} <= set(ENTRIES)


@pytest.mark.seconds
def test_what_is_in_the_list_is_cited():
    every = "\n".join(TEXT.values())
    keys = {key for group in re.findall(r"\{cite\}`([\w,]+)`", every) for key in group.split(",")}
    keys |= {PREPRINTS[number] for number in numbers_in(every) & set(PREPRINTS)}
    keys |= {SYSTEMS[name] for name in systems_in(every)}
    named = cited_by_authors(every)
    keys |= {key for key in ENTRIES if first_author_and_year(key) in named}
    keys |= {key for key, entry in ENTRIES.items() if entry.fields.get("howpublished", "-")[5:-1] in every}
    assert set(ENTRIES) <= keys


def test_every_entry_says_who_what_and_when():
    for key, entry in ENTRIES.items():
        assert entry.fields["title"] and surnames(entry) and re.fullmatch(r"(19|20)\d\d", entry.fields["year"]), key
    assert len(PREPRINTS) == sum("eprint" in entry.fields for entry in ENTRIES.values())


def test_the_patterns_see_what_they_should():
    text = "(Dao et al., 2022, arXiv 2205.14135) and Clopper and Pearson (1934), 2048.0001 s, 1,203.4567; StreamingLLM."
    assert numbers_in(text) == {"2205.14135"}
    assert cited_by_authors(text) == {("Dao", "2022"), ("Clopper", "1934")}
    assert systems_in(text) == {"StreamingLLM"}
    assert systems_in("DeepSeek-V3.2-Exp, DeepSeek-V3.2") == {"DeepSeek-V3.2-Exp", "DeepSeek-V3.2"}

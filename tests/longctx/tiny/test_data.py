import json

import pytest

from longctx.tiny.data import write_rows
from longctx.tiny.language import CAUSAL_WORDS, tokenizer_of


def rows_of(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_prompts_and_completions_make_rows_of_the_lengths_asked_for(tmp_path):
    rows = rows_of(write_rows("tiny:causal", tmp_path, [256, 1024], 40, seed=3))
    tokenizer = tokenizer_of(CAUSAL_WORDS)
    lengths = [len(tokenizer(row["prompt"] + row["completion"])["input_ids"]) for row in rows]
    assert set(lengths) == {64, 256, 1024}
    assert 10 <= lengths.count(64) <= 30
    for row in rows:
        text, key = row["prompt"].split(), row["prompt"].split()[-1]
        assert text[-2] == "ASK"
        place = text.index(key)
        assert text[place - 1] == "SET"
        assert " " + " ".join(text[place + 1 : place + 6]) == row["completion"]
        assert row["completion"].endswith(" END")


def test_documents_answer_what_they_ask(tmp_path):
    for row in rows_of(write_rows("tiny:causal", tmp_path, [256], 20, seed=3, documents=True)):
        text = row["text"].split()
        assert len(text) in (64, 256)
        assert text[-1] == "END"
        asked = [place for place, word in enumerate(text) if word == "ASK"]
        assert asked
        for place in asked:
            told = text.index(text[place + 1])
            assert text[told - 1] == "SET"
            assert text[told : told + 6] == text[place + 1 : place + 7]


def test_the_negative_has_the_names_the_other_way_round(tmp_path):
    for row in rows_of(write_rows("tiny:embedding", tmp_path, [128], 20, seed=3)):
        _, first, second = row["anchor"].split()
        assert f"SET {first} {second} END" in row["positive"]
        assert f"SET {second} {first} END" in row["negative"]
        assert len(row["positive"].split()) == len(row["negative"].split()) in (64, 128)


def test_no_pair_of_names_is_asked_for_in_two_splits(tmp_path):
    asked = {
        split: {
            frozenset(row["anchor"].split()[1:])
            for row in rows_of(write_rows("tiny:embedding", tmp_path, [64], 300, seed=3, split=split))
        }
        for split in ("train", "dev", "test")
    }
    assert len(asked["train"]) > 150
    assert not asked["train"] & (asked["dev"] | asked["test"])
    assert not asked["dev"] & asked["test"]


@pytest.mark.parametrize("kind", ["tiny:causal", "tiny:embedding"])
def test_rows_depend_on_the_seed_alone(tmp_path, kind):
    first = write_rows(kind, tmp_path, [128], 5, seed=3).read_text()
    assert write_rows(kind, tmp_path, [128], 5, seed=3).read_text() == first
    assert write_rows(kind, tmp_path, [128], 5, seed=4).read_text() != first
    rows = write_rows(kind, tmp_path, [128], 5, seed=4, short_share=0.0)
    assert all(len(row.get("positive", "x" * 128).split()) in (1, 128) for row in rows_of(rows))

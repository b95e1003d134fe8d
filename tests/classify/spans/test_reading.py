"""Files of every form give the same texts and spans; what is wrong is told in one line with its place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classify.spans.config import TokenColumnsConfig, TokenDataConfig, TokensExperiment
from classify.spans.load import check_references, load
from classify.spans.reading import Read, read
from finewise.config import AuditConfig
from finewise.errors import InputError

Write = Callable[..., str]

WORDS = ["Ada", "Lovelace", "met", "Babbage", "in", "London"]
TAGS = ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC"]
CONLL = "".join(f"{word}\tX\t{tag}\n" for word, tag in zip(WORDS, TAGS, strict=True))


def config(train: str = "x", **more: Any) -> TokenDataConfig:
    return TokenDataConfig(train=train, **more)


def rows_of(path: str, **more: Any) -> Read:
    return read(path, config(path, **more), "train")


def refusal(path: str, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(path, **more)
    message = str(caught.value)
    assert "\n" not in message
    assert Path(path).name in message
    return message


class TestForms:
    def test_words_and_tags(self, write: Write, tmp_path: Path) -> None:
        pq.write_table(pa.table({"tokens": [WORDS], "tags": [TAGS]}), tmp_path / "a.parquet")
        files = [
            write("a.jsonl", [{"tokens": WORDS, "tags": TAGS}]),
            write("a.conll", CONLL),
            write("spaces.iob", CONLL.replace("\t", " ") + "\n\n"),
            str(tmp_path / "a.parquet"),
            write("a.tsv", f"tokens\ttags\n{_quoted(WORDS)}\t{_quoted(TAGS)}\n"),
        ]
        for file in files:
            (row,) = rows_of(file).rows
            assert row.text == " ".join(WORDS), file
            assert row.tags == TAGS, file
            assert [row.text[start:end] for start, end in row.words] == WORDS, file

    def test_class_numbers_have_the_names_that_datasets_wrote(self, tmp_path: Path) -> None:
        import datasets

        names = ["O", "B-PER", "I-PER", "B-LOC"]
        feature = datasets.List(datasets.ClassLabel(names=names))
        features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "tags": feature})
        rows = {"tokens": [WORDS], "tags": [[names.index(tag) for tag in TAGS]]}
        file = str(tmp_path / "a.parquet")
        datasets.Dataset.from_dict(rows, features=features).to_parquet(file)
        assert rows_of(file).rows[0].tags == TAGS
        assert rows_of(file, names=names).rows[0].tags == TAGS
        assert "data.names has others" in refusal(file, names=["B-PER", "O", "I-PER", "B-LOC"])

    def test_text_and_spans(self, write: Write) -> None:
        text = "Ada Lovelace met him, in London."
        spans = [{"start": 25, "end": 31, "label": "LOC"}, {"start": 0, "end": 13, "label": "PER"}]
        found = rows_of(write("a.jsonl", [{"text": text, "spans": spans}]))
        (row,) = found.rows
        assert row.spans == [("PER", 0, 12), ("LOC", 25, 31)]
        assert [text[start:end] for start, end in row.words][3:6] == ["him", ",", "in"]
        assert found.remarks == [f"{found.name}: 1 spans began or ended with white space, which was left out of them"]

    def test_numbers_with_names(self, write: Write) -> None:
        names = ["O", "B-PER", "I-PER", "B-LOC"]
        row = {"tokens": WORDS, "tags": [names.index(tag) for tag in TAGS]}
        path = write("a.jsonl", [row])
        assert rows_of(path, names=names).rows[0].tags == TAGS
        assert "data.names=" in refusal(path)
        assert "data.names has 2 names" in refusal(path, names=["O", "B-PER"])

    def test_other_columns(self, write: Write) -> None:
        path = write("a.jsonl", [{"words": WORDS, "ner": TAGS}])
        columns = TokenColumnsConfig(tokens="words", tags="ner")
        assert rows_of(path, columns=columns).rows[0].tags == TAGS
        assert "neither 'tokens'" in refusal(path)
        assert "no column 'tags'" in refusal(path, columns=TokenColumnsConfig(tokens="words"))

    def test_documents_of_a_conll_file_are_groups(self, write: Write) -> None:
        found = rows_of(write("a.conll", f"-DOCSTART- X O\n\n{CONLL}\n{CONLL}\n-DOCSTART- X O\n\n# id = 3\n{CONLL}"))
        assert [row.number for row in found.rows] == [3, 10, 20]
        assert found.grouped
        assert [row.group for row in found.rows] == [f"{found.name} {number}" for number in (1, 1, 2)]

    def test_a_sign_that_begins_comments_may_begin_a_sentence(self, write: Write) -> None:
        found = rows_of(write("a.conll", "# id = 1\n# O\nBig B-X\n\n# a comment\nSmall O\n"))
        assert [row.text for row in found.rows] == ["# Big", "Small"]

    def test_scripts_without_blanks_have_a_word_per_character(self, write: Write) -> None:
        rows = [{"text": "我住在北京市 in 2020。", "spans": [{"start": 3, "end": 6, "label": "LOC"}]}]
        (row,) = rows_of(write("a.jsonl", rows)).rows
        words = [row.text[start:end] for start, end in row.words.tolist()]
        assert words == ["我", "住", "在", "北", "京", "市", "in", "2020", "。"]

    def test_schemes_are_brought_to_bio_and_told(self, write: Write) -> None:
        tags = ["B-PER", "E-PER", "O", "S-PER", "O", "S-LOC"]
        found = rows_of(write("a.jsonl", [{"tokens": WORDS, "tags": tags}]))
        assert found.rows[0].tags == TAGS
        assert "read as BIOES" in found.remarks[0]


class TestRefusals:
    @pytest.mark.parametrize(
        ("row", "what"),
        [
            ({"tokens": ["a", "b"], "tags": ["O"]}, "line 2: 'tokens' has 2 words and 'tags' 1 tags"),
            ({"tokens": ["a", ""], "tags": ["O", "O"]}, "line 2: 'tokens' must hold words"),
            ({"tokens": "a b", "tags": ["O", "O"]}, "line 2: 'tokens' must be a list"),
            ({"tokens": ["a"], "tags": None}, "line 2: 'tags' is missing"),
            ({"tokens": ["a"], "tags": [1.5]}, "line 2: 'tags' must hold tags"),
            ({"tokens": ["a"], "tags": ["PER"]}, "line 2: the tags must be tags such as O, B-PER"),
        ],
    )
    def test_of_tags(self, write: Write, row: dict[str, Any], what: str) -> None:
        assert what in refusal(write("a.jsonl", [{"tokens": WORDS, "tags": TAGS}, row]))

    @pytest.mark.parametrize(
        ("spans", "what"),
        [
            ([{"start": 3, "end": 99, "label": "X"}], "does not lie in the text, which has 8 characters"),
            ([{"start": 3, "end": 3, "label": "X"}], "does not lie in the text"),
            ([{"start": -1, "end": 3, "label": "X"}], "does not lie in the text"),
            ([{"start": "0", "end": 3, "label": "X"}], "must be whole numbers"),
            ([{"start": 0, "end": 3}], "start, end and label"),
            ([{"start": 0, "end": 3, "label": 5}], "label must be a name"),
            ([{"start": 4, "end": 5, "label": "X"}], "nothing but white space"),
            ([{"start": 0, "end": 4, "label": "X"}, {"start": 2, "end": 8, "label": "Y"}], "overlap"),
        ],
    )
    def test_of_spans(self, write: Write, spans: list[Any], what: str) -> None:
        assert what in refusal(write("a.jsonl", [{"text": "long way", "spans": spans}]))

    def test_of_conll_columns(self, write: Write) -> None:
        assert "line 7 must be a word and its tag" in refusal(write("a.conll", CONLL + "alone\n"))
        assert "line 8 has 2 columns" in refusal(write("a.conll", CONLL + "\nword\tO\n"))

    def test_broken_tags_are_repaired_and_told_or_refused(self, write: Write) -> None:
        path = write("a.jsonl", [{"tokens": WORDS, "tags": TAGS}, {"tokens": ["a", "b"], "tags": ["B-LOC", "I-PER"]}])
        found = rows_of(path)
        assert found.rows[1].tags == ["B-LOC", "B-PER"]
        assert "1 tags in 1 rows break the scheme BIO (line 2: I-PER after B-LOC)" in found.remarks[0]
        assert "data.malformed=repair" in refusal(path, malformed="refuse")

    def test_rows_without_words_are_left_out_and_told(self, write: Write) -> None:
        empty: dict[str, Any] = {"tokens": [], "tags": []}
        good = {"tokens": WORDS, "tags": TAGS}
        found = rows_of(write("a.jsonl", [good, empty, good]))
        assert len(found.rows) == 2
        assert "1 of 3 rows without a word were left out (line 2)" in found.remarks[0]
        assert "2 of 3 rows have no word" in refusal(write("a.jsonl", [good, empty, empty]))


class TestLoad:
    def experiment(self, train: str, audit: AuditConfig | None = None, **more: Any) -> TokensExperiment:
        return TokensExperiment(data=config(train, **more), audit=audit or AuditConfig(near_duplicates=False))

    def test_splits_keep_equal_texts_together_and_every_type_in_train(
        self, write: Write, learnable: Callable[..., Any]
    ) -> None:
        rows = [{"tokens": words, "tags": tags} for words, tags in [*learnable(200), *learnable(40)]]
        data = load(self.experiment(write("a.jsonl", rows)))
        assert sum(data.rows.values()) == 240
        texts = [set(one.texts) for one in (data.train, data.dev, data.test)]
        assert not texts[0] & texts[1]
        assert not texts[0] & texts[2]
        assert not texts[1] & texts[2]
        assert data.types == ("LOC", "PER")
        again = load(self.experiment(write("a.jsonl", rows)))
        assert again.revision == data.revision

    def test_leaks_are_refused_dropped_or_kept(self, write: Write, learnable: Callable[..., Any]) -> None:
        def rows(some: Any) -> list[dict[str, Any]]:
            return [{"tokens": words, "tags": tags} for words, tags in some]

        train, dev, test = learnable(30), learnable(10, 1), learnable(10, 2)
        files: dict[str, Any] = {
            "train": write("train.jsonl", rows([*train, *test[:3]])),
            "dev": write("dev.jsonl", rows(dev)),
            "test": write("test.jsonl", rows(test)),
        }
        with pytest.raises(InputError, match=r"3 of 33 training rows .* audit.leakage=drop"):
            load(self.experiment(**files))
        dropped = load(self.experiment(**files, audit=AuditConfig(leakage="drop", near_duplicates=False)))
        assert (dropped.rows["train"], dropped.report.dropped) == (30, 3)
        kept = load(self.experiment(**files, audit=AuditConfig(leakage="allow", near_duplicates=False)))
        assert kept.rows["train"] == 33
        assert [finding.kind for finding in kept.report.findings if finding.severity == "warn"] == ["leaked_text"]

    def test_a_folder_brings_its_splits(self, tmp_path: Path) -> None:
        for split, word in (("train", "Ada"), ("dev", "Bob"), ("test", "Cid")):
            (tmp_path / f"{split}.conll").write_text(f"{word} B-PER\nslept O\n", encoding="utf-8")
        experiment = self.experiment(str(tmp_path))
        experiment.model.name = str(tmp_path)  # no model
        with pytest.raises(InputError, match=r"model\.name"):
            check_references(experiment)
        data = load(experiment)
        assert [one.texts[0] for one in (data.train, data.dev, data.test)] == ["Ada slept", "Bob slept", "Cid slept"]

    def test_a_type_that_train_does_not_have(self, write: Write) -> None:
        good = [{"tokens": WORDS, "tags": TAGS}]
        other = [{"tokens": ["a", "b"], "tags": ["B-PERS", "O"]}]
        with pytest.raises(InputError, match=r"test.jsonl: line 1 has a span of 'PERS', .* did you mean 'PER'\?"):
            load(self.experiment(write("a.jsonl", good), dev=write("d.jsonl", good), test=write("test.jsonl", other)))

    def test_nothing_to_learn_or_to_find(self, write: Write) -> None:
        good, bare = [{"tokens": WORDS, "tags": TAGS}], [{"tokens": ["a"], "tags": ["O"]}]
        with pytest.raises(InputError, match=r"no row has a span \(all tags are O\)"):
            load(self.experiment(write("a.jsonl", bare)))
        with pytest.raises(InputError, match="1 rows of test hold no span"):
            load(self.experiment(write("a.jsonl", good), dev=write("d.jsonl", good), test=write("t.jsonl", bare)))

    def test_a_span_that_ends_inside_a_word(self, write: Write) -> None:
        def rows(text: str) -> list[dict[str, Any]]:
            return [{"text": text, "spans": [{"start": 0, "end": 5, "label": "LANG"}]}]

        files: dict[str, Any] = {
            "dev": write("d.jsonl", rows("Scala too")),
            "test": write("t.jsonl", rows("Julia too")),
        }
        data = load(self.experiment(write("a.jsonl", rows("Pythonic code")), **files))
        told = "1 of 1 spans begin or end inside a word (line 1: 'Pytho')"
        assert any(told in remark for remark in data.report.remarks)
        many = [row for number in range(20) for row in rows(f"Pythonic{number} code")]
        with pytest.raises(InputError, match=r"20 of 20 spans begin or end inside a word .* counted in characters"):
            load(self.experiment(write("a.jsonl", many), **files))
        assert data.train.tags[0].tolist() == [1, 0]
        assert data.train.entities[0] == ((0, 0, 5),)  # what it is scored by: no prediction of whole words is equal
        assert data.train.read(0, data.train.tags[0]) == ((0, 0, 8),)


def _quoted(values: list[str]) -> str:
    return '"' + json.dumps(values).replace('"', '""') + '"'


def test_odd_names_unused_columns_and_rows_over_several_lines_are_told(write: Write, tmp_path: Path) -> None:
    kinds = ("B-PER", "B-Per", "B-none")
    rows = [{"tokens": ["word", f"n{n}"], "tags": ["O", kinds[n % 3]], "more": 1} for n in range(120)]
    file = write("a.jsonl", rows)
    report = load(TokensExperiment(data=config(file, dev_size=20, test_size=20))).report
    assert {"alike_classes", "gap_classes"} <= {finding.kind for finding in report.findings}
    assert "columns that play no role: more" in " ".join(report.remarks)
    table = write("b.csv", 'text,spans\n"Ada\nmet","[]"\n"met Ada","[{""start"": 4, ""end"": 7, ""label"": ""P""}]"\n')
    assert "inside double quotes: 1 (first: line 2)" in rows_of(table).remarks[0]

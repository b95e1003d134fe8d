"""Baselines of words read the script and the language that is there, and say so if they cannot."""

import unicodedata

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.baselines import BM25
from benchmarks.table import verdict
from benchmarks.text.folds import quality
from benchmarks.text.language import Reader, detect, grams, terms, unread, without_claims
from benchmarks.text.words import TfidfLogistic
from finewise.data.retrieval import RetrievalSet
from finewise.record import Comparison

SENTENCES = {
    "english": "The cat is in the garden and it does not want to come to the house",
    "german": "Die Katze ist im Garten und sie will nicht in das Haus kommen",
    "french": "Le chat est dans le jardin et il ne veut pas venir dans la maison",
    "spanish": "El gato está en el jardín y no quiere venir a la casa con nosotros",
    "italian": "Il gatto è nel giardino e non vuole venire nella casa con noi",
    "dutch": "De kat is in de tuin en hij wil niet naar het huis van ons komen",
    "russian": "Кошка в саду, и она не хочет идти в дом, потому что там собака",
    "swedish": "Katten är i trädgården och den vill inte komma till huset med oss",
}
TOPICS = ("野球の試合で大勝した選手", "株価が急落して市場が混乱", "新しい惑星を望遠鏡で発見")
"""No two of them share a bigram; none of them has a blank."""


def task_of(queries: list[str], corpus: list[str]) -> RetrievalSet:
    return RetrievalSet(
        name="t",
        split="test",
        query_ids=[f"q{place}" for place in range(len(queries))],
        queries=queries,
        corpus_ids=[f"d{place}" for place in range(len(corpus))],
        corpus=corpus,
        qrels={f"q{place}": {f"d{place}": 1} for place in range(len(queries))},
        revision="r",
    )


@pytest.mark.parametrize("language", SENTENCES)
def test_a_language_is_recognised_by_its_stop_words(language: str) -> None:
    assert detect([SENTENCES[language]]) == language


@pytest.mark.parametrize(
    "text",
    [
        "東京へ行きました",
        "Kissa istuu puutarhassa eikä halua tulla taloon, koska koira nukkuu siellä",
        "ภาษาไทย",
        "123",
        "",
        "Η γάτα είναι στον κήπο",
    ],
)
def test_other_languages_have_no_stop_words_and_no_stems(text: str) -> None:
    assert detect([text]) == "none"


def test_keywords_count_as_english() -> None:
    assert detect(["parsing libraries", "libxml"]) == "english"


def test_bm25_finds_other_forms_of_a_german_word_by_setting_and_by_itself() -> None:
    corpus = ["Die Häuser sind nicht in der Stadt", "Die Katze ist nicht in der Stadt"]
    task = task_of(["das Haus und die Häuser", "Katzen"], corpus)
    assert BM25().search(task, 1).indices[:, 0].tolist() == [0, 1]
    assert BM25().reading(task)["language"] == "german"
    assert BM25(language="german").search(task, 1).indices[:, 0].tolist() == [0, 1]
    assert BM25(language="none").search(task, 1).indices[:, 0].tolist() == [0, -1]


@pytest.mark.parametrize(
    ("queries", "corpus"),
    [
        (["望遠鏡", "株価の市場"], ["新しい惑星を望遠鏡で発見しました", "株価が急落して市場が混乱した"]),
        (["人工智能", "足球比赛"], ["这篇文章介绍人工智能的历史", "昨天的足球比赛非常精彩"]),
        (["ภาษาไทย", "อาหารเช้า"], ["ฉันเรียนภาษาไทยทุกวัน", "เขากินอาหารเช้าแล้ว"]),
        (["서울의 날씨", "김치 요리"], ["오늘 서울에서 날씨가 좋다", "김치로 요리를 했다"]),
        (["भाषा", "किताब"], ["हिन्दी भाषा सीखो", "यह किताब पढ़ो"]),
    ],
    ids=["ja", "zh", "th", "ko", "hi"],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_bm25_reads_other_scripts_in_both_normal_forms(queries: list[str], corpus: list[str], form: str) -> None:
    task = task_of([unicodedata.normalize(form, query) for query in queries], corpus)
    assert BM25().search(task, 1).indices[:, 0].tolist() == [0, 1]
    assert BM25().reading(task)["unread"] is None


def test_tfidf_reads_what_has_no_blanks(labelled) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=90)
    fill = "日本語文章情報時間人間場所"
    texts = [
        "".join(rng.choice(list(fill), 6)) + TOPICS[k][(at := int(rng.integers(6))) : at + 5] + rng.choice(list(fill))
        for k in labels
    ]
    train, test = labelled(texts[:60], labels[:60]), labelled(texts[60:], labels[60:])
    fitted = TfidfLogistic().fit(train)
    assert quality(test.labels, fitted.predict_proba(test.texts), test.space, "f1_macro") > 0.7
    assert fitted.unread(test.texts) is None


def test_english_is_read_as_scikit_learn_reads_it() -> None:
    texts = ["The quick brown fox, a dog; it's x 12 foo_bar", "one", "", "A b c-d ef"]
    plain = TfidfVectorizer(ngram_range=(1, 2)).build_analyzer()
    assert [sorted(grams(text)) for text in texts] == [sorted(plain(text)) for text in texts]


def test_english_terms_are_those_of_bm25s() -> None:
    import bm25s
    import Stemmer

    texts = ["The parsing libraries of a system, and it's foo_bar 12", "fish", "?!"]
    stemmer = Stemmer.Stemmer("english")
    plain = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
    assert Reader("english").terms(texts) == [[word for word in row if word] for row in plain]


def test_texts_that_words_cannot_read_are_told() -> None:
    unknown = ["".join(chr(0xA984 + (3 * row + place) % 40) for place in range(30)) for row in range(20)]  # Javanese
    assert unread(unknown[:10], unknown[10:], terms) == "nearly every text is one word to it"
    assert unread(["a red fish"], ["🐟🐟", "🦊"], terms) is None  # no letter, so nothing to read
    assert "hardly occur" in str(unread(["a red fish", "the blue tree"] * 5, ["рыба и лиса", "дом"] * 5, terms))
    assert unread(["a red fish"], ["the red house"], terms) is None
    assert unread([], [], terms) is None


def test_no_claim_is_made_against_a_baseline_that_could_not_read() -> None:
    one = Comparison(
        benchmark="t",
        metric="f1_macro",
        a="tuned",
        b="tfidf_lr",
        difference=0.34,
        low=0.3,
        high=0.4,
        p=0.0001,
        test="t-test",
    )
    two = Comparison(
        benchmark="t",
        metric="f1_macro",
        a="tuned",
        b="knn",
        difference=0.34,
        low=0.3,
        high=0.4,
        p=0.0001,
        test="t-test",
    )
    first, second = without_claims([one, two], {"tfidf_lr": "nearly every text is one word to it", "knn": None})
    assert "beats" not in verdict(first)
    assert "tfidf_lr cannot read these texts" in verdict(first)
    assert second == two
    assert "beats" in verdict(second)

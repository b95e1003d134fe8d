"""Every baseline learns what can be learnt, from labels of every kind, and survives data that is hardly any."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.text.folds import quality
from benchmarks.text.logistic import Logistic
from benchmarks.text.neighbours import NearestNeighbours
from benchmarks.text.prior import Majority
from benchmarks.text.probe import LinearProbe
from benchmarks.text.words import TfidfLogistic
from benchmarks.text.zero_shot import ZeroShot
from finewise.errors import InputError

KINDS = ["single", "ordinal", "multi"]
LEARNERS = ["tfidf", "knn", "probe"]


def learner(which, embed, **settings):
    if which == "tfidf":
        return TfidfLogistic(**settings)
    return {"knn": NearestNeighbours, "probe": LinearProbe}[which](embed, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", LEARNERS)
def test_it_learns_what_the_words_say(which, kind, embed, word_rows):
    train, test = word_rows(200, kind), word_rows(60, kind, seed=1)
    system = learner(which, embed).fit(train)
    found = system.predict_proba(test.texts)
    assert found.shape == (60, 4)
    assert found.dtype == np.float64
    assert (found >= 0).all()
    if kind != "multi":
        assert np.allclose(found.sum(axis=1), 1)
    assert quality(test.labels, found, test.space, "f1_macro") > 0.9
    again = learner(which, embed).fit(train)
    assert np.array_equal(found, again.predict_proba(test.texts))
    assert again.chosen == system.chosen


def test_paths_are_classes(embed, labelled, word_rows):
    rows = word_rows(100)
    train = labelled(rows.texts, rows.labels, "hierarchical")
    for which in LEARNERS:
        found = learner(which, embed, metric="f1_hierarchical").fit(train).predict_proba(train.texts)
        assert quality(train.labels, found, train.space, "f1_hierarchical") > 0.9


@pytest.mark.parametrize("which", LEARNERS)
def test_classes_without_rows_are_not_expected(which, embed, labelled, word_rows):
    rows = word_rows(80)
    names = ("absent", *rows.space.names, "zzz")
    single = learner(which, embed).fit(labelled(rows.texts, rows.labels + 1, names=names)).predict_proba(rows.texts)
    assert (single[:, [0, -1]] < 1e-10).all()
    assert np.allclose(single.sum(axis=1), 1)
    labels = np.eye(6)[rows.labels + 1]
    labels[:, 5] = 1
    multi = learner(which, embed).fit(labelled(rows.texts, labels, "multi", names)).predict_proba(rows.texts)
    assert (multi[:, 0] < 1e-10).all()
    assert (multi[:, 5] > 1 - 1e-10).all()


@pytest.mark.parametrize("which", LEARNERS)
def test_a_class_of_one_row_and_hardly_any_rows(which, embed, labelled, word_rows):
    rows = word_rows(40)
    labels = np.where(rows.labels == 3, 2, rows.labels)
    labels[7] = 3
    assert learner(which, embed).fit(labelled(rows.texts, labels)).predict_proba(rows.texts).shape == (40, 4)
    few = labelled(rows.texts[:3], [0, 1, 2])
    assert learner(which, embed).fit(few).predict_proba(few.texts).argmax(axis=1).tolist() == [0, 1, 2]
    one = labelled(rows.texts[:3], [2, 2, 2])
    assert learner(which, embed).fit(one).predict_proba(["cat"]).argmax() == 2
    two = labelled(rows.texts[:30], rows.labels[:30] % 2)
    assert np.allclose(learner(which, embed).fit(two).predict_proba(two.texts)[:, :2].sum(axis=1), 1)


def test_the_majority_is_the_share_of_train(labelled):
    train = labelled(["a"] * 4, [1, 1, 3, 1])
    assert Majority().fit(train).predict_proba(["x", "y"]).tolist() == [[0, 0.75, 0, 0.25]] * 2
    several = labelled(["a"] * 2, [[1, 0, 0, 0], [1, 1, 0, 0]], "multi")
    assert Majority().fit(several).predict_proba(["x"]).tolist() == [[1, 0.5, 0, 0]]


def test_words_are_what_scikit_learn_makes_of_them(word_rows):
    train, test = word_rows(300), word_rows(50, seed=1)
    system = TfidfLogistic().fit(train)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    weight = system.chosen["class_weight"]
    model = LogisticRegression(C=system.chosen["C"], class_weight=weight, tol=1e-8, max_iter=1000)
    model.fit(vectors.fit_transform(train.texts), train.labels)
    expected = model.predict_proba(vectors.transform(test.texts))
    assert np.allclose(system.predict_proba(test.texts), expected, atol=0.01)


def test_texts_without_words_are_refused(labelled):
    with pytest.raises(InputError, match=r"words\.csv: no text of train holds a word"):
        TfidfLogistic().fit(labelled(["!", "?"], [0, 1]))


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_the_probe_fits_into_a_linear_layer(kind, embed, word_rows):
    train = word_rows(100, kind)
    probe = LinearProbe(embed).fit(train)
    logits = embed(train.texts) @ probe.coef_.T + probe.intercept_
    assert probe.coef_.shape == (4, embed(["cat"]).shape[1])
    expected = expit(logits) if kind == "multi" else softmax(logits, axis=1)
    assert np.allclose(probe.predict_proba(train.texts), expected)
    assert np.isfinite(probe.intercept_).all()


def test_neighbours_do_not_choose_by_their_own_group(embed, labelled):
    # Pairs of equal texts whose label is chance half of the time: without groups the twin gives it away.
    rng = np.random.default_rng(0)
    meant = rng.integers(0, 2, 100)
    label = np.where(rng.random(100) < 0.3, 1 - meant, meant)
    texts = [
        f"{('purr', 'bone')[mean]} {' '.join(rng.choice(['the', 'of', 'one', 'any', 'old', 'new'], 4))}"
        for mean in meant
    ]
    twice = (np.repeat(texts, 2).tolist(), np.repeat(label, 2))
    naive = NearestNeighbours(embed).fit(labelled(*twice))
    honest = NearestNeighbours(embed).fit(labelled(*twice, groups=np.repeat(np.arange(100), 2)))
    assert naive.k == 1
    assert honest.k >= 5


def test_neighbours_vote_by_similarity(embed, labelled):
    train = labelled(["purr meow", "purr bone", "bone bone"] * 4, [0, 1, 1] * 4)
    found = NearestNeighbours(embed).fit(train).predict_proba(["purr meow", "bone"])
    assert found.argmax(axis=1).tolist() == [0, 1]


def test_zero_shot_reads_names_or_descriptions(embed, labelled):
    data = labelled(["cat old", "oak new", "dog", "rye"], [0, 2, 1, 3])
    named = ZeroShot(embed).fit(data).predict_proba(data.texts)
    assert named.argmax(axis=1).tolist() == [0, 2, 1, 3]
    assert np.allclose(named.sum(axis=1), 1)
    described = ZeroShot(embed, {"plant/rye": "acorn leaf"}).fit(data)
    assert described.predict_proba(["acorn"]).argmax() == 3
    with pytest.raises(InputError, match=r"unknown label with a description 'plant/ry'; did you mean 'plant/rye'\?"):
        ZeroShot(embed, {"plant/ry": "grain"}).fit(data)


def test_zero_shot_does_not_say_everything(embed, word_rows):
    train = word_rows(200, "multi")
    descriptions = {
        name: train.texts[int(np.flatnonzero(train.labels[:, k])[0])] for k, name in enumerate(train.space.names)
    }
    found = ZeroShot(embed, descriptions).fit(train).predict_proba(train.texts)
    assert ((found >= 0) & (found <= 1)).all()
    assert all(found[has, k].mean() > found[~has, k].mean() for k, has in enumerate(train.labels.T))
    assert (found >= 0.5).mean() < 0.2


@pytest.mark.parametrize("balanced", [False, True])
def test_labels_solved_together_are_what_each_is_alone(balanced: bool) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8))
    gold = features @ rng.normal(size=(8, 5)) + rng.logistic(size=(300, 5)) > 1
    gold[:, 3] = False
    gold[:, 4] = True
    found = Logistic(5, tol=1e-7).fit(features, gold, 0.3, balanced=balanced)
    assert found.converged
    for label in range(3):
        alone = LogisticRegression(C=0.3, class_weight="balanced" if balanced else None, tol=1e-7, max_iter=500)
        alone.fit(features, gold[:, label])
        np.testing.assert_allclose(found.coef[label], alone.coef_[0], atol=1e-4)
        np.testing.assert_allclose(found.intercept[label], alone.intercept_[0], atol=1e-4)
    given = found.predict_proba(features)
    assert given[:, 3].max() < 1e-12
    assert given[:, 4].min() > 1 - 1e-12

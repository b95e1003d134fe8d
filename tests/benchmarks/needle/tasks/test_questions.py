"""Questions about documents: one answer, found in one or two hops, among others that do not hold it."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.needle.tasks.questions import packages

Made = Callable[..., list[Any]]


@pytest.mark.parametrize(("task", "hops"), [("qa_1", 1), ("qa_2", 2)])
def test_the_answer_stands_in_one_document_and_follows_from_the_question(task: str, hops: int, made: Made) -> None:
    for prompt in [*made(task), *made(task, 8192)]:
        _, text, question = prompt.chat[0].split("\n\n")
        documents = text.split("\n")
        assert len(documents) > 10
        assert all(one.startswith(f"Document {number}: ") for number, one in enumerate(documents, start=1))
        (package,) = [one for one in packages() if one.short.rstrip(".") + "?" in question and one.name in text]
        assert prompt.answers == (package.name if hops == 1 else package.source,)
        assert prompt.metric == "any"
        assert sum(prompt.answers[0] in one.lower() for one in documents) == 1
        assert sum(package.name in one.lower() for one in documents) == hops
        assert sum(package.long in one for one in documents) >= 1
        if hops == 2:  # the first document alone does not tell it
            (first,) = [one for one in documents if f"The package {package.name}." in one]
            assert package.source not in first
            assert any(
                one.endswith(f": {package.name} is built from the source package {package.source}.")
                for one in documents
            )


def test_there_are_many_packages_and_each_description_is_of_one() -> None:
    found = packages()
    assert len(found) > 1000
    assert len({one.short.lower() for one in found}) == len({one.name for one in found}) == len(found)


def test_a_long_text_tells_documents_again_but_not_the_answer() -> None:
    import numpy as np

    from benchmarks.needle.tasks.questions import Questions

    sketch = Questions().draw(np.random.default_rng(0), None, None, 10**6)
    assert sketch.items
    documents = sketch.items(len(packages()) + 100)
    assert len(documents) == len(packages()) + 101
    assert sum(sketch.answers[0] in one for one in documents) == 1

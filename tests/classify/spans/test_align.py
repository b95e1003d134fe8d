"""Words and pieces: every word of every text is read once, however long the text, and labels stand where they belong."""

import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from classify.spans.align import IGNORED, labels, windows
from classify.spans.cells import joined, row_of_spans
from classify.spans.config import TokenColumnsConfig
from classify.spans.tagging import UNREAD, fill_unread
from finewise.data.scripts import WORD
from finewise.errors import InputError

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a", "##b", ",", "-"]


def wordpiece(limit: int) -> PreTrainedTokenizerBase:
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(PIECES)}, model_max_length=limit)


def bytelevel(limit: int) -> PreTrainedTokenizerBase:
    """As GPT-2's: the blank before a word belongs to its first piece."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=limit)


TOKENIZERS = {"wordpiece": wordpiece, "bytelevel": bytelevel}
WORDS = st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=30)


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(WORDS, min_size=1, max_size=4), limit=st.integers(8, 20), share=st.floats(0, 0.5))
def test_every_word_is_read_once(kind: str, texts: list[list[str]], limit: int, share: float) -> None:
    tokenizer = TOKENIZERS[kind](limit)
    room = limit - tokenizer.num_special_tokens_to_add()
    rows, words = zip(*(joined(text) for text in texts), strict=True)
    found = windows(tokenizer, rows, words, int(room * share))
    assert found.lost == 0
    assert all(len(ids) <= limit for ids in found.ids)
    for row, text in enumerate(texts):
        mine = [place for place in range(len(found)) if found.rows[place] == row]
        read = np.concatenate([found.words[place][found.first[place]] for place in mine])
        assert read.tolist() == list(range(len(text)))
        pieces = np.concatenate([found.words[place][found.words[place] >= 0] for place in mine])
        assert (np.diff(pieces) >= 0).all()
        # Each letter is a piece, in both: so many are labelled, and none twice.
        assert np.bincount(pieces).tolist() == [len(word) for word in text]
    long = sum(int((found.rows == row).sum()) > 1 for row in range(len(texts)))
    assert found.ledger()["texts_in_several_windows"] == long


def test_labels_on_all_pieces_or_on_the_first() -> None:
    text, words = joined(["ab", "aab", "b"])
    found = windows(wordpiece(20), [text], [words], None)
    tags = [np.array([1, 2, 0])]  # B, I, O
    (every,), (first,) = labels(found, tags, "all"), labels(found, tags, "first")
    assert every.tolist() == [IGNORED, 1, 2, 2, 2, 2, 0, IGNORED]
    assert first.tolist() == [IGNORED, 1, IGNORED, 2, IGNORED, IGNORED, 0, IGNORED]


def test_words_of_a_text_and_a_word_without_a_piece() -> None:
    text = "ab,-  ba \u200d b"
    words = np.array([[0, 2], [2, 3], [3, 4], [6, 8], [9, 10], [11, 12]])
    found = windows(wordpiece(20), [text], [words], None)
    assert found.words[0].tolist() == [-1, 0, 0, 1, 2, 3, 3, 5, -1]
    assert found.lost == 1


def test_an_overlap_of_more_than_half_is_refused() -> None:
    text, words = joined(["a"])
    with pytest.raises(InputError, match=r"windows\.overlap must be at most 5"):
        windows(wordpiece(12), [text], [words], 6)


@pytest.mark.parametrize("text", ["Thé noir", "हिन्दी भाषा", "東京タワー", "Việt Nam", "\u0301x ок", ""])
def test_both_normal_forms_have_the_same_words_and_are_read_alike(text: str) -> None:
    read, cut = [], []
    for form in ("NFC", "NFD"):
        given_ = unicodedata.normalize(form, text)
        row, _ = row_of_spans(1, given_, [], TokenColumnsConfig())
        cut.append([unicodedata.normalize("NFC", given_[start:end]) for start, end in row.words.tolist()])
        found = windows(bytelevel(200), [given_], [row.words], None)
        assert found.lost == 0
        read.append((found.ids[0].tolist(), found.words[0].tolist()))
    assert cut[0] == cut[1]
    assert "".join(cut[0]) == "".join(unicodedata.normalize("NFC", text).split())
    assert read[0] == read[1]


def test_marks_belong_to_their_letters_and_signs_stand_alone() -> None:
    words = [match.group() for match in WORD.finditer("The\u0301, हिन्दी 東京が ภาษา a_1!?")]
    assert words == ["The\u0301", ",", "हिन्दी", "東", "京", "が", "ภ", "า", "ษ", "า", "a_1", "!", "?"]


def test_a_word_that_was_not_read_goes_on_with_its_span() -> None:
    tags = np.array([UNREAD, 3, UNREAD, UNREAD, 4, UNREAD, 1, UNREAD, 4, UNREAD])
    fill_unread(tags)
    assert tags.tolist() == [0, 3, 4, 4, 4, 0, 1, 0, 4, 0]

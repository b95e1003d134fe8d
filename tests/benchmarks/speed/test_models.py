from pathlib import Path

import pytest


def test_a_random_modernbert_computes_what_it_should(tmp_path: Path) -> None:
    from benchmarks.speed.models import build_modernbert, library_model, our_model

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    folder = build_modernbert(tmp_path / "small", max_position_embeddings=128, **sizes)
    texts = ["a short text", "a much longer text about nothing in particular, again and again " * 5]
    plain, ours = library_model(str(folder), "cpu", 512), our_model(str(folder), "cpu", 128)
    assert plain.max_seq_length == 128
    assert ours.encode(texts) == pytest.approx(plain.encode(texts), abs=1e-5)


def test_long_texts_are_long_tailed() -> None:
    from statistics import mean, median

    from benchmarks.speed.models import pairs

    short, long = (pairs(64, kind)[1] for kind in ("debian", "long"))
    lengths = [len(text) for text in long]
    assert mean(lengths) > 4 * mean(len(text) for text in short)
    assert mean(lengths) > 1.3 * median(lengths)

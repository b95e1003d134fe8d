"""How far a model reads: the longest length up to which its score holds."""

from benchmarks.by_length import ByLength


def effective_length(result: ByLength, *, threshold: float) -> int | None:
    """Return the longest length with a mean score of at least the threshold there and at all shorter lengths; None if none.

    RULER's rule (Hsieh et al. 2024, arXiv 2404.06654, section 4), with 85.6%, Llama-2-7B's score at 4K, as the threshold.

    Args:
        result: Scores that are better when higher.
        threshold: Of the mean score.
    """
    reached = None
    for length in result.read():
        if result.mean(length) < threshold:
            break
        reached = length
    return reached


def relative_effective_length(result: ByLength, base: float, share: float = 0.85) -> int | None:
    """Return the same with a share of the model's own base score as the threshold; None for a base score of 0.

    NoLiMa's rule (Modarressi et al. 2025, arXiv 2502.05167, section 4): the form for small models, which do not reach RULER's
    threshold at any length.

    Args:
        result: As above.
        base: What the model scores where length is no difficulty, such as the best of its short lengths.
        share: Of the base.
    """
    return effective_length(result, threshold=share * base) if base > 0 else None

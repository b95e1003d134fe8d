import math

from benchmarks.speed.agreement import agree


def test_differences_are_relative_to_the_base_or_not() -> None:
    (near,) = agree("loss", {"plain": 2.0, "ours": 2.02}, base="plain", tolerance=0.02)
    assert near.ok
    assert math.isclose(near.difference, 0.01)
    (far,) = agree("nDCG", {"plain": 0.5, "ours": 0.52}, base="plain", tolerance=0.01, relative=False)
    assert not far.ok
    assert math.isclose(far.difference, 0.02)


def test_what_is_no_number_never_agrees() -> None:
    for value in (math.nan, math.inf):
        (found,) = agree("loss", {"plain": 1.0, "ours": value}, base="plain", tolerance=1e9)
        assert not found.ok
    (found,) = agree("loss", {"plain": math.nan, "ours": math.nan}, base="plain", tolerance=1.0)
    assert not found.ok


def test_a_base_of_zero_is_compared_as_it_is() -> None:
    (found,) = agree("loss", {"plain": 0.0, "ours": 1e-9}, base="plain", tolerance=1e-6)
    assert found.ok


def test_a_finding_tells_both_values_and_the_bound() -> None:
    (found,) = agree("loss", {"plain": 1.0, "ours": 3.0}, base="plain", tolerance=1e-5)
    assert str(found) == "loss: ours 3, plain 1, relative difference 2.0e+00 NOT <= 1e-05"

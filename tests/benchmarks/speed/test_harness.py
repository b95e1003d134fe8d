import math

import pytest

from benchmarks.speed.harness import Result, Round, Side, alternate, timed


def sides(seconds: dict[str, list[float]], seen: list[tuple[str, int]]) -> list[Side]:
    """Sides whose rounds take what the lists say, beginning with the warm-up."""

    def side(name: str) -> Side:
        def run(number: int) -> Round:
            seen.append((name, number))
            return Round(seconds=seconds[name][number], items=10, tokens=100, flop=1e3)

        return Side(name=name, run=run)

    return [side(name) for name in seconds]


def test_the_order_turns_around_and_all_sides_get_the_same_numbers() -> None:
    seen: list[tuple[str, int]] = []
    alternate(sides({"a": [1.0] * 4, "b": [1.0] * 4}, seen), 3, "cpu", title="t")
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2), ("a", 3), ("b", 3)]


def test_the_warm_up_is_in_no_median() -> None:
    slow, fast = alternate(sides({"a": [99.0, 4.0, 8.0, 6.0], "b": [99.0, 2.0, 2.0, 3.0]}, []), 3, "cpu", title="t")
    assert (slow.seconds, fast.seconds) == (6.0, 2.0)
    assert fast.rate("items") == 5.0
    assert fast.rate("tokens") == 50.0
    assert fast.ratios(slow) == [2.0, 4.0, 2.0]  # round by round, not median by median


def test_what_is_not_counted_has_no_rate() -> None:
    result = Result(name="a", precision="fp32", rounds=[Round(seconds=1.0, items=1)], warm_up=0.0, memory=None)
    assert math.isnan(result.rate("tokens"))
    assert math.isnan(result.rate("flop"))


def test_a_side_with_a_longer_warm_up_still_has_the_texts_of_the_others() -> None:
    seen: list[tuple[str, int]] = []
    one, two = sides({"a": [1.0] * 9, "b": [1.0] * 9}, seen)
    alternate([one, Side(name="b", run=two.run, warm_up=3)], 2, "cpu", title="t")
    assert [number for name, number in seen if name == "a"] == [0, 3, 4]
    assert [number for name, number in seen if name == "b"] == [0, 1, 2, 3, 4]


def test_a_side_is_prepared_just_before_it_warms_up() -> None:
    events: list[str] = []

    def side(name: str) -> Side:
        def run(number: int) -> Round:
            events.append(f"{name}{number}")
            return Round(seconds=1.0, items=1)

        return Side(name=name, run=run, prepare=lambda: events.append(f"prepare {name}"))

    alternate([side("a"), side("b")], 1, "cpu", title="t")
    assert events == ["prepare a", "a0", "prepare b", "b0", "a1", "b1"]


def test_an_optional_side_that_fails_is_left_out_loudly(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(number: int) -> Round:
        raise RuntimeError("no such kernel\nand much more")

    (good,) = sides({"a": [1.0] * 3}, [])
    results = alternate([good, Side(name="b", run=broken, optional=True)], 2, "cpu", title="t")
    assert [result.name for result in results] == ["a"]
    assert "b is left out, it fails: RuntimeError: no such kernel" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="no such kernel"):
        alternate([good, Side(name="b", run=broken)], 2, "cpu", title="t")


def test_the_clock_runs_only_inside_its_block() -> None:
    with timed("cpu") as clock:
        assert math.isnan(clock.seconds)
    before = clock.seconds
    assert 0 <= before < 60
    assert clock.seconds == before

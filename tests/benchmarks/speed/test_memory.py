import sys

import numpy as np
import pytest

from benchmarks.speed.memory import PeakMemory, give_back


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_peak_is_that_of_the_stretch_and_not_of_what_was_before() -> None:
    size = 200_000_000
    before = np.ones(size, np.uint8)
    del before
    give_back()
    peak = PeakMemory("cpu")
    peak.start()
    quiet = peak.stop()
    if quiet is None:
        pytest.skip("this system does not let the peak be reset")
    peak.start()
    inside = np.ones(size, np.uint8)
    del inside
    grown = peak.stop()
    assert grown is not None
    assert quiet < size / 2 < grown < 2 * size


def test_a_peak_that_was_not_begun_is_unknown() -> None:
    assert PeakMemory("cpu").stop() is None

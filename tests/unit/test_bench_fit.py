"""The benchmark's straight line: found where there is one, and honest where there is none."""

import pytest

from bench.fit import Line


def test_points_on_a_line_give_the_line() -> None:
    line = Line.through((0, 1, 4), (3, 5, 11))
    assert (line.slope, line.start) == pytest.approx((2, 3))
    assert line.r_squared == pytest.approx(1)


def test_points_that_bend_fit_less_well() -> None:
    xs = range(1, 11)
    assert Line.through(xs, [x**2 for x in xs]).r_squared == pytest.approx(0.950, abs=1e-3)
    assert Line.through(xs, [(-1) ** x for x in xs]).r_squared < 0.1


@pytest.mark.parametrize(("xs", "ys"), [((1, 1), (2, 3)), ((1, 2), (4, 4))])
def test_points_that_no_line_explains_are_refused(
    xs: tuple[float, ...], ys: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="two points"):
        Line.through(xs, ys)

"""The pauses between attempts, as numbers: no client, no clock."""

from __future__ import annotations

import pytest

from restsock import Backoff
from restsock.client._redial import Redial


def redial(chance: float = 1.0, **options: object) -> Redial:
    return Redial(Backoff(**options), lambda: chance)  # type: ignore[arg-type]


def attempts(pauses: Redial, start: float, seconds: float) -> list[float]:
    """When it dials, in that time."""
    now, times = start, []
    while (pause := pauses.pause(now) or 0.0) + now < start + seconds:
        now += pause
        pauses.begin(now)
        times.append(now - start)
    return times


def test_the_first_attempt_has_no_pause() -> None:
    pauses = redial()
    assert pauses.pause(0.0) is None
    pauses.begin(0.0)
    assert pauses.pause(0.0) == 1.0


@pytest.mark.parametrize("code", [1001, 1012])
@pytest.mark.parametrize("initial", [0.2, 1.0, 5.0])
def test_half_a_minute_of_short_pauses_after_a_restart(code: int, initial: float) -> None:
    pauses = redial(initial=initial)
    pauses.begin(0.0)
    pauses.end(100.0, 100.0, code)
    times = attempts(pauses, 100.0, 90.0)
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    within = [gap for gap, at in zip(gaps, times, strict=True) if at <= 30.0]
    assert max(within) <= 1.0
    assert 29 <= len(within) <= 35
    # And then they grow, from there on.
    assert gaps[len(within) :] == sorted(gaps[len(within) :])
    assert gaps[-1] > 8.0


@pytest.mark.parametrize("code", [1006, 1011, 1013, 4003])
def test_none_after_other_ends(code: int) -> None:
    pauses = redial()
    pauses.begin(0.0)
    pauses.end(100.0, 100.0, code)
    assert attempts(pauses, 100.0, 31.0) == [1.0, 3.0, 7.0, 15.0]


def test_the_jitter_stays() -> None:
    pauses = redial(chance=0.25)
    pauses.begin(0.0)
    pauses.end(100.0, 100.0, 1001)
    assert [pauses.pause(100.0 + second) for second in range(30)] == [0.25] * 30


def test_a_listener_that_restarts_at_once_and_again_gets_no_more_than_that() -> None:
    """It accepts, and says 1001 a moment later: it is as good as away."""
    pauses = redial()
    now, times = 0.0, []
    while now < 300.0:
        pauses.begin(now)
        times.append(now)
        pauses.end(now, 0.0, 1001)
        now += pauses.pause(now) or 0.0
    assert len([at for at in times if at > 30.0]) < 10
    # One that lasts makes it as good as new.
    pauses.end(now + 100.0, 100.0, 1001)
    assert attempts(pauses, now + 100.0, 3.5) == [1.0, 2.0, 3.0]


def test_it_can_be_turned_off() -> None:
    pauses = redial(restart=0)
    pauses.begin(0.0)
    pauses.end(100.0, 100.0, 1001)
    assert attempts(pauses, 100.0, 8.0) == [1.0, 3.0, 7.0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"restart": -1}, "Backoff.restart must be 0 or more"),
        ({"restart": float("inf")}, "Backoff.restart must be 0 or more"),
        ({"give_up": "always"}, 'Backoff.give_up must be "refused", "first" or "never"'),
    ],
)
def test_options_are_checked(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        redial(**options)  # type: ignore[arg-type]

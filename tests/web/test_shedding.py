"""When the event loop's lag closes the door, and when it opens again."""

from __future__ import annotations

import pytest

from gateway.core.errors import Overloaded
from gateway.web.shedding import Shedder
from gateway.web.streams import Streams

INTERVAL = 0.25


@pytest.fixture
def streams():
    return Streams(10)


def _feel(shedder: Shedder, *lags: float) -> None:
    for lag in lags:
        shedder.woke(lag)


def test_a_loop_that_keeps_up_sheds_nothing(streams):
    _feel(Shedder(streams, 0.1, INTERVAL), *[0.001] * 100)
    streams.enter()


@pytest.mark.parametrize("pause", [0.2, 1.0, 60.0])
def test_one_pause_sheds_nothing_however_long(streams, pause):
    """A stopped machine: all that came meanwhile is served as soon as it goes on."""
    _feel(Shedder(streams, 0.1, INTERVAL), 0.001, 0.001, pause)
    assert not streams.full


def test_lag_that_lasts_refuses_what_is_new_and_says_why(streams):
    streams.enter()
    _feel(Shedder(streams, 0.1, INTERVAL), *[0.2] * 8)
    with pytest.raises(Overloaded) as refused:
        streams.enter()
    assert (refused.value.limit, refused.value.retry_after) == ("server.max_loop_lag", 1.0)
    assert len(streams) == 1


def test_lag_below_the_limit_sheds_nothing_however_long_it_lasts(streams):
    _feel(Shedder(streams, 0.1, INTERVAL), *[0.09] * 1000)
    assert not streams.full


def test_shedding_ends_below_half_of_the_limit_and_not_before(streams):
    shedder = Shedder(streams, 0.1, INTERVAL)
    _feel(shedder, *[0.2] * 20)
    _feel(shedder, *[0.07] * 1000)
    assert streams.full
    _feel(shedder, *[0.0] * 20)
    assert not streams.full
    _feel(shedder, *[0.07] * 1000)
    assert not streams.full


def test_the_mean_goes_by_time_so_that_a_loop_that_wakes_seldom_is_noticed_as_soon(streams):
    """Samples every 10 ms that come only every 500 ms: two seconds of it are enough."""
    _feel(Shedder(streams, 0.1, 0.01), *[0.5] * 4)
    assert streams.full


def test_no_limit_never_sheds(streams):
    _feel(Shedder(streams, 0.0, INTERVAL), *[10.0] * 1000)
    assert not streams.full


def test_the_limit_of_requests_in_flight_holds_after_shedding_as_before(streams):
    streams.shed(active=True)
    streams.shed(active=False)
    for _ in range(10):
        streams.enter()
    with pytest.raises(Overloaded) as refused:
        streams.enter()
    assert refused.value.limit == "server.max_streams"

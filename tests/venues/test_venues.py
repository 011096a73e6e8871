from __future__ import annotations

import pytest

from bookreel import venues
from bookreel.venues.errors import VenueError
from bookreel.venues.huobi.topics import FEEDS


def test_huobi_is_found_by_name() -> None:
    venue = venues.get("huobi")
    assert venue.name == "huobi" and venues.names() == ["futu", "huobi"]
    assert venues.get("futu").name == "futu"


def test_an_unknown_venue_names_near_ones() -> None:
    with pytest.raises(venues.UnknownVenue, match="did you mean huobi") as caught:
        venues.get("Huobbi")
    assert isinstance(caught.value, VenueError)
    with pytest.raises(venues.UnknownVenue, match="known: futu, huobi"):
        venues.get("binance")


def test_only_a_venue_that_takes_requests_over_its_socket_has_a_dialect() -> None:
    assert venues.dialect("huobi").name == "huobi"
    with pytest.raises(venues.UnknownVenue, match="unknown venue 'futu'; known: huobi"):
        venues.dialect("futu")


def test_the_venue_answers_what_a_session_asks() -> None:
    venue = venues.dialect("huobi")
    book, trades, bbo = (venue.topic("btcusdt", feed) for feed in ("mbp.150", "trade", "bbo"))
    assert [venue.path(topic) for topic in (book, trades, bbo)] == ["/feed", "/ws", "/ws"]
    assert [venue.req_supported(topic) for topic in (book, trades, bbo)] == [True, True, False]
    assert venue.min_req_interval_ns == 100_000_000
    assert venue.symbols_path == "/v1/common/symbols"
    assert list(venue.feeds()) == list(FEEDS)
    assert venue.parse_topic(book.text) == book
    assert venue.sub(book, 1) == b'{"sub":"market.btcusdt.mbp.150","id":1}'

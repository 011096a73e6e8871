from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bookreel.ingest.config import RecordConfig
from bookreel.ingest.plan import plan
from bookreel.venues.huobi import Huobi
from bookreel.venues.message import Topic

VENUE = Huobi()


def topics(symbols: int, *feeds: str) -> list[Topic]:
    return [VENUE.topic(f"s{number}usdt", feed) for number in range(symbols) for feed in feeds]


def test_books_go_to_feed_and_the_rest_to_ws() -> None:
    config = RecordConfig(ws_url="ws://a/ws", feed_url="ws://a/feed")
    lines = plan(topics(2, "mbp.150", "bbo", "mbp.refresh.20", "trade"), config, VENUE)
    assert [(line.name, line.url) for line in lines] == [("feed-0", "ws://a/feed"), ("ws-0", "ws://a/ws")]
    assert {topic.feed for topic in lines[0].topics} == {"mbp.150"}
    assert {topic.feed for topic in lines[1].topics} == {"bbo", "mbp.refresh.20", "trade.detail"}


def test_a_symbols_topics_stay_together() -> None:
    lines = plan(
        topics(40, "bbo", "trade", "detail", "ticker"), RecordConfig(topics_per_connection=50), VENUE
    )
    home: dict[str, set[str]] = {}
    for line in lines:
        for topic in line.topics:
            home.setdefault(topic.symbol, set()).add(line.name)
    assert all(len(names) == 1 for names in home.values())


def test_lines_made_later_get_new_names() -> None:
    lines = plan(topics(1, "mbp.150", "bbo"), RecordConfig(), VENUE, used={"feed": 2, "ws": 1})
    assert [line.name for line in lines] == ["feed-2", "ws-1"]


def test_no_topics_no_lines() -> None:
    assert plan([], RecordConfig(), VENUE) == []


@given(st.integers(1, 120), st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))
def test_every_topic_once_within_the_limits(symbols: int, feeds: int, books: int, others: int) -> None:
    wanted = topics(symbols, "mbp.150", *["bbo", "trade", "detail", "ticker"][:feeds])
    config = RecordConfig(books_per_connection=books, topics_per_connection=others)
    lines = plan(wanted, config, VENUE)
    assert sorted(topic.text for line in lines for topic in line.topics) == sorted(
        topic.text for topic in wanted
    )
    assert len({line.name for line in lines}) == len(lines)
    for line in lines:
        limit = books if line.name.startswith("feed") else others
        assert 1 <= len(line.topics) <= limit
    # A connection costs the venue: no more of them than needed, but for keeping symbols together.
    assert sum(line.name.startswith("feed") for line in lines) == -(-symbols // books)


def test_the_load_is_spread_evenly() -> None:
    lines = plan(topics(21, "mbp.150"), RecordConfig(books_per_connection=20), VENUE)
    assert sorted(len(line.topics) for line in lines) == [10, 11]

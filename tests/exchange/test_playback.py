"""An archive is played by the venue's own protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiohttp
import pytest

from bookreel.exchange import NothingRecorded, Recording
from bookreel.exchange.feeds import parse_topic
from bookreel.exchange.playback import Playback
from bookreel.exchange.recorded import BookImage, RecordedBook
from bookreel.replay import Archive, NoSuchSymbol
from tests.exchange.again import again, assert_equal, play, record
from tests.exchange.tape import MBP, MINUTE, SMALL, T0, Projector, ns

Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Any]]


def test_frames_come_at_their_time_with_their_text(project: Callable[..., Projector]) -> None:
    projector = project()
    texts = [(f"market.btcusdt.{feed}", raw) for feed, (_, raw) in zip(FEEDS_OF_SMALL, SMALL, strict=True)]
    pushes = [item for item, (_, raw) in zip(texts, SMALL, strict=True) if raw.startswith('{"ch"')]
    everything = {topic for topic, _ in pushes}
    assert projector.until(1.4, *everything) == pushes[:2]
    assert projector.until(4.2) == pushes[2:8]
    assert projector.playback.venue_ns() == ns(4.2)
    assert projector.until(60.0) == pushes[8:]
    assert projector.playback.ended


FEEDS_OF_SMALL: Final = (
    *(
        "mbp.150",
        "mbp.150",
        "mbp.150",
        "trade.detail",
        "kline.1min",
        "kline.1min",
        "trade.detail",
        "kline.1min",
    ),
    *("detail", "bbo", "mbp.150", "mbp.150", "mbp.150", "depth.step0"),
)


def test_what_is_due_at_an_instant_comes_at_it(project: Callable[..., Projector]) -> None:
    projector = project()
    projector.playback.open(MBP, projector.now)
    assert projector.playback.venue_ns() == ns(0.0)
    assert [topic for topic, _ in projector.playback.advance(projector.now)] == [MBP.text]


def test_requests_are_answered_as_of_the_clock(project: Callable[..., Projector]) -> None:
    projector = project()
    projector.until(2.2)
    assert [b["close"] for b in projector.ask("kline.1min")] == [100.5]
    assert projector.ask("detail") is None
    projector.until(3.2)
    assert [b["close"] for b in projector.ask("kline.1min")] == [101.5]
    assert [t["tradeId"] for t in projector.ask("trade.detail")] == [1, 2]
    assert projector.ask("trade.detail")[0]["id"] == 10**24 + 1
    projector.until(5.0)
    assert [b["id"] for b in projector.ask("kline.1min")] == [MINUTE, MINUTE + 60]
    assert [b["id"] for b in projector.ask("kline.1min", MINUTE + 1)] == [MINUTE + 60]
    assert projector.ask("detail")["close"] == 100.25
    page = projector.page()
    assert [json.loads(b)["close"] for b in page.bars("5min", 0, 2**40, 10)] == [101.75]
    assert json.loads(page.bars("5min", 0, 2**40, 10)[0])["count"] == 6
    assert [json.loads(t)["data"][0]["trade-id"] for t in page.trades(5)] == [2, 1]
    assert page.day() == (
        7,
        {"open": 90.0, "high": 110.0, "low": 80.0, "close": 100.25}
        | {"amount": 5.5, "vol": 550.0, "count": 12},
    )
    assert page.best() == (99.0, 2.0, 101.25, 3.0)


def test_a_book_is_given_inside_its_chain_only(project: Callable[..., Projector]) -> None:
    projector = project()
    feed = projector.playback.feed(MBP)
    assert isinstance(feed, RecordedBook)
    given: list[BookImage] = []
    projector.until(0.05)
    feed.ask(1, None, given.append)
    assert not given, "the recorder has no book yet"
    projector.until(0.5)
    assert [image.seq for image in given] == [100]
    projector.until(5.0)
    assert projector.book() == (105, [(99.0, 2.0)], [(101.25, 3.0), (101.5, 1.0)])
    assert json.loads(projector.page().depth(0, 1)) == (
        {"bids": [[99.0, 2.0]], "asks": [[101.25, 3.0]], "version": 105, "ts": (T0 + 1) * 1000}
    )
    projector.until(10.1)
    assert projector.book() is None and projector.page().depth(0, 5) is None
    feed.ask(1, None, given.append)
    feed.ask(1, None, given.append)
    assert len(given) == 1
    projector.until(10.5)
    assert [image.seq for image in given] == [100, 110]
    projector.until(12.5)
    assert projector.book() == (111, [(99.25, 7.0), (99.0, 2.0), (98.0, 4.0)], [(101.25, 3.0)])
    assert json.loads(projector.page().depth(0, 1))["bids"] == [[99.25, 7.0]]


@pytest.mark.parametrize("at", [0.5, 3.1, 5.0, 10.1, 11.5])
def test_begun_later_it_knows_what_it_would_know(
    project: Callable[..., Projector], small: Path, at: float
) -> None:
    whole, later = project(), project(start=ns(at))
    whole.until(at)
    later.until(at)
    with Archive(small) as archive:
        book = archive.book("btcusdt", ns(at))
    # Inside the hole nobody can say what the book was; whoever followed it goes on with the last one known.
    assert later.book() == (whole.book() if book.valid else None)
    for feed in ("kline.1min", "detail", "bbo", "depth.step0"):
        assert later.ask(feed) == whole.ask(feed), feed
    assert [t["tradeId"] for t in later.ask("trade.detail")] == [
        t["tradeId"] for t in whole.ask("trade.detail")
    ]
    topics = {f"market.btcusdt.{feed}" for feed in FEEDS_OF_SMALL}
    assert later.until(60.0, *topics) == whole.until(60.0, *topics)


def test_begun_before_the_archive_it_begins_with_it(project: Callable[..., Projector]) -> None:
    early = project(start=ns(-86_400.0))
    assert early.playback.venue_ns() == ns(0.0)
    topics = {f"market.btcusdt.{feed}" for feed in FEEDS_OF_SMALL}
    assert early.until(60.0, *topics) == project().until(60.0, *topics)


def test_without_a_pace_the_question_after_a_hole_is_waited_for(project: Callable[..., Projector]) -> None:
    projector = project(speed=None)
    playback = projector.playback
    playback.open(MBP, projector.now)
    seqs = []

    def turn() -> None:
        for _, frame in playback.advance(projector.now):
            assert frame is not None
            seqs.append(json.loads(frame.text)["tick"]["seqNum"])

    turn()
    assert seqs == [100], "of the first book, too"
    feed = playback.feed(MBP)
    assert isinstance(feed, RecordedBook)
    given: list[BookImage] = []
    projector.now += 1_999_999_999
    turn()
    assert seqs == [100] and not playback.ended
    feed.ask(1, None, given.append)
    turn()
    assert seqs == [100, 105, 110]
    projector.now += 2_000_000_000
    turn()
    assert seqs == [100, 105, 110, 111], "but not for ever"
    assert [image.seq for image in given] == [100]


def test_a_hole_is_a_broken_chain_or_the_end_of_connections(project: Callable[..., Projector]) -> None:
    broken = project().until(60.0, MBP.text)
    chain = [json.loads(text or "")["tick"] for _, text in broken]
    assert [(tick["prevSeqNum"], tick["seqNum"]) for tick in chain] == [
        (99, 100),
        (100, 105),
        (109, 110),
        (110, 111),
    ]
    ended = project(gaps="disconnect").until(60.0, MBP.text, "market.btcusdt.bbo")
    assert [text for topic, text in ended if topic == MBP.text] == [
        *(text for _, text in broken[:2]),
        None,
        *(text for _, text in broken[2:]),
    ]
    assert ended.index((MBP.text, None)) == 2, "where the hole begins, not where it ends"


def test_without_a_pace_who_was_cut_off_at_a_hole_is_waited_for(project: Callable[..., Projector]) -> None:
    projector = project(gaps="disconnect", speed=None)
    playback, bbo = projector.playback, parse_topic("market.btcusdt.bbo")
    assert bbo is not None
    for topic in (MBP, bbo):
        playback.open(topic, projector.now)
    seen: list[tuple[str, Any]] = []
    while (MBP.text, None) not in seen:
        projector.now += 2_000_000_000  # nobody asks for the book
        seen += playback.advance(projector.now)
    assert [topic for topic, _ in seen] == [MBP.text] * 3, "nothing after it in that turn"
    playback.close(MBP)
    feed = playback.open(MBP, projector.now)
    assert isinstance(feed, RecordedBook)
    assert not list(playback.advance(projector.now)), "the question for the book comes first"
    given: list[BookImage] = []
    feed.ask(1, None, given.append)
    assert [topic for topic, _ in playback.advance(projector.now)] == [bbo.text, MBP.text]
    assert [image.seq for image in given] == [105]


def test_time_stands_while_nobody_is_subscribed(project: Callable[..., Projector]) -> None:
    projector = project(wait_s=1.0)
    projector.now += 10**12
    assert not list(projector.playback.advance(projector.now))
    projector.playback.open(MBP, projector.now)
    projector.now += 999_999_999
    assert not list(projector.playback.advance(projector.now)) and projector.playback.venue_ns() == ns(0.0)
    projector.now += 1
    assert len(projector.until(1.4)) == 2
    projector.playback.close(MBP)
    stood = projector.playback.venue_ns()
    projector.now += 10**12
    assert not list(projector.playback.advance(projector.now)) and projector.playback.venue_ns() == stood
    projector.playback.open(MBP, projector.now)
    projector.now += 10**9
    assert len(projector.until(10.1)) == 1


def test_what_was_not_recorded_is_refused_in_the_venues_words(project: Callable[..., Projector]) -> None:
    playback = project().playback
    for text, why in (
        ("market.btcusdt.mbp.150", None),
        ("market.btcusdt.mbp.20", "invalid topic market.btcusdt.mbp.20"),
        ("market.ethusdt.bbo", "invalid symbol ethusdt"),
    ):
        topic = parse_topic(text)
        assert topic is not None and playback.refusal(topic) == why


def test_without_reference_data_a_symbol_is_told_from_its_name(project: Callable[..., Projector]) -> None:
    playback = project().playback
    [entry] = map(json.loads, playback.reference())
    assert entry == {
        "base-currency": "btc",
        "quote-currency": "usdt",
        "price-precision": 2,
        "amount-precision": 1,
        "symbol-partition": "main",
        "symbol": "btcusdt",
        "state": "online",
    }
    assert list(playback.currencies()) == ["usdt", "btc"]
    assert [note.startswith("the archive has no reference data of btcusdt") for note in playback.notes] == [
        True
    ]


def test_an_archive_without_the_symbols_or_times_is_refused(small: Path) -> None:
    with pytest.raises(NoSuchSymbol, match="did you mean btcusdt"):
        Playback(Recording(archive=small, symbols=("btcusdx",)), lambda: 0)
    with pytest.raises(NothingRecorded, match="nothing of these symbols and times"):
        Playback(Recording(archive=small, start=ns(60.0)), lambda: 0)


# Over sockets


def test_a_client_is_served_as_by_the_venue(connect: Connect, small: Path) -> None:
    """Sub, sync by a request, the last message after an ack, REST of the same moment, and a goodbye at the end."""

    async def main() -> None:
        async with play(small, wait_s=0.1) as ex, connect(ex.feed_url) as books, connect(ex.ws_url) as others:
            assert (await books.sub(MBP.text))["status"] == "ok"
            assert (await others.sub("market.btcusdt.trade.detail"))["subbed"].endswith("trade.detail")
            await books.say(req=MBP.text, id="r")
            answer = await books.wait(lambda f: f.get("rep"))
            assert answer["id"] == "r" and answer["ts"] == (T0 * 1000) + 100
            assert answer["data"]["seqNum"] == 100 and answer["data"]["bids"] == [[99.5, 1.0], [99.0, 2.0]]
            await others.push("market.btcusdt.trade.detail")
            await others.push("market.btcusdt.trade.detail")
            await others.sub("market.btcusdt.trade.detail", 2)
            resent = await others.push("market.btcusdt.trade.detail")
            assert resent["tick"]["id"] == 2
            async with aiohttp.ClientSession(ex.rest_url) as session:
                async with session.get("/v1/common/timestamp") as page:
                    assert T0 * 1000 < (await page.json())["data"] < (T0 + 12) * 1000
                async with session.get(
                    "/market/depth", params={"symbol": "btcusdt", "type": "step3"}
                ) as page:
                    refused = await page.json()
                    assert (refused["status"], refused["err-msg"]) == ("error", "no data")
            while await books.hear() is not None:
                pass
            assert books.closed == (1001, "the recording has ended")
            assert [f["tick"]["seqNum"] for f in books.frames if "tick" in f] == [100, 105, 110, 111]
            while await others.hear() is not None:
                pass
            await ex.ended()

    asyncio.run(main())


def test_a_hole_ends_connections_and_a_recorder_says_so(tmp_path: Path, small: Path) -> None:
    again(
        small, tmp_path / "b", ("btcusdt",), ("mbp.150", "bbo", "trade.detail"), gaps="disconnect", speed=4.0
    )
    with Archive(tmp_path / "b") as archive:
        gaps = archive.sql("SELECT feed, cause, last_seq FROM gaps WHERE last_seq = 105").fetchall()
        assert ("mbp.150", "disconnect", 105) in gaps


def test_without_a_pace_who_comes_back_misses_nothing(tmp_path: Path, small: Path) -> None:
    feeds = ("mbp.150", "bbo", "trade.detail", "kline.1min", "detail", "depth.step0")
    again(small, tmp_path / "b", ("btcusdt",), feeds, gaps="disconnect", speed=None)
    with Archive(tmp_path / "b") as archive:
        lost = archive.sql(
            "SELECT last_seq FROM gaps WHERE cause = 'disconnect' AND last_seq = 105"
        ).fetchall()
        assert lost, "it was cut off"
    assert_equal(small, tmp_path / "b", "book_deltas", "bbo", "trades", "klines", "tickers")


def test_a_hole_breaks_the_chain_and_a_recorder_says_so(tmp_path: Path, small: Path) -> None:
    again(small, tmp_path / "b", ("btcusdt",), ("mbp.150", "depth.step0"))
    holes = []
    for path in (small, tmp_path / "b"):
        with Archive(path) as archive:
            found = archive.sql("SELECT feed, cause, last_seq, next_seq FROM gaps WHERE next_seq IS NOT NULL")
            holes.append(found.fetchall())
    assert holes[0] == holes[1] == [("mbp.150", "seq_gap", 105, 110)]
    assert_equal(small, tmp_path / "b", "book_deltas", "book_snapshots")


def test_faults_are_inflicted_on_what_is_played(tmp_path: Path, recorded: Path) -> None:
    async def main() -> None:
        async with play(recorded, wait_s=0.6, speed=2.0) as exchange:
            exchange.inflict("lost_delta", "market.btcusdt.mbp.5")
            await record(exchange, tmp_path / "b", lambda _: exchange.ended(), ("mbp.5",), ("btcusdt",))
            assert exchange.inflicted == {"lost_delta": 1}

    asyncio.run(main())
    with Archive(tmp_path / "b") as archive:
        assert ("seq_gap",) in archive.sql("SELECT cause FROM gaps").fetchall()

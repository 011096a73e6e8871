"""A gateway of an archive, in a time of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bookreel.exchange import NothingRecorded, Recording
from bookreel.exchange.errors import OtherVenue
from bookreel.exchange.futu.client import Client
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.playback import RecordedGateway
from bookreel.ingest.clock import SystemClock
from bookreel.replay import Archive, NoSuchSymbol
from bookreel.storage.journal import Journal
from bookreel.venues.futu import decode
from bookreel.venues.futu.model import Bar, OrderBook, Push, Quote, Tick
from bookreel.venues.futu.replies import Events, Reply, read
from bookreel.venues.futu.requests import Call, call, subscribe
from tests.exchange.futu.shelf import FEEDS, START_NS, SYMBOLS, Shelf, shelve

_SECOND: Final = 1_000_000_000
HALF: Final = START_NS + 20 * _SECOND
"""After what was asked for once was answered."""


class Player:
    """A replay whose time goes on when it is told to; it waits for what is read beside."""

    def __init__(self, archive: Path, config: dict[str, Any], **recording: Any) -> None:
        self.ns = 0
        recorded = Recording(archive=archive, **{"speed": 1.0, **recording})
        self.gateway = RecordedGateway(GatewayConfig(recording=recorded, **config), self)
        self.gateway.tick()

    def wall_ns(self) -> int:
        return self.ns

    def mono_ns(self) -> int:
        return self.ns

    def join(self) -> Client:
        return self.gateway.join(lambda: None)

    def run(self, seconds: float, *, step_s: float = 0.25) -> None:
        for _ in range(round(seconds / step_s)):
            self.ns += int(step_s * 1e9)
            self.gateway.tick()
            while self.gateway.behind or self._reads():
                self.gateway.tick()

    def _reads(self) -> bool:
        """Whether the next page is not there yet."""
        cursor = self.gateway._cursor
        if cursor.ended or cursor.head() is not None:
            return False
        time.sleep(0.001)
        return cursor.head() is not None

    def ask(self, request: Call) -> Reply:
        status, body = self.gateway.answer(request.method, request.path, None, request.body or b"")
        return read(request, status, body)

    def events(self, name: str, **fields: Any) -> list[Any]:
        reply = self.ask(call(name, **fields))
        assert isinstance(reply, Events)
        return reply.events

    def refusal(self, name: str, **fields: Any) -> str:
        request = call(name, **fields)
        status, body = self.gateway.answer(request.method, request.path, None, request.body or b"")
        told = json.loads(body)
        assert (status, told["s2c"]) == (200, None) and told["ret_type"] < 0
        return str(told["ret_msg"])

    def subscribe(self, feeds: tuple[str, ...] = FEEDS, symbols: tuple[str, ...] = SYMBOLS) -> None:
        self.ask(subscribe(symbols, feeds, rehab_types=(0,)))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shelve(tmp_path_factory.mktemp("stocks") / "archive")


@pytest.fixture
def play(archive: Path) -> Iterator[Callable[..., Player]]:
    made: list[Player] = []

    def make(config: dict[str, Any] | None = None, **recording: Any) -> Player:
        made.append(Player(archive, config or {}, **recording))
        return made[-1]

    yield make
    for one in made:
        one.gateway.close()


def recorded(archive: Path, feed: str, symbol: str = "HK.00700", until: int = 1 << 62) -> list[str]:
    """The frames of a feed, as they came."""
    sub_type = subscribe([symbol], [feed]).fields["sub_types"][0]
    query = (
        "SELECT payload FROM frames WHERE kind = 'data' AND topic LIKE $topic AND epoch_ns(ts_recv) <= $until "
        "ORDER BY pos"
    )
    market = {"HK.00700": "1_00700", "US.AAPL": "11_AAPL"}[symbol]
    with Archive(archive) as opened:
        found = opened.sql(query, {"topic": f"{market}/{sub_type}", "until": until}).fetchall()
    return [text for (text,) in found]


def taken(client: Client) -> list[str]:
    return list(iter(client.take, None))


def last(archive: Path, feed: str, until: int) -> Any:
    push = decode(recorded(archive, feed, until=until)[-1].encode())
    assert isinstance(push, Push)
    return push.events[-1]


# Pushes


def test_only_what_is_subscribed_is_pushed_at_its_time(archive: Path, play: Callable[..., Player]) -> None:
    player = play(wait_s=0.25)
    one, other = player.join(), player.join()
    player.subscribe(("orderbook",), ("HK.00700",))
    player.run(10)
    expected = recorded(archive, "orderbook", until=player.gateway.venue_ns())
    assert taken(one) == taken(other) == expected
    assert 5 < len(expected) < len(recorded(archive, "orderbook"))


def test_what_is_subscribed_without_pushes_is_not_pushed(play: Callable[..., Player]) -> None:
    player = play()
    client = player.join()
    asked = subscribe(["HK.00700"], ["ticker"]).fields | {"is_reg_or_un_reg_push": False}
    player.ask(call("subscribe", **asked))
    player.run(10)
    assert taken(client) == []
    assert player.events("ticker", symbol="HK.00700", count=5), "but it can be asked for"


def test_the_speed_is_that_of_the_clock(play: Callable[..., Player]) -> None:
    slow, fast = play(), play(speed=4.0)
    for player in (slow, fast):
        player.join()
        player.subscribe()
    slow.run(8)
    fast.run(2)
    assert (
        slow.gateway.venue_ns() == fast.gateway.venue_ns() and slow.gateway.pushes == fast.gateway.pushes > 0
    )


def test_time_waits_for_a_subscription_and_stands_when_all_are_gone(play: Callable[..., Player]) -> None:
    player = play(wait_s=1.0)
    start = player.gateway.venue_ns()
    player.run(5)
    client = player.join()
    player.run(5)
    assert player.gateway.venue_ns() == start, "connected, and nothing subscribed"
    player.subscribe(("quote",))
    player.run(0.75)
    assert player.gateway.venue_ns() == start
    player.run(5)
    assert start < player.gateway.venue_ns() <= start + 5 * _SECOND
    player.gateway.leave(client, "gone")
    stood = player.gateway.venue_ns()
    player.run(5)
    assert player.gateway.venue_ns() == stood


def test_what_is_cached_comes_first_to_those_who_do_not_have_it(
    archive: Path, play: Callable[..., Player]
) -> None:
    player = play(start=HALF)
    one = player.join()
    player.subscribe()
    pushes = {push.topic.text: push for push in map(_push, taken(one)) if push.topic is not None}
    assert len(pushes) == 2 * len(FEEDS)
    book = pushes["1_00700/2"].events[0]
    known = last(archive, "orderbook", HALF)
    assert book.ts_event is None and known.ts_event is not None, "a cached book has no times"
    assert (book.bids, book.asks) == (known.bids, known.asks)
    assert pushes["1_00700/1"].events == [last(archive, "quote", HALF)]
    ticks = pushes["1_00700/4"].events
    assert len(ticks) == 10 and {tick.origin for tick in ticks} == {"cache"}
    assert ticks[-1].sequence == last(archive, "ticker", HALF).sequence
    other = player.join()
    player.subscribe(("orderbook",))
    assert taken(one) == [] and len(taken(other)) == 2
    player.subscribe(("orderbook",))
    assert taken(other) == []


def _push(text: str) -> Push:
    push = decode(text.encode())
    assert isinstance(push, Push)
    return push


def test_only_some_symbols(archive: Path, play: Callable[..., Player]) -> None:
    player = play(symbols=("US.AAPL",), wait_s=0.25)
    client = player.join()
    player.subscribe(("ticker",), ("US.AAPL",))
    player.run(40)
    assert taken(client) == recorded(archive, "ticker", "US.AAPL")
    assert "unknown stock HK.00700: it was not recorded" in player.refusal(
        "subscribe", symbols=["HK.00700"], sub_types=[4], is_sub_or_un_sub=True
    )
    assert "unknown stock HK.00700" in player.refusal("static-info", symbols=["HK.00700"])


def test_a_client_that_is_slow_is_waited_for_where_there_is_no_pace(
    archive: Path, play: Callable[..., Player]
) -> None:
    player = play({"capacity": 1024}, speed=None, wait_s=0.25)
    client = player.join()
    player.subscribe()
    got: list[str] = []
    while not player.gateway._cursor.ended:
        player.run(0.25)
        assert client.queued <= 512
        got += taken(client)
    whole = sum(len(recorded(archive, feed, symbol)) for feed in FEEDS for symbol in SYMBOLS)
    assert len(got) == whole > 500
    back = player.join()
    player.subscribe()
    player.run(0.25)
    assert client.goodbye == back.goodbye == "the recording has ended"
    assert taken(back) == [], "nothing is cached for those who come back after the end"
    assert not player.gateway.over.is_set()
    player.gateway.leave(client, "")
    player.run(0.25)
    assert player.gateway.over.is_set(), "nor are they waited for"


# Holes


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice the socket is lost; after the second time the trades that were missed are asked for."""
    path = tmp_path_factory.mktemp("holed") / "archive"
    shelf = Shelf(path)
    request = subscribe(SYMBOLS, FEEDS, rehab_types=(0,))
    shelf.ask(request, "push-0")
    for _ in range(2):
        shelf.run(8)
        shelf.away(8)
        shelf.ask(request, "push-0")
    shelf.ask(call("ticker", symbol="HK.00700", count=1000))
    shelf.run(8)
    shelf.close()
    return path


def finish(player: Player, *clients: Client) -> list[str]:
    """What clients get to the end."""
    got: list[str] = []
    while not player.gateway._cursor.ended:
        player.run(0.25)
        got += [text for client in clients for text in taken(client)]
    return got


def sequences(texts: list[str]) -> list[int]:
    return [event.sequence for text in texts for event in _push(text).events if isinstance(event, Tick)]


def test_trades_that_came_by_an_answer_alone_are_pushed(holed: Path) -> None:
    player = Player(holed, {}, speed=None, wait_s=0.25)
    client = player.join()
    player.subscribe(("ticker",), ("HK.00700",))
    got = sequences(finish(player, client))
    with Archive(holed) as archive:
        stored = archive.sql("SELECT trade_seq FROM trades WHERE symbol = 'HK.00700'").fetchall()
    assert sorted(set(got)) == sorted(seq for (seq,) in stored)
    assert len(set(got)) > len(set(sequences(recorded(holed, "ticker")))), "some came by the answer alone"
    player.gateway.close()


def test_streams_that_were_lost_together_are_one_hole(holed: Path) -> None:
    """It ends the sockets once, after the last that was received, and without a pace it is waited for who was cut."""
    player = Player(holed, {}, speed=None, wait_s=0.25, gaps="disconnect")
    client, got, ends = player.join(), list[str](), 0
    player.subscribe()
    while not player.gateway._cursor.ended:
        player.run(0.25)
        got += taken(client)
        if client.goodbye is not None and not player.gateway._cursor.ended:
            assert client.goodbye == ""
            ends += 1
            before = player.gateway.venue_ns()
            player.gateway.leave(client, "closed")
            player.run(2)
            assert player.gateway.venue_ns() == before
            client = player.join()
            player.subscribe()
    got += taken(client)
    assert ends == 2
    assert set(sequences(recorded(holed, "ticker"))) <= set(sequences(got))
    player.gateway.close()


def test_without_a_pace_all_are_waited_for_who_were_cut_off(holed: Path) -> None:
    player = Player(holed, {}, speed=None, wait_s=0.25, gaps="disconnect")
    clients = [player.join(), player.join()]
    player.subscribe()
    while clients[0].goodbye is None:
        player.run(0.25)
        for client in clients:
            taken(client)
    for client in clients:
        player.gateway.leave(client, "closed")
    back = [player.join()]
    player.run(2)
    cut = player.gateway.venue_ns()
    assert taken(back[0]) == [], "the other one is not back"
    back.append(player.join())
    player.run(2)
    assert player.gateway.venue_ns() > cut and taken(back[0]) == taken(back[1]) != []
    player.gateway.close()


def test_holes_of_what_is_not_subscribed_end_nothing(holed: Path) -> None:
    player = Player(holed, {}, speed=None, wait_s=0.25, gaps="disconnect", symbols=("HK.00700",))
    client = player.join()
    player.ask(call("subscribe", symbols=["HK.00700"], sub_types=[1], is_sub_or_un_sub=True))
    finish(player, client)
    assert client.goodbye == "the recording has ended"
    player.gateway.close()


# REST


def test_market_data_is_that_of_the_clock(archive: Path, play: Callable[..., Player]) -> None:
    player = play()
    player.subscribe()
    player.run(20)
    now = player.gateway.venue_ns()
    [book] = player.events("orderbook", symbol="HK.00700", depth=3)
    known = last(archive, "orderbook", now)
    assert isinstance(book, OrderBook)
    assert (book.bids, book.asks) == (known.bids[:3], known.asks[:3])
    assert book.ts_event == known.ts_event
    [quote] = player.events("quote", symbol="HK.00700")
    assert isinstance(quote, Quote) and quote == last(archive, "quote", now)
    ticks = [tick for text in recorded(archive, "ticker", until=now) for tick in _push(text).events]
    asked = player.events("ticker", symbol="HK.00700", count=1000)
    assert all(isinstance(tick, Tick) for tick in asked)
    assert [tick.sequence for tick in asked] == [tick.sequence for tick in ticks]
    assert player.events("ticker", symbol="HK.00700", count=2) == asked[-2:]
    bars = player.events("kline", symbol="HK.00700", kl_type=1, rehab_type=0, req_num=10)
    assert isinstance(bars[-1], Bar) and bars[-1] == last(archive, "kline.1min", now)
    assert player.events("rt", symbol="HK.00700")[-1] == last(archive, "rt", now)
    assert player.events("broker", symbol="HK.00700") == [last(archive, "broker", now)]
    page = player.ask(
        call(
            "history-kline", symbol="HK.00700", kl_type=1, rehab_type=0, begin_time="2026-01-02",
            end_time="2026-01-02", max_count=1,
        )
    )  # fmt: skip
    assert isinstance(page, Events) and page.events == bars[:1]


def test_an_answer_that_says_less_does_not_stand_for_the_whole(
    archive: Path, play: Callable[..., Player]
) -> None:
    """The recorder asked for one level of a book that is pushed with ten."""
    asked_ns = START_NS + 15 * _SECOND
    player = play()
    player.subscribe()
    player.run((asked_ns - player.gateway.venue_ns()) / 1e9)
    assert player.gateway.venue_ns() == asked_ns
    [book] = player.events("orderbook", symbol="HK.00700", depth=10)
    known = last(archive, "orderbook", asked_ns)
    assert (book.bids, book.asks) == (known.bids, known.asks) and len(book.bids) == 10


def test_it_begins_with_what_was_known(play: Callable[..., Player]) -> None:
    """The same answers, whether the replay came to an instant or began there."""
    whole, late = play(), play(start=HALF)
    whole.subscribe()
    late.subscribe()
    whole.run((HALF - whole.gateway.venue_ns()) / 1e9, step_s=0.05)
    for request in (
        call("orderbook", symbol="US.AAPL", depth=10),
        call("ticker", symbol="HK.00700", count=1000),
        call("kline", symbol="HK.00700", kl_type=1, rehab_type=0, req_num=1000),
        call("rt", symbol="US.AAPL"),
        call("quote", symbols=list(SYMBOLS)),
        call("broker", symbol="HK.00700"),
        call("snapshot", symbols=list(SYMBOLS)),
        call("market-state", symbols=["HK.00700"]),
        call("static-info", symbols=["HK.00700"]),
    ):
        assert whole.ask(request) == late.ask(request), request.path


def test_what_was_asked_while_it_was_recorded_is_answered_again(play: Callable[..., Player]) -> None:
    player = play()
    days = call("trading-days", market=1, begin_time="2026-01-01", end_time="2026-01-31")
    told = player.refusal("trading-days", **days.fields)
    assert "no answer of /api/trading-days to this was recorded up to 2026-01-02 01:30:00" in told
    assert "snapshot" in player.refusal("snapshot", symbols=["HK.00700"])
    player.run(20)
    assert player.ask(days).trade_date_list  # type: ignore[union-attr]
    assert "trading-days" in player.refusal("trading-days", **days.fields | {"market": 2})
    assert player.ask(call("snapshot", symbols=list(SYMBOLS)))
    assert "market-state" in player.refusal("market-state", symbols=["US.AAPL"])
    assert "unknown stock US.NONE: it was not recorded" in player.refusal("snapshot", symbols=["US.NONE"])
    assert "/api/capital-flow" in player.refusal("capital-flow", symbol="HK.00700")


def test_the_gateways_own_state(play: Callable[..., Player]) -> None:
    player = play()
    client = player.join()
    state = player.ask(call("global-state"))
    assert state.time == START_NS // _SECOND and state.market_hk is None  # type: ignore[union-attr]
    player.subscribe(("quote",))
    player.run(20)
    state = player.ask(call("global-state"))
    assert state.time == player.gateway.venue_ns() // _SECOND  # type: ignore[union-attr]
    assert (state.market_hk, state.qot_logined) == (3, True)  # type: ignore[union-attr]
    health = player.ask(call("push-subscriber-info"))
    assert health.total_pushes_received == len(taken(client)) > 0  # type: ignore[union-attr]
    assert health.push_stream_healthy is True  # type: ignore[union-attr]


def test_a_subscription_is_needed(play: Callable[..., Player]) -> None:
    player = play()
    player.run(10)
    asked = {"symbol": "HK.00700", "depth": 10}
    assert "not subscribed in sub_type 2" in player.refusal("orderbook", **asked)
    subscription = {"symbols": ["HK.00700"], "sub_types": [2], "is_sub_or_un_sub": True}
    player.ask(call("subscribe", **subscription))
    assert player.events("orderbook", **asked)
    assert "no sooner than 60 s" in player.refusal(
        "unsubscribe", **subscription | {"is_sub_or_un_sub": False}
    )
    assert player.ask(call("used-quota")).used_sub_quota == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"symbols": ["US.NONE"], "sub_types": [2]}, "unknown stock US.NONE: it was not recorded"),
        ({"symbols": ["HK.00700"], "sub_types": [2, 6]}, "sub_type 6 (kline.1day) was not recorded"),
        ({"symbols": ["HK.00700"], "sub_types": [11]}, "ask for it with reg_push_rehab_type_list [0]"),
        ({"symbols": ["HK.00700"], "sub_types": [99]}, "unsupported sub_type 99"),
    ],
)
def test_what_was_not_recorded_cannot_be_subscribed(
    play: Callable[..., Player], fields: dict[str, Any], told: str
) -> None:
    assert told in play().refusal("subscribe", **fields, is_sub_or_un_sub=True)


def test_keys_and_quotas_are_the_gateways(play: Callable[..., Player]) -> None:
    player = play({"keys": {"secret": ("qot:read",)}, "quota": 1})
    path, body = "/api/subscribe", subscribe(["HK.00700"], ["quote", "ticker"]).body or b""
    assert player.gateway.answer("POST", path, None, body).status == 401
    told = json.loads(player.gateway.answer("POST", path, "secret", body).body)
    assert told["ret_type"] == -1 and "quota exceeded" in told["ret_msg"]


# Errors


def test_archives_that_cannot_be_played(archive: Path, tmp_path: Path, play: Callable[..., Player]) -> None:
    with Journal.open(tmp_path / "coins", "huobi", clock=SystemClock()):
        pass
    with pytest.raises(OtherVenue, match="coins is of huobi, and cannot be played by the protocol of futu"):
        Player(tmp_path / "coins", {})
    with pytest.raises(NothingRecorded):
        play(start=START_NS + 3600 * _SECOND)
    with pytest.raises(NoSuchSymbol):
        play(symbols=("HK.00701",))

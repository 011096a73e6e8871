"""Records of the gateway to rows: streams are subscribed over REST and pushed over a socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from bookreel import venues
from bookreel.book.model import Gap
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Direction, Kind, Record, encode_event
from bookreel.venues.futu.exchanges import answered_text, asked_text
from bookreel.venues.futu.proto import message_class
from bookreel.venues.futu.requests import Call, call, subscribe

HK = {"market": 1, "code": "00700"}
START = 1_767_317_400 * 10**9
OK = b'{"ret_type":0,"s2c":{}}'
COLUMNS = ["feed", "cause", "start", "end", "last_seq"]
TICKER = call("ticker", symbol="HK.00700", count=1000)


class Journal:
    """What a recorder of the gateway writes, 10 ms apart."""

    def __init__(self) -> None:
        self.pos = 0
        self.normalizer = Normalizer(venues.get("futu"))

    def add(
        self, direction: Direction, kind: Kind, payload: bytes, conn: str = "push-0", epoch: int = 1
    ) -> int:
        self.pos += 1
        ts = START + self.pos * 10_000_000
        self.normalizer.feed(Record(self.pos, ts, ts, conn, epoch, direction, kind, payload))
        return ts

    def event(self, name: str, conn: str = "push-0", epoch: int = 1, **facts: Any) -> int:
        return self.add(Direction.INTERNAL, Kind.EVENT, encode_event(name, **facts), conn, epoch)

    def asked(
        self, request: Call, body: bytes = OK, status: int = 200, conn: str = "push-0", epoch: int = 1
    ) -> int:
        self.add(Direction.OUT, Kind.TEXT, asked_text(request), conn, epoch)
        return self.add(Direction.IN, Kind.TEXT, answered_text(request, status, body), conn, epoch)

    def pushed(self, proto_id: int, name: str, epoch: int = 1, **fields: Any) -> int:
        message = message_class(name)(security=HK, **fields)
        body = message_class(f"{name}Response")(ret_type=0, s2c=message).SerializeToString()
        frame = {"type": "quote", "proto_id": proto_id, "body_b64": base64.b64encode(body).decode()}
        return self.add(Direction.IN, Kind.TEXT, json.dumps(frame).encode(), epoch=epoch)

    def ticks(self, *sequences: int, epoch: int = 1) -> int:
        return self.pushed(3011, "UpdateTicker", epoch, ticker_list=[tick(each) for each in sequences])

    def book(self, bid: float, ask: float, epoch: int = 1) -> int:
        bids, asks = ([{"price": price, "volume": 5, "oreder_count": 2}] for price in (bid, ask))
        return self.pushed(3013, "UpdateOrderBook", epoch, order_book_bid_list=bids, order_book_ask_list=asks)

    def rows(self) -> Mapping[str, pa.Table]:
        return self.normalizer.take()


def tick(sequence: int) -> dict[str, Any]:
    return {"time": "", "sequence": sequence, "dir": 1, "price": 1.5, "volume": 3, "turnover": 4.5}


def test_a_recording_has_trades_once_and_books_as_pushed() -> None:
    journal = Journal()
    journal.event("connect", url="ws://gateway/ws")
    journal.asked(subscribe(["HK.00700"], ["orderbook", "ticker"]))
    journal.book(1.0, 1.5)
    journal.ticks(1, 2)
    journal.ticks(2, 3)
    ticks = [tick(each) for each in (2, 3, 4)]
    reply = {"ret_type": 0, "s2c": {"security": HK, "ticker_list": ticks}}
    journal.asked(TICKER, json.dumps(reply).encode(), conn="rest")
    rows = journal.rows()
    assert rows["trades"]["trade_seq"].to_pylist() == [1, 2, 3, 4]
    assert rows["trades"]["ts_event"].null_count == 4, "no time is null, never 1970"
    assert rows["book_snapshots"]["source"].to_pylist() == ["push"]
    assert rows["book_snapshots"]["epoch"].to_pylist() == [3], "the run began with the acknowledgement"
    assert rows["frames"]["kind"].to_pylist() == ["sub", "ack", "data", "data", "data", "req", "reply"]
    assert journal.normalizer.counts["duplicates"] == 3


def test_the_columns_that_only_this_venue_fills() -> None:
    journal = Journal()
    journal.asked(subscribe(["HK.00700"], ["orderbook", "ticker", "kline.1min"], rehab_types=[0]))
    sides = {
        "order_book_bid_list": [{"price": 2.0, "volume": 5, "oreder_count": 7}],
        "order_book_ask_list": [
            {"price": 2.5, "volume": 5, "oreder_count": 1},
            {"price": 3.0, "volume": 6, "oreder_count": 0},
        ],
    }
    journal.pushed(3013, "UpdateOrderBook", **sides)
    marks = {"type": 7, "type_sign": 80, "push_data_type": 3, "recv_time": START / 1e9}
    journal.pushed(3011, "UpdateTicker", ticker_list=[tick(1) | marks, tick(2)])
    bar = {"time": "2026-01-02 09:31:00", "is_blank": False, "close_price": 1.5, "last_close_price": 1.25}
    journal.pushed(3007, "UpdateKL", rehab_type=0, kl_type=1, kl_list=[bar])
    rows = journal.rows()
    [book] = rows["book_snapshots"].select(["bid_orders", "ask_orders"]).to_pylist()
    assert book == {"bid_orders": [7], "ask_orders": [1, 0]}
    [first, second] = rows["trades"].select(["turnover", "kind", "sign", "origin"]).to_pylist()
    assert first == {"turnover": 4.5, "kind": 7, "sign": 80, "origin": "cache"}
    assert second == {"turnover": 4.5, "kind": None, "sign": None, "origin": None}
    received = rows["trades"]["ts_gateway"].cast(pa.int64()).to_pylist()
    assert received == [START, None], "no time is null, never 1970"
    [stored] = rows["klines"].select(["rehab", "last_close"]).to_pylist()
    assert stored == {"rehab": "none", "last_close": 1.25}


def test_a_book_that_is_crossed_in_an_auction_is_a_row() -> None:
    journal = Journal()
    journal.asked(subscribe(["HK.00700"], ["orderbook"]))
    journal.book(1.5, 1.0)
    assert journal.rows()["book_snapshots"].num_rows == 1 and not journal.normalizer.open_gaps()


def test_a_lost_socket_is_a_gap_of_every_stream_until_it_is_subscribed_again() -> None:
    journal = Journal()
    journal.event("connect", url="u")
    request = subscribe(["HK.00700"], ["orderbook", "ticker"])
    subscribed = journal.asked(request)
    journal.ticks(6)
    last = journal.ticks(7)
    journal.event("disconnect", cause="disconnect", detail="cut")
    journal.event("connect", epoch=2, url="u")
    again = journal.asked(request, epoch=2)
    rows = journal.rows()["gaps"]
    for name in ("start", "end"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, rows[name].cast(pa.int64()))
    gaps = {gap["feed"]: gap for gap in rows.select(COLUMNS).to_pylist()}
    assert {name: gap["cause"] for name, gap in gaps.items()} == {
        "orderbook": "disconnect",
        "ticker": "disconnect",
    }
    times = {feed: (gap["start"], gap["end"]) for feed, gap in gaps.items()}
    assert times == {"ticker": (last, again), "orderbook": (subscribed, again)}
    assert gaps["ticker"]["last_seq"] == 7


def test_a_refused_subscription_covers_nothing() -> None:
    journal = Journal()
    journal.asked(subscribe(["HK.00700"], ["ticker"]), b'{"ret_type":-1,"ret_msg":"unknown stock"}')
    assert journal.normalizer.coverage() == []
    assert journal.rows()["frames"]["kind"].to_pylist() == ["sub", "error"]


def test_the_streams_of_a_lost_login_are_silent() -> None:
    journal = Journal()
    journal.event("connect", url="u")
    journal.asked(subscribe(["HK.00700"], ["ticker"]))
    journal.ticks(1)
    last = journal.ticks(2)
    journal.event("silence", topics=["1_00700/4"])
    [gap] = journal.normalizer.open_gaps()
    assert isinstance(gap, Gap) and (gap.cause, gap.start, gap.end) == ("silence", last, None)
    journal.asked(subscribe(["HK.00700"], ["ticker"]))
    assert not journal.normalizer.open_gaps()


def test_a_checkpoint_knows_the_trades() -> None:
    journal = Journal()
    journal.asked(subscribe(["HK.00700"], ["ticker"]))
    journal.ticks(1, 2)
    journal.normalizer = Normalizer.restore(venues.get("futu"), journal.normalizer.state())
    journal.ticks(2, 3)
    assert journal.rows()["trades"]["trade_seq"].to_pylist() == [3]

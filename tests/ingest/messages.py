"""What a venue says to a dialogue, as the tests of one connection need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "BBO",
    "BTC",
    "ETH",
    "MS",
    "REFRESH",
    "TRADES",
    "Make",
    "bbo",
    "both_brisk",
    "delta",
    "error",
    "go_live",
    "image",
    "pump",
    "refresh",
    "sync",
    "trades",
]

MS = 1_000_000
BTC = ("btcusdt", "mbp.150")
ETH = ("ethusdt", "mbp.150")
TRADES = ("btcusdt", "trade.detail")
BBO = ("btcusdt", "bbo")
REFRESH = ("btcusdt", "mbp.refresh.20")
Make = Callable[..., Any]


def delta(symbol: str, prev: int, seq: int, bids: list[list[float]] | None = None) -> dict[str, Any]:
    tick = {"seqNum": seq, "prevSeqNum": prev, "bids": bids or [], "asks": []}
    return {"ch": f"market.{symbol}.mbp.150", "ts": 1790001000000, "tick": tick}


def image(said: dict[str, Any], seq: int, bids: list[list[float]] | None = None) -> dict[str, Any]:
    data = {"seqNum": seq, "bids": bids or [[9.0, 1.0]], "asks": [[10.0, 1.0]]}
    return {"id": said["id"], "status": "ok", "ts": 1790001000000, "rep": said["req"], "data": data}


def bbo(seq: int, bid: float) -> dict[str, Any]:
    tick = {
        "seqId": seq,
        "ask": 10.0,
        "askSize": 1.0,
        "bid": bid,
        "bidSize": 1.0,
        "quoteTime": 1,
        "symbol": "btcusdt",
    }
    return {"ch": "market.btcusdt.bbo", "ts": 1790001000000, "tick": tick}


def trades(*seqs: int) -> dict[str, Any]:
    items = [
        {
            "id": 10**26 + seq,
            "ts": 1790001000000,
            "tradeId": seq,
            "amount": 1.0,
            "price": 9.5,
            "direction": "buy",
        }
        for seq in seqs
    ]
    return {
        "ch": "market.btcusdt.trade.detail",
        "ts": 1790001000000,
        "tick": {"id": 1, "ts": 1, "data": items},
    }


def error(said: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "status": "error",
        "ts": 1790001000000,
        "id": said["id"],
        "err-code": "bad-request",
        "err-msg": text,
    }


def go_live(talk: Any, seq: int = 100) -> None:
    """Every book of the line is live at ``seq``."""
    talk.hear({"ping": 1})
    asked = talk.subscribe()
    for _ in range(300):
        for said in asked:
            if "req" in said:
                talk.hear(image(said, seq))
        asked = talk.pass_time(0.01, 0.01)
    assert talk.books.live == talk.books.total


def sync(talk: Any, key: tuple[str, str]) -> Any:
    return talk.books.get(*key)


def refresh(seq: int, bid: float, ts_ms: int) -> dict[str, Any]:
    tick = {"seqNum": seq, "bids": [[bid, 1.0]], "asks": [[10.0, 1.0]]}
    return {"ch": "market.btcusdt.mbp.refresh.20", "ts": ts_ms, "tick": tick}


def pump(it: Any, seconds: float, seq: int, *, answer: Callable[[dict[str, Any]], Any]) -> int:
    """ETH goes on and BTC is silent; ``answer`` gives what is said to what else is sent. Returns ETH's number."""
    for _ in range(round(seconds / 0.1)):
        for said in it.pass_time(0.1):
            if "ethusdt" in said.get("req", ""):
                it.hear(image(said, seq))
            elif (message := answer(said)) is not None:
                it.hear(message)
        it.hear(delta("ethusdt", seq, seq + 1))
        seq += 1
    return seq


def both_brisk(it: Any, steps: int = 50) -> int:
    go_live(it)
    for seq in range(100, 100 + steps):
        for said in it.pass_time(0.1):
            it.hear(image(said, seq))
        it.hear(delta("btcusdt", seq, seq + 1))
        it.hear(delta("ethusdt", seq, seq + 1))
    return 100 + steps

from __future__ import annotations

from pathlib import Path

import pytest

from bookreel.exchange.errors import BadTruth
from bookreel.exchange.market import MarketEvent, MarketTrade
from bookreel.exchange.mbp import Image
from bookreel.exchange.truth import (
    TruthBook,
    TruthClose,
    TruthFault,
    TruthStart,
    TruthStop,
    TruthSub,
    TruthTrade,
    TruthWriter,
    read_truth,
)


def write(path: Path) -> None:
    truth = TruthWriter(path, lambda: 7)
    truth.start(1, ["btcusdt"])
    truth.line("sub", 1, "/feed", "market.btcusdt.mbp.5")
    truth.fault(
        "lost_delta",
        1,
        "/feed",
        symbol="btcusdt",
        feed="mbp.5",
        topic="market.btcusdt.mbp.5",
        seq=9,
        prev_seq=8,
    )
    trade = MarketTrade(144446879688433873170760015, 102579820014, "sell", 9.377e-11, 1e7)
    truth.trades(MarketEvent("btcusdt", 5, 9, (trade,), True, True, ()))
    truth.book("btcusdt", "mbp.5", Image(9, {-2: "[2.0E-4,1.0E7]"}, {3: "[3.0E-4,0.5]"}))
    truth.line("close", 1, "/feed", note="reset")
    assert truth.inflicted == {"lost_delta": 1}
    truth.close()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "t")
    topic = "market.btcusdt.mbp.5"
    assert list(read_truth(tmp_path / "t")) == [
        TruthStart(7, seed=1, symbols=["btcusdt"]),
        TruthSub(7, conn=1, path="/feed", topic=topic),
        TruthFault(
            7,
            kind="lost_delta",
            conn=1,
            path="/feed",
            symbol="btcusdt",
            feed="mbp.5",
            topic=topic,
            seq=9,
            prev_seq=8,
        ),
        TruthTrade(
            5,
            symbol="btcusdt",
            trade_id="144446879688433873170760015",
            trade_seq=102579820014,
            side="sell",
            price=9.377e-11,
            size=1e7,
        ),
        TruthBook(7, symbol="btcusdt", feed="mbp.5", seq=9, bids=[(2e-4, 1e7)], asks=[(3e-4, 0.5)]),
        TruthClose(7, conn=1, path="/feed", note="reset"),
        TruthStop(7),
    ]


def test_an_unfinished_line_is_not_yet_there(tmp_path: Path) -> None:
    write(tmp_path / "t")
    whole = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(whole[:-5])
    assert len(list(read_truth(tmp_path / "t"))) == 6


def test_a_foreign_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_text('{"type":"stop","t":1}\n{"type":"else"}\n')
    with pytest.raises(BadTruth) as caught:
        list(read_truth(tmp_path / "t"))
    assert caught.value.line == 2


def test_without_a_path_faults_are_only_counted() -> None:
    truth = TruthWriter(None, lambda: 7)
    truth.fault("silence", 1, "/ws")
    truth.close()
    assert truth.inflicted == {"silence": 1} and not truth.writing

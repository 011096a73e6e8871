from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bookreel.storage.scan import Scanner
from bookreel.storage.tail import Tail

Record = Callable[[], Any]


@pytest.mark.parametrize("read", [Scanner.scan, Scanner.bulk])
def test_a_question_that_does_not_ask_for_positions_is_answered_in_their_order(
    record: Record, read: Callable[..., Any]
) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    for number in range(1, 6):
        recording.trade(1 + number, number, 100.0)
    recording.rotate()
    recording.seal()
    tail = Tail(recording.path)
    contents = tail.look(["trades"])
    tail.close()
    pieces = list(read(Scanner(), contents, "trades", ("trade_seq",)))
    assert [piece.schema.names for piece in pieces] == [["trade_seq"]]
    assert pieces[0]["trade_seq"].to_pylist() == [1, 2, 3, 4, 5]

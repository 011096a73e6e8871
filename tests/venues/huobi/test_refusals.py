from __future__ import annotations

import pytest

from bookreel.venues.huobi.refusals import classify


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("invalid topic market.btcusdt.mbp.30", "permanent"),
        ("invalid symbol linkusdtt", "permanent"),
        ("invalid mbp.150.symbol linkusdt", "permanent"),
        ("symbol:tonjpy trade not open now ", "not_open"),
        ("The coin pair does not currently offer subscription services.", "not_open"),
        ("429 too many request topic is market.btcusdt.kline.5min", "busy"),
        ("unsub with not subbed topic market.btcusdt.bbo", "ignore"),
        ("not json, is not json string", "permanent"),
        ("json string", "permanent"),
        ("1008 header required correct cloud-exchange", "server"),
        ("request timeout", "server"),
        ("nobody has seen this one yet", "not_open"),
    ],
)
def test_known_texts(text: str, kind: str) -> None:
    assert classify("bad-request", text) == kind


def test_the_code_tells_where_the_text_does_not() -> None:
    assert classify("internal-error", "") == "server"
    assert classify("invalid-parameter", "") == "permanent"
    assert classify("", "") == "not_open"

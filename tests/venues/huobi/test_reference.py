from __future__ import annotations

import json
from collections import Counter

import pytest

from bookreel.venues.errors import DecodeError
from bookreel.venues.huobi.reference import decode_instruments
from bookreel.venues.huobi.topics import check_symbol

ITEM = (
    b'{ "symbol":"yeebtc","base-currency":"yee","quote-currency":"btc","price-precision":10,"amount-precision":2,'
    b'"state":"online","min-order-value":0.035000000000000000,"new-key":{"a":[1]}}'
)


def test_a_hand_written_reply() -> None:
    short = b'{"quote-currency":"usdt","base-currency":"x","symbol":"xusdt"}'
    one, two = decode_instruments(b'{"status":"ok","data":[' + ITEM + b" ,\n" + short + b"]}")
    assert (one.symbol, one.base, one.quote, one.state) == ("yeebtc", "yee", "btc", "online")
    assert (one.price_precision, one.amount_precision) == (10, 2)
    assert one.raw == ITEM.decode(), "the text must stay as it came, trailing zeros too"
    assert (two.symbol, two.price_precision, two.amount_precision, two.state) == (
        "xusdt",
        None,
        None,
        "unknown",
    )


def test_the_real_reply(symbols_body: bytes) -> None:
    instruments = decode_instruments(symbols_body)
    assert len(instruments) == 938
    assert Counter(item.state for item in instruments) == {"online": 883, "offline": 55}
    assert [json.loads(item.raw) for item in instruments] == json.loads(symbols_body)["data"]
    for item in instruments:
        assert check_symbol(item.symbol) == item.base + item.quote
        assert item.price_precision is not None and item.amount_precision is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"status":"ok","data":null}',
        b'{"status":"ok","data":[1]}',
        b'{"status":"ok","data":[{"symbol":"x"}]}',
        b'{"status":"ok","data":[{"symbol":"x","base-currency":"\xff","quote-currency":"y"}]}',
        b'{"status":"ok","data":' + b"[" * 10**6,
    ],
)
def test_a_reply_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_instruments(body)


def test_the_venues_own_error_is_told() -> None:
    body = b'{"status":"error","err-code":"invalid-parameter","err-msg":"too often","data":null}'
    with pytest.raises(DecodeError, match="too often"):
        decode_instruments(body)

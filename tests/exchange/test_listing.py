from __future__ import annotations

import pytest

from bookreel.exchange.errors import UnknownSymbol
from bookreel.exchange.listing import CATALOG, DELISTED, list_symbols, reference_data


def test_known_and_made_up_symbols() -> None:
    listed = list_symbols(["BTCUSDT", " zeneth", "btcusdt", "fooeth"])
    assert [x.symbol for x in listed] == ["btcusdt", "zeneth", "fooeth"]
    assert (listed[2].base, listed[2].quote) == ("foo", "eth")
    assert list_symbols(["fooeth"]) == [listed[2]]


@pytest.mark.parametrize("symbol", ["btcusdx", "usdt", "a", "b-tcusdt", "veneth"])
def test_what_cannot_be_a_pair_is_refused(symbol: str) -> None:
    with pytest.raises(UnknownSymbol) as caught:
        list_symbols([symbol])
    assert caught.value.symbol == symbol
    assert caught.value.exit_code == 2
    if symbol == "btcusdx":
        assert "btcusdt" in str(caught.value)


def test_keys_of_reference_data_vary() -> None:
    entries = [reference_data(x) for x in (*CATALOG.values(), *DELISTED.values())]
    always = set.intersection(*(set(e) for e in entries))
    assert {
        "base-currency",
        "quote-currency",
        "symbol",
        "state",
        "price-precision",
        "amount-precision",
    } <= always
    sometimes = set.union(*(set(e) for e in entries)) - always
    assert {"leverage-ratio", "tags", "max-order-value"} <= sometimes
    assert {"online", "offline", "suspend"} <= {e["state"] for e in entries}

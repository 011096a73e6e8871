"""The endpoints of reference data: small, plausible and always the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bookreel.exchange.futu.door import Fields, security
from bookreel.exchange.futu.market import StockMarket
from bookreel.exchange.futu.subscriptions import Refusal

__all__ = ["answer", "static_info"]

Stocks = Mapping[str, StockMarket]

_PLATE: Final = {"plate": {"market": 1, "code": "BK1001"}, "name": "Internet", "plate_type": 1}
_STRIKES: Final = ("2026-12-30", "2027-01-28")
_TOO_MANY: Final = 200


def answer(name: str, fields: Fields, stocks: Stocks) -> Fields:
    """The ``s2c`` of an endpoint that no market moves. Raises ``Refusal`` for a security that is not there."""
    return _ANSWERS[name](fields, stocks)


def static_info(stock: StockMarket) -> Fields:
    """What is known of a security."""
    return {
        "basic": {
            "security": security(stock.symbol),
            "id": stock.listing.number,
            "lot_size": stock.listing.lot,
            "sec_type": 3,
            "name": stock.listing.name,
            "list_time": "2004-06-16",
            "delisting": False,
            "list_timestamp": 1087315200.0,
            "exch_type": None,
        },
        "warrant_ex_data": None,
        "option_ex_data": None,
        "future_ex_data": None,
    }


def _stock(symbol: str, stocks: Stocks) -> StockMarket:
    if symbol not in stocks:
        raise Refusal(f"unknown stock {symbol}")
    return stocks[symbol]


def _several(fields: Fields, stocks: Stocks) -> list[StockMarket]:
    return [_stock(symbol, stocks) for symbol in fields["symbols"]]


def _delays(fields: Fields, stocks: Stocks) -> Fields:
    share = {"begin": 0, "end": 5, "count": 1000, "proportion": 100.0, "cumulative_ratio": 100.0}
    pushed = {"qot_push_type": 1, "item_list": [share], "delay_avg": 1.5, "count": 1000}
    replied = {
        "proto_id": 3001,
        "count": 3,
        "total_cost_avg": 4.5,
        "open_d_cost_avg": 0.5,
        "net_delay_avg": 4.0,
    }
    return {
        "qot_push_statistics_list": [pushed],
        "req_reply_statistics_list": [replied | {"is_local_reply": False}],
    }


def _flow(fields: Fields, stocks: Stocks) -> Fields:
    stock = _stock(fields["symbol"], stocks)
    item = {
        "in_flow": stock.turnover,
        "time": "2026-01-02 09:30:00",
        "timestamp": 1767317400.0,
        "main_in_flow": 0.5,
    }
    return {"flow_item_list": [item], "last_valid_time": "2026-01-02", "last_valid_timestamp": 1767283200.0}


def _distribution(fields: Fields, stocks: Stocks) -> Fields:
    _stock(fields["symbol"], stocks)
    kinds = [f"capital_{way}_{size}" for way in ("in", "out") for size in ("super", "big", "mid", "small")]
    return {kind: 1e6 + i for i, kind in enumerate(kinds)} | {"update_time": "2026-01-02 09:30:00"}


def _statistic(fields: Fields, stocks: Stocks) -> Fields:
    stock = _stock(fields["symbol"], stocks)
    return {"volume": stock.volume, "turnover": stock.turnover, "avg_price": stock.last}


def _chain(fields: Fields, stocks: Stocks) -> Fields:
    owner = _stock(fields["owner"], stocks)
    chain = []
    for strike_time in _STRIKES:
        pair = {}
        for kind, side in ((1, "call"), (2, "put")):
            info = static_info(owner)
            code = f"{owner.listing.code}{strike_time[2:].replace('-', '')}{side[0].upper()}100000"
            info["basic"] |= {
                "security": security(owner.symbol) | {"code": code},
                "sec_type": 8,
                "name": code,
            }
            info["option_ex_data"] = {
                "type": kind, "owner": security(owner.symbol), "strike_time": strike_time, "strike_price": 100.0,
                "suspend": False, "market": "", "strike_timestamp": None,
            }  # fmt: skip
            pair[side] = info
        if fields["begin_time"] <= strike_time <= fields["end_time"]:
            chain.append({"strike_time": strike_time, "option": [pair], "strike_timestamp": None})
    return {"option_chain": chain}


def _warrants(fields: Fields, stocks: Stocks) -> Fields:
    if fields["num"] > _TOO_MANY:
        raise Refusal(f"num must be at most {_TOO_MANY}")
    owner = _stock(fields.get("owner") or next(iter(stocks)), stocks)
    warrant = {
        "stock": {"market": 1, "code": "13000"}, "owner": security(owner.symbol), "type": 1, "issuer": 2,
        "maturity_time": "2027-01-28", "list_time": "2026-01-02", "last_trade_time": "2027-01-22",
        "conversion_ratio": 100.0, "lot_size": 10000, "strike_price": 310.0, "name": "WARRANT A", "cur_price": 0.25,
        "volume": 9_007_199_254_740_993,
    }  # fmt: skip
    return {"last_page": True, "all_count": 1, "warrant_data_list": [warrant][fields["begin"] :]}


def _filtered(fields: Fields, stocks: Stocks) -> Fields:
    found = [s for s in stocks.values() if s.listing.market.number == fields["market"]]
    page = found[fields["begin"] : fields["begin"] + min(_TOO_MANY, fields["num"])]
    values = [{"field_name": 1, "value": 1.5}]
    data = [{"security": security(s.symbol), "name": s.listing.name, "base_data_list": values} for s in page]
    return {
        "last_page": len(found) <= fields["begin"] + len(page),
        "all_count": len(found),
        "data_list": data,
    }


def _rehab(fields: Fields, stocks: Stocks) -> Fields:
    _several(fields, stocks)
    factors = {"fwd_factor_a": 1.0, "fwd_factor_b": -3.4, "bwd_factor_a": 1.0, "bwd_factor_b": 3.4}
    return {"rehab_list": [{"time": "2026-05-18", "company_act_flag": 64, "dividend": 3.4} | factors]}


def _suspended(fields: Fields, stocks: Stocks) -> Fields:
    suspended = [{"security": security(s.symbol), "suspend_list": []} for s in _several(fields, stocks)]
    return {"security_suspend_list": suspended}


def _future(fields: Fields, stocks: Stocks) -> Fields:
    raise Refusal("no stock specified" if not fields["symbols"] else f"unknown stock {fields['symbols'][0]}")


def _plate_of(fields: Fields, stocks: Stocks) -> Fields:
    plates = [
        {"security": security(s.symbol), "name": s.listing.name, "plate_info_list": [_PLATE]}
        for s in _several(fields, stocks)
    ]
    return {"owner_plate_list": plates}


def _reminders(fields: Fields, stocks: Stocks) -> Fields:
    stock = _stock(fields.get("symbol") or next(iter(stocks)), stocks)
    item = {
        "key": 9_007_199_254_740_993, "type": 1, "value": 500.0, "note": "", "freq": 1, "is_enable": True,
        "reminder_session_list": [],
    }  # fmt: skip
    return {
        "price_reminder_list": [
            {"security": security(stock.symbol), "name": stock.listing.name, "item_list": [item]}
        ]
    }


_STEPS: Final = (
    ("0.01", "0.25", "0.001"),
    ("0.25", "0.5", "0.005"),
    ("0.5", "10", "0.01"),
    ("10", "20", "0.02"),
)


def _fixed(content: Fields) -> Callable[[Fields, Stocks], Fields]:
    return lambda fields, stocks: content


def _whole_market(fields: Fields, stocks: Stocks) -> Fields:
    return {"static_info_list": [static_info(stock) for stock in stocks.values()]}


_ANSWERS: Final[dict[str, Callable[[Fields, Stocks], Fields]]] = {
    "delay-statistics": _delays,
    "capital-flow": _flow,
    "capital-distribution": _distribution,
    "ticker-statistic": _statistic,
    "risk-free-rate": _fixed({"hk_rate_pct": 3.25, "us_rate_pct": 4.5, "jp_rate_pct": 0.5}),
    "spread-table": _fixed(
        {
            "spread_table_list": [
                {
                    "spread_code": 1,
                    "spread_item_list": [
                        {"price_from": float(a), "price_to": float(b), "value": float(c)}
                        for a, b, c in _STEPS
                    ],
                }
            ]
        }
    ),
    "plate-set": _fixed({"plate_info_list": [_PLATE]}),
    "list-plates": _fixed({"plate_info_list": [_PLATE]}),
    "plate-security": _whole_market,
    "owner-plate": _plate_of,
    "stock-filter": _filtered,
    "suspend": _suspended,
    "code-change": _fixed({"code_change_list": []}),
    "ipo-list": _fixed(
        {
            "ipo_list": [
                {
                    "basic": {
                        "security": {"market": 1, "code": "09999"},
                        "name": "NEW",
                        "list_time": "2026-12-30",
                    }
                }
            ]
        }
    ),
    "rehab": _rehab,
    "user-security": _whole_market,
    "price-reminder": _reminders,
    "reference": _fixed({"static_info_list": []}),
    "get-reference": _fixed({"static_info_list": []}),
    "warrant": _warrants,
    "option-chain": _chain,
    "option-expiration-date": _fixed(
        {"date_list": [{"strike_time": day, "option_expiry_date_distance": 30} for day in _STRIKES]}
    ),
    "future-info": _future,
}

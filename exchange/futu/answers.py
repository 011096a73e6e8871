"""What a gateway of an archive answers over REST: what was recorded, as of the replay's clock, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bookreel.exchange.futu.bodies import to_json
from bookreel.exchange.futu.door import Door, Fields, Handler, history_page
from bookreel.exchange.futu.known import OF_SECURITIES, Known
from bookreel.exchange.futu.recorded import Recorded
from bookreel.exchange.futu.subscriptions import Refusal
from bookreel.venues.futu.codes import PERIOD_OF, REHAB
from bookreel.venues.futu.times import local_text

if TYPE_CHECKING:
    from bookreel.exchange.futu.playback import RecordedGateway

__all__ = ["Answers"]

_BOOK_SIDES: Final = ("order_book_bid_list", "order_book_ask_list")


class Answers(Door):
    """Answers from what is known. Market data needs its subscription, as at the gateway."""

    def __init__(self, gateway: RecordedGateway, known: Known) -> None:
        self._gateway = gateway
        self._known = known
        handlers: dict[str, Handler] = {
            "global-state": self._global_state,
            "ping": self._global_state,
            "push-subscriber-info": self._health,
            "quote": self._quote,
            "orderbook": self._orderbook,
            "ticker": lambda fields: self._series(fields, "ticker", fields["count"]),
            "rt": lambda fields: self._series(fields, "rt", None),
            "broker": lambda fields: to_json(self._live(fields["symbol"], "broker").message),
            "kline": self._kline,
            "history-kline": self._history_kline,
            **{name: self._of_securities(name) for name in OF_SECURITIES},
        }
        super().__init__(gateway, handlers, self._answered)

    # The gateway itself.

    def _global_state(self, fields: Fields) -> Fields:
        """What it said last, at the replay's time; before it said anything, only what a replay knows by itself."""
        now_ns = self._gateway.venue_ns()
        own = {
            "qot_logined": self._gateway.logined,
            "time": now_ns // 1_000_000_000,
            "local_time": now_ns // 1000 / 1e6,
        }
        return {"trd_logined": False, **(self._known.answer("global-state", {}) or {}), **own}

    def _health(self, fields: Fields) -> Fields:
        """What it said last, with the counts of the replay."""
        gateway = self._gateway
        own = {
            "total_pushes_received": gateway.pushes,
            "last_push_received_at_ms": None if gateway.last_ns is None else gateway.last_ns // 1_000_000,
        }
        told = self._known.answer("push-subscriber-info", {}) or {
            "push_stream_healthy": True,
            "circuit_breaker_trips": 0,
        }
        return {**told, **own, "qot_login_health": {"qot_logined": gateway.logined}}

    # Market data.

    def _live(self, symbol: str, feed: str) -> Recorded:
        """What is known of a topic that is subscribed."""
        self.check_logined()
        state = self._known.topic(symbol, feed)
        if not self._known.has(symbol):
            raise Refusal(f"unknown stock {symbol}: it was not recorded")
        self.check_subscribed(symbol, feed)
        if state is None or state.message is None:
            raise Refusal(f"{symbol}: nothing of {feed} was recorded up to {self._now()}")
        return state

    def _now(self) -> str:
        return local_text(self._gateway.venue_ns(), "UTC") + " UTC"

    def _quote(self, fields: Fields) -> Fields:
        quotes = [self._live(symbol, "quote").message for symbol in self.symbols(fields)]
        return {"basic_qot_list": [to_json(one) for quote in quotes for one in quote.basic_qot_list]}

    def _orderbook(self, fields: Fields) -> Fields:
        content = to_json(self._live(fields["symbol"], "orderbook").message)
        return content | {side: content[side][: fields["depth"]] for side in _BOOK_SIDES}

    def _series(self, fields: Fields, feed: str, count: int | None) -> Fields:
        state = self._live(fields["symbol"], feed)
        return to_json(state.content(None if count is None else max(1, count)))

    def _bars(self, state: Recorded, count: int | None) -> Fields:
        content = to_json(state.content(count))
        return {name: content[name] for name in ("security", "name", "kl_list")}

    def _period(self, fields: Fields) -> str:
        """The feed of the bars that are asked for."""
        period, rehab = PERIOD_OF.get(fields["kl_type"]), fields["rehab_type"]
        if period is None or not 0 <= rehab < len(REHAB):
            raise Refusal(f"unsupported kl_type {fields['kl_type']} or rehab_type {rehab}")
        if REHAB[rehab] != "none":
            raise Refusal(f"{fields['symbol']}: bars were recorded as traded; ask for them with rehab_type 0")
        return f"kline.{period}"

    def _kline(self, fields: Fields) -> Fields:
        return self._bars(self._live(fields["symbol"], self._period(fields)), max(1, fields["req_num"]))

    def _history_kline(self, fields: Fields) -> Fields:
        symbol, feed = fields["symbol"], self._period(fields)
        state = self._known.topic(symbol, feed)
        if state is None or state.message is None:
            raise Refusal(f"{symbol}: nothing of {feed} was recorded up to {self._now()}")
        self.history.add(symbol)
        return history_page(self._bars(state, None), fields)

    # What was asked while it was recorded.

    def _of_securities(self, name: str) -> Handler:
        """Answers an endpoint that says of each security something by itself."""
        items, _ = OF_SECURITIES[name]
        return lambda fields: {items: [self._entry(name, symbol) for symbol in self.symbols(fields)]}

    def _entry(self, name: str, symbol: str) -> Any:
        entry = self._known.entries[name].get(symbol) if self._known.wants(symbol) else None
        if entry is None and not self._known.has(symbol):
            raise Refusal(f"unknown stock {symbol}: it was not recorded")
        if entry is None:
            raise self._not_recorded(name)
        return entry

    def _answered(self, name: str, fields: Fields) -> Any:
        """What was answered to the same question."""
        told = self._known.answer(name, fields)
        if told is None:
            raise self._not_recorded(name)
        return told

    def _not_recorded(self, name: str) -> Refusal:
        return Refusal(
            f"no answer of /api/{name} to this was recorded up to {self._now()}; a [[poll]] records it"
        )

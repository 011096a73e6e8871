"""The recorder against a gateway of our own on loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.exchange.futu import GatewayServer
from bookreel.ingest.errors import ConfigError, GatewayUnusable, ReferenceUnavailable
from bookreel.ingest.futu.line import PushLine
from bookreel.ingest.futu.recorder import GatewayRecorder
from bookreel.replay import Archive
from bookreel.venues.errors import BadSymbol, UnknownFeed
from tests.ingest.futu.conftest import pushed, until

Recorded = Callable[..., Archive]


def one(archive: Archive, query: str) -> Any:
    [row] = archive.sql(query).fetchall()
    return row[0] if len(row) == 1 else row


async def plain(server: GatewayServer, recorder: GatewayRecorder) -> None:
    await pushed(recorder, 40)


def test_what_is_pushed_is_recorded(recorded: Recorded) -> None:
    with recorded(plain) as archive:
        for table in ("book_snapshots", "trades", "klines", "instruments"):
            assert one(archive, f"SELECT count(DISTINCT symbol) FROM {table}") == 2, table
        assert one(archive, "SELECT count(*) - count(DISTINCT (symbol, trade_seq)) FROM trades") == 0
        assert one(archive, "SELECT count(*) FROM gaps") == 0
        assert one(archive, "SELECT count(*) FROM book_snapshots WHERE ts_event < '1971-01-01'") == 0
        assert one(archive, "SELECT count(*) > 0 FROM book_snapshots WHERE ts_event IS NULL")
        assert one(archive, "SELECT count(*) FROM frames WHERE topic = 'push-subscriber-info'")
        subscribed = "SELECT count(*) FROM sessions WHERE event = 'subscribed' AND detail LIKE '%\"used\":6%'"
        assert one(archive, subscribed) == 1


def test_one_bad_symbol_does_not_keep_the_others_out(recorded: Recorded) -> None:
    symbols = ["HK.00700", "HK.99999", "US.AAPL", "US.NOPE"]
    with recorded(plain, symbols=symbols) as archive:
        assert one(archive, "SELECT count(DISTINCT symbol) FROM trades") == 2
        detail = one(archive, "SELECT detail FROM sessions WHERE event = 'subscribed' LIMIT 1")
        assert "unknown stock HK.99999" in detail and "unknown stock US.NOPE" in detail


def test_a_cut_socket_is_a_gap_of_each_stream_and_its_trades_come_back(recorded: Recorded) -> None:
    async def cut(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        server.gateway.inflict("disconnect")
        await until(lambda: recorder.lines[0].stats.epoch == 2)
        await pushed(recorder)

    with recorded(cut) as archive:
        causes = archive.sql("SELECT cause, count(*) FROM gaps GROUP BY ALL").fetchall()
        assert causes == [("disconnect", 6)]
        assert one(archive, 'SELECT count(*) FROM gaps WHERE "end" IS NULL') == 0
        assert one(archive, "SELECT count(*) FROM frames WHERE kind = 'reply' AND topic = '1_00700/4'") >= 1
        assert one(archive, "SELECT count(*) - count(DISTINCT (symbol, trade_seq)) FROM trades") == 0


def test_after_a_restart_everything_is_subscribed_again(recorded: Recorded) -> None:
    async def restart(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        server.gateway.inflict("restart")
        await until(lambda: recorder.lines[0].stats.epoch == 2)
        await pushed(recorder)

    with recorded(restart) as archive:
        assert one(archive, "SELECT count(*) FROM gaps") == 6
        assert one(archive, "SELECT count(*) FROM frames WHERE kind = 'ack'") == 2


@pytest.mark.parametrize("fault", ["login_loss", "breaker"])
def test_a_gateway_that_gets_no_quotes_is_a_gap(recorded: Recorded, fault: str) -> None:
    async def hush(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        server.gateway.inflict(fault)
        await until(lambda: recorder.lines[0].stats.silences and not recorder.lines[0].stats.acked)
        await until(lambda: len(recorder.lines[0].stats.acked) == 6)
        await pushed(recorder)

    with recorded(hush) as archive:
        causes = archive.sql("SELECT DISTINCT cause FROM gaps").fetchall()
        assert causes == [("silence",)]
        assert one(archive, "SELECT count(DISTINCT (symbol, feed)) FROM gaps") == 6
        assert one(archive, 'SELECT count(*) FROM gaps WHERE "end" IS NULL') == 0
        assert one(archive, "SELECT max(epoch) FROM gaps") is not None


def test_a_subscription_that_somebody_ended_is_a_gap_of_its_stream_alone(recorded: Recorded) -> None:
    async def end(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        [line] = recorder.lines
        [ticker] = [
            one for one in server.gateway.subs.all() if one.symbol == "HK.00700" and one.sub_type == 4
        ]
        frames = line.stats.frames
        server.gateway.subs.forget(ticker)
        await until(lambda: line.stats.silences)
        await until(lambda: len(line.stats.acked) == 6)
        assert line.stats.epoch == 1 and line.stats.frames > frames, "the socket stays"
        await pushed(recorder)

    with recorded(end) as archive:
        rows = archive.sql('SELECT symbol, feed, cause, "end" > "start" FROM gaps').fetchall()
        assert rows == [("HK.00700", "ticker", "silence", True)]
        backfilled = "SELECT count(DISTINCT topic) FROM frames WHERE kind = 'reply' AND topic LIKE '%/4'"
        assert one(archive, backfilled) == 1, "what others said was not missed"
        assert one(archive, "SELECT count(*) - count(DISTINCT (symbol, trade_seq)) FROM trades") == 0


def test_an_orderly_end_takes_a_last_look(recorded: Recorded) -> None:
    """What nobody would have looked for in an hour."""
    ended: list[str] = []

    async def forgotten(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        before = {(one.symbol, one.sub_type) for one in server.gateway.subs.all()}
        server.gateway.inflict("forgotten")
        [(symbol, _)] = before - {(one.symbol, one.sub_type) for one in server.gateway.subs.all()}
        ended.append(symbol)

    with recorded(forgotten, push_health_s=3600.0) as archive:
        assert archive.sql("SELECT symbol, cause FROM gaps").fetchall() == [(ended[0], "silence")]


def test_an_end_does_not_wait_for_a_gateway_that_is_gone(recorded: Recorded) -> None:
    async def restarting(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        server.gateway.down_until_ns = server.gateway.now_ns() + 3600 * 10**9

    with recorded(restarting, push_health_s=3600.0) as archive:
        assert one(archive, "SELECT count(*) FROM sessions WHERE event = 'stop'") == 1
        assert one(archive, "SELECT count(*) > 0 FROM trades")


def test_what_is_answered_and_not_listed_is_asked_for_again(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bookreel.ingest.futu.line._REFUSED_AGAIN_S", 0.05)

    async def drop(server: GatewayServer, recorder: GatewayRecorder) -> None:
        subs = server.gateway.subs
        added = subs.add

        def add(symbols: Any, *rest: Any, **further: Any) -> Any:
            begun = added(symbols, *rest, **further)
            subs.forget(begun[0])
            monkeypatch.setattr(subs, "add", added)
            return begun

        monkeypatch.setattr(subs, "add", add)
        await until(lambda: recorder.lines and recorder.lines[0].stats.silences)
        await until(lambda: len(recorder.lines[0].stats.acked) == 6)
        await pushed(recorder)

    with recorded(drop) as archive:
        assert archive.sql("SELECT feed, cause FROM gaps").fetchall() == [("orderbook", "silence")]
        assert (
            one(archive, "SELECT count(*) FROM sessions WHERE detail LIKE '%not listed by the gateway%'") == 1
        )


def test_a_push_that_cannot_be_read_is_a_gap_of_its_stream(recorded: Recorded) -> None:
    async def spoil(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        server.gateway.inflict("bad_base64")
        await pushed(recorder, 40)

    with recorded(spoil) as archive:
        assert archive.sql("SELECT cause FROM gaps").fetchall() == [("decode_error",)]
        assert one(archive, "SELECT count(*) FROM frames WHERE kind = 'undecodable'") == 1


def test_polled_endpoints_are_recorded(recorded: Recorded) -> None:
    polls = [
        {"endpoint": "snapshot", "batch": True, "every_s": 0.05},
        {"endpoint": "ticker", "each": True, "every_s": 0.05, "fields": {"count": 1000}},
        {"endpoint": "market-state", "fields": {"symbols": ["HK.00700"]}},
    ]

    async def twice(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder, 40)

    with recorded(twice, poll=polls) as archive:
        counts = dict(
            archive.sql("SELECT topic, count(*) FROM frames WHERE conn = 'rest' GROUP BY ALL").fetchall()
        )
        assert counts["snapshot"] >= 2 and counts["1_00700/4"] >= 2 and counts["market-state"] >= 2
        assert one(archive, "SELECT count(*) - count(DISTINCT (symbol, trade_seq)) FROM trades") == 0


KEYS = {"good": ("qot:read",), "poor": ("acc:none",)}


def test_a_key_is_sent_and_never_written(recorded: Recorded, tmp_path: Path, caplog: Any) -> None:
    key = "k3y-that-nobody-sees"
    with recorded(
        plain, gateway={"keys": {key: ("qot:read",)}}, environment={"KEY": key}, token_env="KEY"
    ) as archive:
        assert one(archive, "SELECT count(*) > 0 FROM trades")
    written = b"".join(path.read_bytes() for path in (tmp_path / "archive").rglob("*") if path.is_file())
    assert b"orderbook" in written and key.encode() not in written
    assert key not in caplog.text


@pytest.mark.parametrize(("key", "said"), [("bad", "401"), ("poor", "403"), (None, "401")])
def test_a_key_that_is_refused_ends_it_at_once(
    recorded: Recorded, tmp_path: Path, key: str | None, said: str
) -> None:
    (tmp_path / "key").write_text(f"{key}\n")
    settings = {} if key is None else {"token_file": str(tmp_path / "key")}
    with pytest.raises(GatewayUnusable, match=said) as caught:
        recorded(plain, gateway={"keys": KEYS}, **settings)
    assert caught.value.exit_code == 2 and (key is None or key not in str(caught.value))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"symbols": "all"}, ConfigError),
        ({"symbols": ["700"]}, BadSymbol),
        ({"feeds": ["orderbok"]}, UnknownFeed),
        ({"symbols": ["HK.99999"]}, GatewayUnusable),
        ({"token_env": "NO_SUCH"}, ConfigError),
        ({"token_file": "/no/such"}, ConfigError),
        ({"poll": [{"endpoint": "snapshott"}]}, ConfigError),
        ({"poll": [{"endpoint": "subscribe"}]}, ConfigError),
        ({"poll": [{"endpoint": "place-order"}]}, ConfigError),
        ({"rest_url": "http://127.0.0.1:9", "rest_timeout_s": 0.01}, ReferenceUnavailable),
    ],
    ids=["all", "symbol", "feed", "none", "env", "file", "poll", "changing", "order", "down"],
)
def test_what_cannot_work_is_said_before_anything_is_recorded(
    recorded: Recorded, tmp_path: Path, settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        recorded(plain, **settings)
    assert not (tmp_path / "archive").exists()


def test_quotes_brokers_and_minutes_have_tables(recorded: Recorded) -> None:
    with recorded(plain, feeds=["quote", "broker", "rt"]) as archive:
        assert one(archive, "SELECT min(price) > 0 AND min(low) > 0 FROM quotes")
        assert archive.sql("SELECT DISTINCT side FROM broker_queue ORDER BY 1").fetchall() == [
            ("ask",),
            ("bid",),
        ]
        assert one(archive, "SELECT min(minute_time) > '2026-01-01' FROM timeshare")
        assert one(archive, "SELECT count(*) FROM timeshare WHERE ts_event IS NOT NULL") == 0
        assert one(archive, "SELECT count(*) FROM frames WHERE kind = 'data'") > 0


def test_silence_is_doubted_in_trading_hours_only(recorded: Recorded) -> None:
    found: list[list[str]] = []

    async def silence(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await until(lambda: recorder.lines and recorder.lines[0].open_markets)
        [line] = recorder.lines
        found.append(recorder.doubts())
        line.stats.connected_wall = 0
        line.stats.last_frame_wall -= 61 * 10**9
        found.append(recorder.doubts())
        line.open_markets = set()
        found.append(recorder.doubts())

    recorded(silence, gateway={"rate": 0.001}).close()
    assert found[0] == found[2] == []
    assert len(found[1]) == 1 and "while HK, US trades" in found[1][0]


def test_a_bug_costs_a_connection_and_not_the_recording(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = PushLine._noticed

    def stumble(line: PushLine, text: str) -> None:
        heard(line, text)
        raise KeyError("a bug")

    monkeypatch.setattr(PushLine, "_noticed", stumble)

    async def notice(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        server.gateway.inflict("login_loss")
        await until(lambda: recorder.lines[0].stats.failures)
        await until(lambda: server.gateway.logined and len(recorder.lines[0].stats.acked) == 6)
        await pushed(recorder)

    with recorded(notice) as archive:
        assert one(archive, "SELECT count(*) FROM sessions WHERE detail LIKE '%error of the recorder%'") >= 1
        assert one(archive, 'SELECT count(*) FROM gaps WHERE "end" IS NULL') == 0

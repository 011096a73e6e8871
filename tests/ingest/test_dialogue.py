from __future__ import annotations

import gzip
import json

import pytest

from bookreel.ingest.errors import LineDown
from bookreel.storage.record import Direction
from bookreel.storage.shedding import Victim
from tests.ingest.messages import BTC, ETH, Make, delta, go_live, image, sync, trades


def test_every_frame_is_journaled_in_and_out_before_anything_else(talk: Make) -> None:
    it = talk(BTC)
    broken = b"not gzip at all"
    it.hear(broken)
    it.hear({"ping": 5})
    assert next(record.payload for record in it.journal.records if record.direction is Direction.IN) == broken
    it.dialogue.open()
    said = it.say()
    assert said == it.journal.sent()
    assert (said[0].keys(), said[1]["sub"]) == ({"ping"}, "market.btcusdt.mbp.150")


def test_a_ping_is_answered_at_once_and_a_pong_remembered(talk: Make) -> None:
    it = talk(BTC)
    assert it.hear({"ping": 77}) == b'{"pong":77}'
    assert it.journal.sent() == []
    assert it.dialogue.requests.sent(b'{"pong":77}') == b'{"pong":77}'
    assert it.journal.sent() == [{"pong": 77}]
    assert not it.stats.pongs
    it.hear({"pong": 1})
    assert it.stats.pongs


def test_a_book_comes_up_by_ack_request_and_snapshot(talk: Make) -> None:
    it = talk(BTC)
    asked = it.subscribe()
    assert [said.get("req") for said in asked] == ["market.btcusdt.mbp.150"]
    it.hear(delta("btcusdt", 100, 104))
    it.hear(image(asked[0], 100))
    assert sync(it, BTC).valid
    assert sync(it, BTC).last_seq == 104
    assert it.stats.acked == {"market.btcusdt.mbp.150"}


def test_one_lost_delta_costs_one_book(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    it.hear(delta("btcusdt", 100, 101))
    it.hear(delta("ethusdt", 100, 103))
    it.hear(delta("btcusdt", 105, 106))
    assert not sync(it, BTC).valid
    assert sync(it, ETH).valid
    assert sync(it, ETH).last_seq == 103
    (event,) = it.journal.events("resync")
    assert event["topic"] == "market.btcusdt.mbp.150"
    assert (event["cause"], event["last_seq"], event["next_seq"]) == ("seq_gap", 101, 106)
    (said,) = it.pass_time(0.3)
    assert said["req"] == "market.btcusdt.mbp.150"
    it.hear(image(said, 106))
    assert sync(it, BTC).valid
    assert it.books.gaps == {"seq_gap": 1}


def test_unreadable_frames_are_counted_and_end_the_line_only_in_a_row(talk: Make) -> None:
    it = talk(BTC, decode_error_limit=5)
    go_live(it)
    for _ in range(10):
        for broken in (
            b"garbage",
            gzip.compress(b'{"ch":"market.btcusdt.mbp.150","ts":1,"ti'),
            gzip.compress(b"{}")[:-3],
        ):
            it.hear(broken)
        it.hear({"ping": 1})
    assert it.stats.decode_errors == 30
    it.hear(delta("btcusdt", 300, 301))
    assert it.journal.events("resync")[0]["cause"] == "decode_error"
    with pytest.raises(LineDown) as caught:
        for _ in range(5):
            it.hear(b"garbage")
    assert caught.value.cause == "decode_error"


def test_a_mistake_of_ours_in_one_frame_costs_that_frame(talk: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    it = talk(BTC)
    go_live(it)

    def fail(*args: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(type(it.books.add(it.topics["market.btcusdt.mbp.150"])), "delta", fail)
        it.hear(delta("btcusdt", 100, 101))
    assert it.stats.decode_errors == 1
    it.hear(delta("btcusdt", 101, 102))
    assert it.journal.events("resync")[0]["cause"] == "decode_error"


def test_a_shed_frame_is_not_applied(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    it.journal.full = True
    it.hear(delta("btcusdt", 100, 101))
    it.journal.full = False
    assert it.stats.shed == 1
    assert sync(it, BTC).last_seq == 100
    it.hear(delta("btcusdt", 101, 102))
    assert it.journal.events("resync")[0]["cause"] == "shed"


def test_only_the_book_whose_frame_was_shed_is_lost(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    it.journal.full = True
    it.journal.victim = Victim("market.btcusdt.mbp.150", "disk_full")
    it.hear(delta("btcusdt", 100, 101))
    it.journal.full = False
    assert (sync(it, BTC).valid, sync(it, ETH).valid) == (False, True), "at once, not with the next delta"
    it.hear(delta("ethusdt", 100, 101))
    it.hear(delta("btcusdt", 101, 102))
    gap = sync(it, BTC).gap
    assert gap is not None
    assert (gap.cause, gap.last_seq, gap.next_seq) == ("disk_full", 100, 102)
    assert it.books.gaps == {"disk_full": 1}
    assert it.journal.streams == ["market.btcusdt.mbp.150", "market.ethusdt.mbp.150"]


def test_a_ping_is_answered_even_if_the_journal_is_full(talk: Make) -> None:
    it = talk(BTC)
    it.journal.full = True
    assert it.hear({"ping": 5}) == b'{"pong":5}'
    assert it.dialogue.receive('{"ping":6}', 1, it.clock.mono_ns()) == b'{"pong":6}'
    assert it.hear(b"garbage") is None
    assert it.hear(trades(1)) is None
    assert it.stats.shed == 4


def test_what_comes_before_the_end_of_a_subscription_is_not_built_on(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    it.hear({"id": "x", "unsubbed": "market.btcusdt.mbp.150", "status": "ok", "ts": 1})
    assert not sync(it, BTC).valid
    assert it.books.gaps == {"operator": 1}


def test_unknown_messages_and_foreign_topics_do_no_harm(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    it.hear(
        {
            "ch": "market.xrpusdt.mbp.150",
            "ts": 1,
            "tick": {"seqNum": 2, "prevSeqNum": 1, "bids": [], "asks": []},
        }
    )
    it.hear({"hello": "world"})
    it.hear(trades(1, 2))
    it.hear({"id": "nobody", "rep": "market.btcusdt.kline.1min", "status": "ok", "ts": 1, "data": []})
    it.hear({"id": "nobody", "subbed": "market.xrpusdt.bbo", "status": "ok", "ts": 1})
    assert it.stats.unknown == 1
    assert it.stats.decode_errors == 0
    assert sync(it, BTC).valid


def test_text_frames_are_taken_too(talk: Make) -> None:
    it = talk(BTC)
    pong = it.dialogue.receive('{"ping":9}', it.clock.wall_ns(), it.clock.mono_ns())
    assert pong == b'{"pong":9}'
    it.dialogue.receive("{", it.clock.wall_ns(), it.clock.mono_ns())
    assert it.stats.decode_errors == 1


def test_frames_that_wait_keep_their_order_and_no_ping_waits(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    wall, mono = it.clock.wall_ns(), it.clock.mono_ns()
    for seq in range(100, 200):
        payload = gzip.compress(json.dumps(delta("btcusdt", seq, seq + 1)).encode())
        assert it.dialogue.receive(payload, wall, mono, later=True) is None
    assert it.hear({"ping": 9}) == b'{"pong":9}'
    assert sync(it, BTC).last_seq == 100
    it.clock.advance(3)
    it.dialogue.check(it.clock.mono_ns())
    assert it.journal.events("silence") == []
    it.dialogue.catch_up(30)
    assert sync(it, BTC).last_seq == 130
    it.dialogue.close()
    assert sync(it, BTC).last_seq == 200

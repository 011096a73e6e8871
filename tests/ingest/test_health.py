from __future__ import annotations

import random

import pytest

from bookreel.ingest.health import CHECK_INTERVAL_S, LineHealth
from bookreel.ingest.watch import Finding, HealthSettings, Pace

MS = 1_000_000
S = 1_000_000_000
T0 = 100 * S
SETTINGS = HealthSettings(
    floor_ns=2 * S,
    factor=2.0,
    ceiling_ns=10 * S,
    half_open_ns=15 * S,
    ping_after_ns=2 * S,
    pong_timeout_ns=2 * S,
    ask_interval_ns=S // 50,
    answer_ns=500 * MS,
)


class Watch:
    """A line's health on a time of its own, checked as often as the session does."""

    def __init__(self, *topics: str, sequenced: bool = False, pongs: bool = False) -> None:
        self.now = T0
        self.paces: dict[str, Pace] = {}
        self.health = LineHealth(SETTINGS, T0, paces=self.paces, pongs=pongs)
        for topic in topics:
            self.health.acked(topic, T0, T0, T0, sequenced=sequenced)

    def speak(self, topic: str, payload: bytes = b"x") -> Finding | None:
        return self.health.data(topic, self.now, self.now, payload)

    def wait(self, seconds: float, *, heartbeats: bool = True) -> list[Finding]:
        """Let time pass in silence."""
        found: list[Finding] = []
        end = self.now + round(seconds * S)
        while self.now < end:
            self.now += round(CHECK_INTERVAL_S * S)
            if heartbeats:
                self.health.any_at = self.now
            found += self.health.check(self.now)
        return found

    def stream(self, topic: str, seconds: float, every_s: float) -> list[Finding]:
        """The topic speaks at a steady pace."""
        found: list[Finding] = []
        for _ in range(round(seconds / every_s)):
            found += self.wait(every_s) if every_s >= CHECK_INTERVAL_S else self.step(every_s)
            finding = self.speak(topic)
            found += [finding] if finding else []
        return found

    def step(self, seconds: float) -> list[Finding]:
        self.now += round(seconds * S)
        return self.health.check(self.now)

    def unanswered(self, topic: str) -> Finding | None:
        """No answer in time, while the line lives."""
        self.now += 10 * MS
        self.health.any_at = self.now
        return self.health.unanswered(topic, self.now)

    def kinds(self, found: list[Finding]) -> list[str]:
        return [finding.kind for finding in found]


def test_a_brisk_stream_is_asked_about_after_the_floor() -> None:
    watch = Watch("a")
    assert watch.stream("a", 20, 0.1) == []
    assert watch.wait(1.9) == []
    assert watch.wait(0.6) == [Finding("ask", "a")]


def test_a_slow_stream_is_given_its_own_time() -> None:
    watch = Watch("a")
    assert watch.stream("a", 200, 5.0) == []
    assert watch.wait(9.9) == []
    assert watch.kinds(watch.wait(2)) == ["ask"]


def test_an_unknown_stream_is_given_time() -> None:
    watch = Watch("a")
    assert watch.wait(9.9) == []
    assert watch.kinds(watch.wait(1)) == ["ask"]


def test_quiet_doubles_the_patience_and_data_resets_it() -> None:
    watch = Watch("a")
    watch.stream("a", 20, 0.1)
    pauses = []
    for _ in range(5):
        begun = watch.now
        while not watch.wait(CHECK_INTERVAL_S):
            pass
        pauses.append(round((watch.now - begun) / S))
        assert watch.health.answered("a", watch.now, watch.now, newer=False) == Finding("quiet", "a")
    assert pauses == [2, 4, 8, 10, 10], "and no longer than the ceiling"
    # The long pause is a usual one now, and forgotten while the stream speaks.
    watch.speak("a")
    watch.stream("a", 40, 0.1)
    assert watch.kinds(watch.wait(3)) == ["ask"]


def test_a_quiet_stream_is_asked_about_within_the_ceiling_for_ever() -> None:
    watch = Watch("a")
    watch.stream("a", 20, 0.1)
    for _ in range(14):
        begun = watch.now
        while not watch.wait(CHECK_INTERVAL_S):
            pass
        assert watch.now - begun <= 10.5 * S
        watch.health.answered("a", watch.now, watch.now, newer=False)


def test_questions_have_a_budget_and_the_longest_silence_comes_first() -> None:
    names = [f"t{number:02d}" for number in range(40)]
    watch = Watch()
    for number, name in enumerate(names):
        watch.health.acked(name, T0 + number * MS, T0, T0, sequenced=False)
    watch.wait(9.75)
    asked: list[tuple[int, str]] = []
    for _ in range(40):
        watch.now += 50 * MS
        watch.health.any_at = watch.now
        asked += [(watch.now, found.topic) for found in watch.health.check(watch.now) if found.kind == "ask"]
    assert [name for _, name in asked[:40]] == names
    first = asked[0][0]
    assert asked[39][0] - first >= (40 / 50 - 0.25 - 0.05) * S, "50 a second, and what was saved up"


def test_a_newer_answer_and_no_push_is_death() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    last = watch.now
    assert watch.kinds(watch.wait(2.5)) == ["ask"]
    watch.speak("b")
    watch.speak("b")
    assert watch.health.answered("a", watch.now, watch.now, newer=True) is None
    assert watch.wait(0.5) == []
    (dead,) = watch.wait(0.5)
    assert (dead.kind, dead.topic, dead.since) == ("dead", "a", last)
    assert watch.wait(5) == [], "told once"


def test_a_push_saves_a_stream_whose_answer_was_newer() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    watch.wait(2.5)
    watch.health.answered("a", watch.now, watch.now, newer=True)
    watch.wait(0.5)
    assert watch.speak("a") is None
    assert watch.wait(1.5) == []


def test_no_answer_is_death() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    last = watch.now
    watch.wait(2.5)
    watch.speak("b")
    assert watch.unanswered("a") == Finding("ask", "a", again=True)
    dead = watch.unanswered("a")
    assert dead is not None
    assert (dead.kind, dead.topic, dead.since) == ("dead", "a", last)
    assert watch.unanswered("a") is None


def test_a_renewed_stream_that_dies_again_is_given_longer_each_time() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    waits = []
    for _ in range(4):
        begun = watch.now
        while Finding("ask", "a") not in watch.wait(CHECK_INTERVAL_S):
            pass
        waits.append(round((watch.now - begun) / S))
        watch.speak("b")
        watch.unanswered("a")
        dead = watch.unanswered("a")
        assert dead is not None
        assert dead.kind == "dead"
        watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
        assert watch.speak("a") is None, "the venue's last message, sent again, is no proof of life"
    assert waits == [2, 4, 8, 16]


def test_an_answer_is_waited_for_by_the_lines_own_round_trip() -> None:
    watch = Watch("a")
    assert watch.health.answer_ns == SETTINGS.answer_ns
    watch.health.round_trip.learn(50 * MS)
    assert watch.health.answer_ns == SETTINGS.answer_ns, "a fast line needs no more"
    watch.health.round_trip.learn(1300 * MS)
    assert 1500 * MS < watch.health.answer_ns < 2 * S


def test_an_answer_without_data_is_no_death() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 3, 0.25)
    asked = [finding for finding in watch.wait(3) if finding.topic == "a"]
    assert watch.kinds(asked) == ["ask"]
    again = watch.health.blank("a", watch.now)
    assert again is not None and again.kind == "ask"
    last = watch.unanswered("a")
    assert last is not None and last.kind == "ask", "this is the first one that was not answered"
    assert watch.health.blank("a", watch.now) is not None
    assert watch.health.blank("a", watch.now) is None
    assert watch.health.questioned() == []
    assert "a" in [finding.topic for finding in watch.wait(3)], "and is asked again later"


def test_a_pong_tells_whose_silence_it_is_where_nothing_else_came() -> None:
    watch = Watch("a", "b", pongs=True)
    watch.stream("a", 20, 0.1)
    while "a" not in watch.health.questioned():
        watch.wait(CHECK_INTERVAL_S)
    watch.now += 600 * MS
    assert watch.health.unanswered("a", watch.now) == Finding("ping")
    assert watch.health.unanswered("a", watch.now) is None, "until the pong is there"
    assert watch.unanswered("a") == Finding("ask", "a", again=True)


def test_an_answer_that_proves_nothing_is_soon_followed_by_another_question() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    assert "a" in [finding.topic for finding in watch.wait(2.5)]
    watch.health.excused("a", watch.now)
    assert [finding for finding in watch.wait(0.5) if finding.topic == "a"] == []
    assert [finding.topic for finding in watch.wait(0.25)] == ["a"]


def test_an_answer_that_cannot_be_read_is_asked_for_at_once() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    watch.health.resends = True
    for _ in range(3):
        while "ask" not in watch.kinds(found := watch.wait(CHECK_INTERVAL_S)):
            assert found == [], "nor does that prove a death"
        watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
        watch.health.unreadable("a", watch.now)
        assert watch.health.next_check(watch.now) <= 20 * MS


def test_a_stream_that_is_not_ready_is_not_asked_about() -> None:
    watch = Watch("a", sequenced=True)
    ready: list[str] = []
    watch.health = LineHealth(SETTINGS, T0, unready=lambda topic: topic not in ready)
    watch.health.acked("a", T0, T0, T0, sequenced=True)
    assert watch.wait(20) == []
    assert watch.health.next_check(watch.now) > 200 * MS, "nor is it waited for"
    ready.append("a")
    watch.health.told("a", watch.now)
    assert watch.wait(9) == []
    assert watch.kinds(watch.wait(2)) == ["ask"]


def test_all_of_a_line_is_dead_if_nothing_else_came() -> None:
    watch = Watch("a", "b")
    for _ in range(200):
        watch.stream("a", 0.1, 0.1)
        watch.speak("b")
    watch.wait(2.5)
    watch.health.answered("a", watch.now, watch.now, newer=True)
    assert watch.kinds(watch.wait(1.5)) == ["silence"]


def test_one_unanswered_question_does_not_condemn_the_line_but_two_do() -> None:
    watch = Watch("a", "b", "c")
    for _ in range(200):
        watch.stream("a", 0.1, 0.1)
        watch.speak("b")
        watch.speak("c")
    assert watch.kinds(watch.wait(2.5)) == ["ask", "ask", "ask"]
    for topic in "ab":
        assert watch.unanswered(topic) == Finding("ask", topic, again=True)
    first = watch.unanswered("a")
    second = watch.unanswered("b")
    assert first is not None
    assert second is not None
    assert (first.kind, second.kind) == ("dead", "silence")


def test_a_stream_that_is_back_while_the_answer_is_overdue_has_a_hole() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    last = watch.now
    assert watch.kinds(watch.wait(4)) == ["ask"]
    hole = watch.speak("a")
    assert hole is not None
    assert (hole.kind, hole.since) == ("hole", last)


def test_a_stream_that_is_back_before_the_answer_could_come_has_none() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    assert watch.kinds(watch.wait(2.25)) == ["ask"]
    assert watch.speak("a") is None


def test_a_chain_tells_by_itself_whether_there_is_a_hole() -> None:
    watch = Watch("a", "b", sequenced=True)
    watch.stream("a", 20, 0.1)
    assert watch.kinds(watch.wait(4)) == ["ask"]
    assert watch.speak("a") is None


def test_where_nothing_can_be_requested_the_resent_message_is_compared() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    watch.speak("a", b"last")
    last = watch.now
    watch.wait(2.5)
    watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
    assert watch.speak("a", b"resent") == Finding("compare", "a", since=last, before=b"last")
    assert watch.health.answered("a", watch.now, watch.now, newer=True, since=last, answer=b"resent") is None
    (dead,) = watch.wait(0.75)
    assert (dead.kind, dead.since) == ("silence", last)


def test_what_was_sent_again_may_still_be_pushed_or_be_followed_by_more() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    last = watch.now
    watch.wait(2.5)
    watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
    watch.speak("a", b"resent")
    watch.health.answered("a", watch.now, watch.now, newer=True, since=last, answer=b"resent")
    watch.wait(0.25)
    assert watch.speak("a", b"next") == Finding("confirm", "a", since=last, before=b"resent")
    assert watch.wait(1.5) == [], "it lives, whatever it missed"


def test_a_resent_message_that_is_known_means_quiet() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    watch.wait(2.5)
    watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
    assert watch.speak("a") is not None
    assert watch.health.answered("a", watch.now, watch.now, newer=False) == Finding("quiet", "a")


def test_nothing_resent_is_death_where_the_venue_is_known_to_send_again() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    watch.stream("b", 1, 0.1)
    watch.health.resends = True
    watch.health.streams["a"].last_at = watch.now - S
    found = []
    for _ in range(14):
        found += watch.step(0.25)
        watch.speak("b")
    assert watch.kinds(found) == ["ask"]
    watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
    for _ in range(3):
        found += watch.step(0.25)
        watch.speak("b")
    assert found[1:] == [Finding("ask", "a", again=True)]
    watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
    found = []
    for _ in range(3):
        found += watch.step(0.25)
        watch.speak("b")
    assert watch.kinds(found) == ["dead"]


def test_nothing_resent_proves_nothing_of_a_venue_that_may_not_do_so() -> None:
    watch = Watch("a", "b")
    watch.stream("a", 20, 0.1)
    for _ in range(4):
        while "ask" not in watch.kinds(watch.wait(CHECK_INTERVAL_S)):
            pass
        watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
        assert watch.kinds(watch.wait(0.75))[-1:] in ([], ["ask"])
        watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
        assert "dead" not in watch.kinds(watch.wait(0.75))


def test_heartbeats_are_no_data_and_their_absence_is_half_open() -> None:
    watch = Watch("a")
    watch.stream("a", 20, 0.1)
    assert "ask" in watch.kinds(watch.wait(14, heartbeats=True))
    assert watch.kinds(watch.wait(15.5, heartbeats=False))[-1] == "half_open"


@pytest.mark.parametrize("pongs", [True, False])
def test_a_line_that_is_not_read_is_not_dead(pongs: bool) -> None:
    """With too many frames waiting the venue is held back, heartbeats and all."""
    watch = Watch("a", pongs=pongs)
    watch.stream("a", 5, 0.1)
    for _ in range(400):
        watch.now += 50 * MS
        assert not watch.health.check(watch.now, backlog=True)
    watch.health.any_at = watch.now
    assert "half_open" not in watch.kinds(watch.wait(1.0))
    assert watch.kinds(watch.wait(16.0, heartbeats=False))[-1] == "half_open"


def test_half_open_is_found_soon_where_the_venue_answers_pings() -> None:
    watch = Watch("a", pongs=True)
    watch.stream("a", 20, 0.1)
    begun = watch.now
    found = watch.wait(2.5, heartbeats=False)
    assert watch.kinds(found)[0] == "ping"
    while not (found := watch.wait(CHECK_INTERVAL_S, heartbeats=False)):
        pass
    assert watch.kinds(found) == ["half_open"]
    assert watch.now - begun <= 5 * S


def test_a_pong_keeps_a_quiet_line_up() -> None:
    watch = Watch("a", pongs=True)
    watch.speak("a")
    for _ in range(20):
        watch.wait(0.25)
        found = watch.wait(3.5, heartbeats=False)
        assert "ping" in watch.kinds(found)
        assert "half_open" not in watch.kinds(found)
        watch.health.any_at = watch.now


def test_late_checks_excuse_the_silence() -> None:
    watch = Watch("a")
    watch.stream("a", 20, 0.1)
    watch.now += 3600 * S
    assert watch.health.check(watch.now) == []
    assert watch.wait(1.5) == []
    assert watch.kinds(watch.wait(1)) == ["ask"]


def test_what_was_learned_outlives_the_connection() -> None:
    watch = Watch("a")
    watch.stream("a", 20, 0.1)
    watch.health = LineHealth(SETTINGS, watch.now, paces=watch.paces)
    watch.health.acked("a", watch.now, watch.now, watch.now, sequenced=False)
    assert watch.kinds(watch.wait(2.5)) == ["ask"]


def test_a_stream_that_ended_is_not_watched() -> None:
    watch = Watch("a")
    watch.stream("a", 20, 0.1)
    watch.health.ended("a")
    assert watch.wait(60) == []
    assert watch.speak("a") is None
    assert watch.speak("never subscribed") is None


@pytest.mark.parametrize("mean_s", [0.05, 0.5, 3.0, 30.0])
def test_a_market_of_chance_raises_no_alarm_as_long_as_questions_are_answered(mean_s: float) -> None:
    rng = random.Random(int(mean_s * 100))
    watch = Watch("a", "b")
    answer_at = 0
    questions = 0
    for _ in range(3000):
        due = watch.now + max(MS, round(rng.expovariate(1 / mean_s) * S))
        while watch.now < due:
            watch.now = min(due, watch.now + 250 * MS)
            watch.health.any_at = watch.now
            if answer_at and watch.now >= answer_at:
                watch.health.answered("a", watch.now, watch.now, newer=False)
                watch.health.answered("b", watch.now, watch.now, newer=False)
                answer_at = 0
            for finding in watch.health.check(watch.now):
                assert finding.kind == "ask"
                questions += 1
                answer_at = answer_at or watch.now + 200 * MS
        assert watch.speak("a") is None
    assert questions <= 2 * (watch.now - T0) / SETTINGS.floor_ns, "each stream once in a floor's time"

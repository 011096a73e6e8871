"""Slices of the liveness figures, short enough for every run of the tests."""

from __future__ import annotations

from bookreel.ingest.config import RecordConfig
from tests.simulation import liveness


def test_faults_are_found_within_three_seconds_and_nothing_else_is() -> None:
    figures = liveness.detection(seed=11, hours=0.7, symbols=4, faults_per_hour=400.0)
    assert figures["found: all count"] >= 15
    assert figures["found: half-open count"] >= 1
    assert figures["found: all max s"] <= 3.0
    assert figures["false alarms"] == 0
    assert sum(count for name, count in figures.items() if name.startswith("never found")) == 0
    assert figures["requests refused"] == 0
    assert figures["second subscriptions a second"] <= 50


def test_quiet_symbols_raise_no_alarm() -> None:
    figures = liveness.detection(seed=12, hours=0.5, symbols=4, faults_per_hour=0.0)
    assert figures["false alarms"] == 0
    assert figures["requests a second"] < 0.5, "the witnesses spare the books' requests"


def test_books_are_right_again_within_half_a_second() -> None:
    figures = liveness.resync(seed=13, breaks=100, books=6)
    assert figures["resync p50 s"] < 0.25
    assert figures["resync p99 s"] < 0.5
    assert figures["resync: requests refused"] == 0


def test_twenty_books_are_right_soon_after_a_reconnect() -> None:
    figures = liveness.reconnect(seed=14, rounds=5)
    assert figures["reconnect of 20 books max s"] < 2.5
    assert figures["reconnect: requests refused"] == 0


def test_a_full_line_of_books_is_right_soon_after_a_reconnect() -> None:
    books = RecordConfig().books_per_connection
    figures = liveness.reconnect(seed=4, rounds=5, books=books)
    assert figures[f"reconnect of {books} books max s"] < 2.5
    assert figures["reconnect: requests refused"] == 0


def test_all_lines_dropping_at_once_storm_nobody() -> None:
    figures = liveness.storm(seed=15, symbols=80)
    assert figures["storm: connects refused"] == 0
    assert figures["storm: requests refused"] == 0
    assert figures["storm: most connects in a second"] <= 10
    assert figures["storm: all books right after s"] < 45

from __future__ import annotations

from itertools import count

import pytest

from bookreel.storage.journal import Journal
from tests.crash.kills import kill
from tests.crash.owners import race
from tests.crash.sealing import kill_sealers
from tests.crash.shutdown import shut_down
from tests.crash.witness import Lost


def test_killed_processes_lose_nothing_that_was_acknowledged() -> None:
    kills = kill(96, seed=1)
    assert kills.kills.total() == 96
    seed = 2
    while not kills.checked:  # a busy machine has killed them all before they came to anything
        kills.add(kill(96, seed=seed))
        seed += 1


def test_killed_sealers_lose_no_row_and_give_none_twice() -> None:
    kills = kill_sealers(36, seed=2)
    assert kills.kills["sealing"] > 10


def test_an_acknowledgement_before_the_write_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "durable_pos", property(lambda self: self.next_pos - 1))
    with pytest.raises(Lost):
        for seed in count(1):  # until one came far enough
            kill(60, seed=seed)


def test_one_of_the_recorders_that_start_at_once_owns_the_archive() -> None:
    races = race(20, seed=1)
    assert (races.races, races.recorders > 40, races.killed > 3) == (20, True, True)


def test_a_lock_that_everybody_gets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bookreel.storage.disk._flock", lambda fd, operation: True)
    with pytest.raises(Lost):
        race(5, seed=1)


@pytest.mark.parametrize("end", ["terminated twice", "killed"])
def test_a_whole_recorder_that_is_cut_off_needs_no_repair(end: str) -> None:
    shutdowns = shut_down(1, seed=1, ends=(end,))
    assert shutdowns.ends == {end: 1}
    assert shutdowns.records > 10, "it is cut off when so many can be read"

"""The list of planted bugs is in order, and the hunt works: it catches one, and it tells a survivor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutant import ROOT, Copy, Mutant, load_mutants

LEAST = 40


def test_there_are_enough_of_them_under_names_of_their_own() -> None:
    names = [mutant.name for mutant in load_mutants()]
    assert len(names) >= LEAST
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("mutant", load_mutants(), ids=lambda mutant: mutant.name)
def test_it_still_fits_the_code(mutant: Mutant) -> None:
    assert mutant.path.read_text().count(mutant.old) == 1, f"adapt it: the code of {mutant.file} has changed"
    assert mutant.old != mutant.new
    for argument in mutant.test.split():
        if argument.startswith("tests/"):
            assert (ROOT / argument.partition("::")[0]).exists()


def test_a_copy_is_tested_with_its_own_code(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    harmless = Mutant("a", "book/errors.py", '"""', '"""', "tests/book/test_model.py")
    bug = Mutant(
        "b",
        "book/l2.py",
        "def top(self",
        "def top(self, *_):\n        return\n\n    def unused(self",
        "tests/book/test_l2.py",
    )
    assert copy.test(bug.test, 100).passed
    with copy.infected(bug):
        outcome = copy.test(bug.test, 100)
    assert outcome.caught and not outcome.passed, outcome.output
    with pytest.raises(ValueError, match="not once"), copy.infected(harmless):
        pass
    assert not copy.test("tests/book/no_such_test.py", 100).caught

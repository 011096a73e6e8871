from __future__ import annotations

from pathlib import Path

import pytest

from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.errors import (
    BadFaultSpec,
    BadSetting,
    BadTruth,
    ExchangeError,
    NothingRecorded,
    OtherVenue,
    PortInUse,
    UnknownFault,
    UnknownSymbol,
)

TABLE = [
    (PortInUse(9600), 2, "port 9600 on 127.0.0.1 is in use: choose another one, or 0 for any free port"),
    (UnknownFault("x", []), 2, "unknown fault 'x': use 'all' for every kind"),
    (UnknownFault("silense", ["silence"]), 2, "unknown fault 'silense': did you mean silence?"),
    (UnknownSymbol("x", ["y"]), 2, "unknown symbol 'x': did you mean y?"),
    (BadSetting("rate", 0, "it must be more than 0"), 2, "rate = 0 cannot work: it must be more than 0"),
    (
        NothingRecorded(Path("a")),
        2,
        "a has nothing of these symbols and times to play: `bookreel info --archive a` says what it has",
    ),
    (
        OtherVenue(Path("a"), "futu", "huobi"),
        2,
        "a is of futu, and cannot be played by the protocol of huobi; "
        "`bookreel exchange --archive a` plays it by its own",
    ),
]


@pytest.mark.parametrize(("error", "exit_code", "text"), TABLE)
def test_sentences(error: ExchangeError, exit_code: int, text: str) -> None:
    assert (error.exit_code, str(error)) == (exit_code, text)


def test_sentences_with_more_to_say() -> None:
    assert "lost_delta=x" in str(BadFaultSpec("lost_delta=x", "'x' is not a number"))
    assert str(BadTruth("t.ndjson", 3, "broken")).startswith("t.ndjson line 3 ")
    assert BadTruth("t", 1, "r").exit_code == 3


@pytest.mark.parametrize(
    "bad", [{"rate": 0.0}, {"rate": -1.0}, {"symbols": ()}, {"port": 70_000}, {"ping_s": 0.0}]
)
def test_settings_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(BadSetting):
        ExchangeConfig(**bad)  # type: ignore[arg-type]

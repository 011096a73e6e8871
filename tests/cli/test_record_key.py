"""`bookreel record --venue futu` with a key: from the environment or a file, and never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Process

Run = Callable[..., Any]

KEY = "k3y-that-nobody-sees"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The flags of `record` for a gateway that wants the key."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWAY_KEY", KEY)
        process = Process(
            log,
            "exchange",
            "--venue",
            "futu",
            "--port",
            0,
            "--symbols",
            "HK.00700",
            "--token-env",
            "GATEWAY_KEY",
        )
    word, ws, rest = process.line().split()
    assert word == "listening:"
    yield [
        "--venue",
        "futu",
        "--symbols",
        "HK.00700",
        "--feeds",
        "ticker",
        "--ws-url",
        ws,
        "--rest-url",
        rest,
    ]
    process.popen.kill()
    process.popen.communicate()


@pytest.mark.parametrize("way", ["--token-env", "--token-file"])
def test_a_key_opens_the_gateway_and_is_written_nowhere(
    run: Run, gateway: list[str], tmp_path: Path, way: str
) -> None:
    place = tmp_path / "key"
    place.write_text(f"{KEY}\n")
    named = "MY_KEY" if way == "--token-env" else place
    archive = tmp_path / "archive"
    words = ["record", *gateway, way, named, "--archive", archive, "--for", "2s"]
    done = run(*words, env={"MY_KEY": KEY})
    assert done.returncode == 0, done.stderr
    written = b"".join(path.read_bytes() for path in archive.rglob("*") if path.is_file())
    assert b"push-0" in written and KEY.encode() not in written
    assert KEY not in done.stdout + done.stderr
    counted = run("sql", "--archive", archive, "SELECT count(*) > 0 AS some FROM trades", "--format", "csv")
    assert counted.stdout.split() == ['"some"', "true"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "401"),
        (["--token-env", "WRONG"], "401"),
        (["--token-env", "NOBODY_SET_THIS"], "the environment has no variable 'NOBODY_SET_THIS'"),
        (["--token-env", "BLANK"], "the environment has no variable 'BLANK', or it is empty"),
        (["--token-env", "ODD"], "characters that a header cannot have"),
        (["--token-file", "no-such-file"], "cannot read the key's file"),
        (["--token-file", "empty"], "empty is empty"),
    ],
)
def test_without_the_right_key_it_ends_at_once_and_says_why(
    run: Run, gateway: list[str], tmp_path: Path, words: list[str], told: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    keys = {"WRONG": "wr0ng-key", "BLANK": " ", "ODD": "wr0ng-\x07-key"}
    done = run("record", *gateway, *words, "--archive", "archive", cwd=tmp_path, env=keys)
    assert done.returncode == 2 and told in done.stderr
    assert "wr0ng" not in done.stderr + done.stdout and not (tmp_path / "archive").exists()

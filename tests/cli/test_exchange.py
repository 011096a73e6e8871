from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_it_says_where_and_stops_on_a_signal(start: Callable[..., Any], tmp_path: Path) -> None:
    truth = tmp_path / "truth.ndjson"
    process = start("exchange", "--port", 0, "--symbols", "btcusdt", "--truth", truth)
    assert process.line().startswith("listening: ws://127.0.0.1:")
    assert "bookreel record --symbols btcusdt" in process.line()
    assert process.end(signal.SIGINT) == 0
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert [lines[0]["type"], lines[-1]["type"]] == ["start", "stop"]


def test_a_port_in_use(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("exchange", "--port", port)
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use: choose another one, or 0" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--faults", "lost_dleta=3"], "did you mean lost_delta?"),
        (["--faults", "lost_delta=x"], "'x' is not a number"),
        (["--symbols", "btc-usd"], "did you mean btcusdt"),
        (["--truth", "/nowhere/truth"], "/nowhere/truth: No such file or directory"),
        (["--host", "198.51.100.1"], "cannot assign requested address"),
        (["--host", "127.0.0.999"], "--host 127.0.0.999"),
        (["--port", "99999"], "not in the range"),
        (["--rate", "0"], "not in the range"),
    ],
)
def test_wrong_settings(run: Run, words: list[str], told: str) -> None:
    done = run("exchange", "--port", 0, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_the_second_venue_says_where_and_how_to_subscribe(start: Callable[..., Any], tmp_path: Path) -> None:
    truth = tmp_path / "truth.ndjson"
    process = start("exchange", "--venue", "futu", "--port", 0, "--symbols", "HK.00700", "--truth", truth)
    listening = process.line().split()
    assert listening[0] == "listening:" and listening[1].endswith("/ws")
    assert '"symbols":["HK.00700"]' in process.line()
    with urllib.request.urlopen(f"{listening[2]}/api/global-state", timeout=60) as reply:
        assert json.loads(reply.read())["s2c"]["qot_logined"] is True
    assert process.end(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert [lines[0]["type"], lines[-1]["type"]] == ["start", "stop"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--faults", "login_los=3"], "did you mean login_loss"),
        (["--symbols", "HK.0070"], "did you mean HK.00700"),
        (["--speed", "2"], "--speed is for an archive; give --archive DIR"),
        (["--token-env", "NOBODY_SET_THIS"], "the environment has no such variable"),
        (["--hours", "sometimes"], "'sometimes' is not one of"),
    ],
)
def test_wrong_settings_of_the_second_venue(run: Run, words: list[str], told: str) -> None:
    done = run("exchange", "--venue", "futu", "--port", 0, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_settings_of_the_second_venue_are_not_the_firsts(run: Run) -> None:
    done = run("exchange", "--port", 0, "--hours", "real")
    assert done.returncode == 2 and "--hours and --token-env are for --venue futu" in done.stderr


def test_it_can_speak_tls(run: Run, start: Callable[..., Any], tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(cert)]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    process = start("exchange", "--port", 0, "--tls-cert", cert, "--tls-key", key)
    words = process.line().split()
    assert [word.partition(":")[0] for word in words[1:]] == ["wss", "wss", "https"]
    trusting = ssl.create_default_context(cafile=str(cert))
    with urllib.request.urlopen(f"{words[3]}/v1/common/timestamp", context=trusting) as page:
        assert json.load(page)["status"] == "ok"
    assert process.end(signal.SIGINT) == 0
    for options, told in (
        (["--tls-key", key], "give --tls-cert FILE too"),
        (["--tls-cert", cert], "not a certificate with its key"),
        (["--venue", "futu", "--tls-cert", cert, "--tls-key", key], "--tls-cert and --tls-key are for huobi"),
    ):
        done = run("exchange", "--port", 0, *options)
        assert done.returncode == 2 and told in done.stderr

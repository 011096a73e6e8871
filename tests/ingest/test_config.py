from __future__ import annotations

from pathlib import Path

import pytest

from bookreel.ingest.config import DEFAULT_FEEDS, RecordConfig, load_config
from bookreel.ingest.errors import ConfigError, IngestError


def test_defaults_are_the_venues_public_hosts() -> None:
    config = load_config()
    assert (config.venue, config.feeds) == ("huobi", DEFAULT_FEEDS)
    assert config.ws_url == "wss://api.huobi.pro/ws"
    assert config.feed_url == "wss://api.huobi.pro/feed"
    assert config.rest_url == "https://api.huobi.pro"
    assert config.req_interval_ms >= 100


def test_a_file_and_flags_above_it(tmp_path: Path) -> None:
    path = tmp_path / "recorder.toml"
    path.write_text('symbols = ["btcusdt"]\nfeeds = ["mbp.150"]\narchive = "here"\nfsync_interval_ms = 10\n')
    config = load_config(path, {"archive": "there", "feeds": "trade, bbo", "venue": None})
    assert config.symbols == ("btcusdt",)
    assert config.feeds == ("trade", "bbo")
    assert (config.archive, config.fsync_interval_ms, config.venue) == ("there", 10, "huobi")


def test_all_symbols() -> None:
    assert load_config(None, {"symbols": "all"}).symbols == "all"


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ('symbol = ["btcusdt"]', "symbol", "symbols"),
        ("fsync_ms = 10", "fsync_ms", "fsync_interval_ms"),
        ('wsurl = "ws://x"', "wsurl", "ws_url"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, text: str, key: str, near: str) -> None:
    path = tmp_path / "recorder.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.key == key
    assert near in caught.value.near
    assert near in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fsync_interval_ms", 0),
        ("fsync_interval_ms", "100"),
        ("req_interval_ms", 50),
        ("ws_url", "api.huobi.pro/ws"),
        ("metrics_port", 70_000),
        ("for_seconds", 0.0),
        ("symbols", 7),
        ("symbols", ["btcusdt", 7]),
    ],
)
def test_a_wrong_value_names_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {key: value})
    assert caught.value.key == key
    assert key in str(caught.value)


@pytest.mark.parametrize("key", ["symbols", "feeds"])
def test_nothing_to_record_is_an_error(key: str) -> None:
    with pytest.raises(ConfigError, match="empty"):
        load_config(None, {key: []})


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "odd.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(tmp_path / "odd.toml")


def test_errors_end_the_command_line_with_2() -> None:
    assert issubclass(ConfigError, IngestError)
    assert ConfigError("a", "b").exit_code == 2


def test_every_setting_is_explained() -> None:
    source = Path(__file__).parents[2].joinpath("ingest", "config.py").read_text()
    for name in RecordConfig.__struct_fields__:
        declaration = source.index(f"    {name}: ")
        following = source[declaration:].split("\n", 2)
        assert following[1].startswith('    """'), f"{name} has no explanation"

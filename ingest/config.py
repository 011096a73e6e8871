"""The recorder's settings: one frozen struct, decoded once from TOML and flags; nothing else reads
settings.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from bookreel.ingest.errors import ConfigError

__all__ = ["DEFAULT_FEEDS", "Poll", "RecordConfig", "load_config"]

DEFAULT_FEEDS = ("mbp.150", "depth.step0", "bbo", "trade.detail", "kline.1min", "detail")
"""One of every kind that all symbols have."""

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
_Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
_Url: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^(wss?|https?)://[^\s/]+")]


_GATEWAY: Final[dict[str, Any]] = {
    "symbols": ("HK.00700", "US.AAPL"),
    "feeds": ("orderbook", "ticker", "quote", "kline.1min"),
    "ws_url": "ws://127.0.0.1:22222/ws",
    "rest_url": "http://127.0.0.1:22222",
}
_DEFAULTS: Final[dict[str, dict[str, Any]]] = {"futu": _GATEWAY}
"""What is the default of a venue that is not the first."""


class Poll(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A REST endpoint that is asked again and again, and its answers recorded; of a venue that has such."""

    endpoint: str
    """Its name, such as ``snapshot``."""

    every_s: _Positive = 60.0
    """Seconds from one time to the next."""

    each: bool = False
    """Ask once for each symbol that is recorded, which becomes the field ``symbol``."""

    batch: bool = False
    """Ask for all symbols that are recorded, 100 at a time, which become the field ``symbols``."""

    fields: dict[str, Any] = {}
    """The other fields of the request."""


class RecordConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything `bookreel record` can be told. Units are last in the names: ``_ms``, ``_s``, ``_bytes``."""

    venue: str = "huobi"
    """Whose protocol is spoken."""

    symbols: Literal["all"] | tuple[str, ...] = ("btcusdt", "ethusdt")
    """What to record; ``"all"``: every symbol that is online, later listings included."""

    feeds: tuple[str, ...] = DEFAULT_FEEDS
    """The venue's topics without their symbol part."""

    archive: str = "archive"
    """Folder of the archive; made if it is not there."""

    ws_url: _Url = "wss://api.huobi.pro/ws"
    """Every feed but the incremental books."""

    feed_url: _Url = "wss://api.huobi.pro/feed"
    """Incremental books (``mbp.N``) and their snapshots; the venue serves them here only."""

    rest_url: _Url = "https://api.huobi.pro"
    """Reference data."""

    token_env: str | None = None
    """Name of the environment variable that holds the key, where the venue wants one. It is sent in a header and
    written nowhere."""

    token_file: str | None = None
    """The file that holds it."""

    poll: tuple[Poll, ...] = ()
    """What else is asked of a venue that has REST endpoints."""

    push_health_s: _Positive = 2.0
    """How often a gateway is asked whether it still gets quotes."""

    for_seconds: _Positive | None = None
    """Stop after so many seconds; None: on a signal only."""

    fsync_interval_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 100
    """The most that a power cut can cost; 10 costs 4 % of a thread, 100 hardly any."""

    segment_seconds: _Count = 300
    """A journal segment is closed, and so can be sealed, after this time..."""

    segment_bytes: Annotated[int, msgspec.Meta(ge=1 << 16)] = 128 << 20
    """...or this size. Smaller segments are sealed sooner but make more files."""

    spool_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 256 << 20
    """Memory for frames a slow or full disk does not take; beyond it frames are shed, and registered as
    lost.
    """

    seal: bool = True
    """Seal closed segments into Parquet in a process of its own while recording, and the last one at the
    end.
    """

    topics_per_connection: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    """The venue publishes no limit; another client runs 128 without trouble."""

    books_per_connection: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 18
    """Each book needs a request after a reconnect, and the venue takes one in 100 ms: 18 are back in less than
    2.5 s, an answer that comes late or is too old included.
    """

    req_interval_ms: Annotated[int, msgspec.Meta(ge=100)] = 105
    """Between two requests on one connection: the venue's 100 ms and a margin for jitter on the way. It grows by
    itself where the venue complains.
    """

    sub_interval_ms: Annotated[int, msgspec.Meta(ge=0)] = 10
    """Between two subscriptions on one connection. No limit is published; a burst of 45 was taken."""

    req_timeout_ms: _Count = 5000
    """An unanswered request is asked again after this time, and then ever more slowly."""

    snapshot_hedge_ms: Annotated[int, msgspec.Meta(ge=0)] = 100
    """A book that is without its snapshot for so long asks once more, and again after as long, where nobody else
    waits for a first one: answers are late, or too old, often enough. 0: never.
    """

    ask_timeout_ms: _Count = 500
    """The same for the question whether a silent stream is alive: without an answer it is asked once more, and then
    taken for dead.
    """

    connect_timeout_ms: _Count = 10_000
    """For name, TCP, TLS and WebSocket together."""

    backoff_base_ms: _Count = 500
    """The first reconnect comes within this time, each further one within twice as much..."""

    backoff_cap_ms: _Count = 30_000
    """...but never later than this."""

    connects_per_second: _Positive = 5.0
    """Over all connections of the process, so that a venue coming back is not stormed."""

    half_open_ms: _Count = 15_000
    """A connection on which nothing at all came is dead after this time: three of the venue's pings."""

    ping_after_ms: _Count = 750
    """Where the venue answers pings, it gets one as soon as nothing came for this time..."""

    pong_timeout_ms: _Count = 1500
    """...and a connection on which nothing comes for this time after it is dead."""

    silence_floor_ms: _Count = 1000
    """A stream is never suspected sooner than this, however brisk it was."""

    silence_factor: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    """A stream is suspected when it is silent for so many times its longest usual pause; that costs a question."""

    silence_ceiling_ms: _Count = 2000
    """A stream is asked about after this silence, however quiet it was: what it may have withheld is known within
    three seconds. More is politer to the venue where most symbols are quiet, and finds a dead one later.
    """

    asks_per_second: _Positive = 50.0
    """The most questions (second subscriptions) on one connection: 100 quiet topics, each every 2 s."""

    book_asks_per_second: _Positive = 5.0
    """The same for books, whose questions take turns with requests for snapshots. Where ``depth.step0`` is recorded
    too, quiet books need none.
    """

    audit_interval_s: Annotated[int, msgspec.Meta(ge=0)] = 300
    """How often each live book's snapshot is requested and recorded, for `bookreel verify` to compare; 0:
    never.
    """

    backfill_trades: bool = True
    """Request the latest trades after each reconnect: those missed meanwhile are recovered, others
    dropped.
    """

    reference_interval_s: _Count = 3600
    """How often reference data is loaded again."""

    rest_timeout_s: _Positive = 60.0
    """How long to try for the first reference data."""

    max_frame_bytes: Annotated[int, msgspec.Meta(ge=1 << 16, le=16 << 20)] = 8 << 20
    """A larger frame closes the connection; the venue's largest are some 50 kB."""

    decode_error_limit: _Count = 20
    """So many unreadable frames in a row, and the connection is made anew."""

    metrics_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    """Serve /metrics, /livez, /readyz and /status on this port of 127.0.0.1; 0: do not."""

    metrics_per_symbol: bool = True
    """Say of each book whether it is live; with thousands of books that is much for a metrics store."""


def load_config(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> RecordConfig:
    """Settings from a TOML file, if given, with ``overrides`` (from flags; None means not given) above it.

    A list may be given as text with commas. Raises :class:`ConfigError`, which names the nearest right key.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _read(Path(path))
        _check_keys(values, str(path))
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    _check_keys(given, "")
    values.update(given)
    values = {**_DEFAULTS.get(str(values.get("venue")), {}), **values}
    for key in ("symbols", "feeds"):
        if isinstance(values.get(key), str) and values[key] != "all":
            values[key] = [part.strip() for part in values[key].split(",") if part.strip()]
    try:
        config = msgspec.convert(values, RecordConfig)
    except msgspec.ValidationError as error:
        key = _key_of(str(error))
        # msgspec would show the pattern of an address.
        reason = "write an address such as wss://host/path" if key.endswith("_url") else str(error)
        raise ConfigError(key, f"setting {key!r}: {reason}", source=str(path or "")) from error
    for key in ("symbols", "feeds"):
        if not getattr(config, key):
            raise ConfigError(
                key, f"setting {key!r} is empty: there would be nothing to record", source=str(path or "")
            )
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("", f"cannot read it: {error.strerror}", source=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("", f"not TOML: {error}", source=str(path)) from error


def _check_keys(values: Mapping[str, Any], source: str) -> None:
    known = RecordConfig.__struct_fields__
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2, cutoff=0.5)
            raise ConfigError(key, f"unknown setting {key!r}", near=near, source=source)


def _key_of(message: str) -> str:
    """The key in msgspec's `... - at `$.key``."""
    _, _, path = message.rpartition("`$.")
    return path.rstrip("`").split("[")[0] if path else ""

"""The recorder's numbers for Prometheus, and whether it is well, over HTTP on the loopback interface.

Nothing is counted here: at each scrape the counts that sessions, books and journal keep anyway are read. So
``records_received_total == records_durable_total + records_in_flight + records_shed_total`` holds in every
one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import accumulate
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import msgspec
from aiohttp import web

from bookreel.ingest.books import RESYNC_BUCKETS_S
from bookreel.ingest.errors import ConfigError
from bookreel.ingest.status import StatusReader

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from bookreel.ingest.recorder import Recorder
    from bookreel.ingest.stats import LineStats

__all__ = ["MetricsServer", "render"]

_HOST: Final = "127.0.0.1"
_PREFIX: Final = "bookreel_"
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

_LINE_COUNTERS: Final = {
    "frames_received": ("frames", "Frames received."),
    "frame_bytes": ("frame_bytes", "Bytes of frames."),
    "decode_errors": ("decode_errors", "Unreadable frames."),
    "unknown_messages": ("unknown", "Readable frames of an unknown kind."),
    "silences": ("silences", "Streams found dead, or back after a hole."),
    "quiet": ("quiet", "Silent streams found alive."),
    "timeouts": ("timeouts", "Requests not answered in time."),
    "line_failures": ("failures", "Connections lost to errors of the recorder."),
    "connect_failures": ("connect_failures", "Connections that could not be made."),
}
"""Metric to field of ``LineStats`` and help; each has a label ``line``."""


class _Source:
    """What prometheus_client asks for at a scrape."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._reader = StatusReader(recorder)

    def collect(self) -> Iterator[Metric]:
        yield from self._journal()
        yield from self._lines([line.stats for line in self._recorder.lines])
        yield from self._books()
        recorder = self._recorder
        yield _counter("clock_steps", "Steps of the wall clock.", recorder.pulse.clock_steps)
        restarts = recorder.sealer.restarts if recorder.sealer is not None else 0
        yield _counter("sealer_restarts", "Sealers that died and were started again.", restarts)
        yield _labelled("build_info", "Always 1.", {"version": {metadata.version("bookreel"): 1}}, gauge=True)

    def _journal(self) -> Iterator[Metric]:
        status = self._reader.read()
        yield _counter("records_received", "Journal records taken.", status.received)
        yield _counter("records_durable", "Journal records that survive a power cut.", status.durable)
        yield _counter("records_shed", "Journal records given up.", status.shed)
        yield _gauge("records_in_flight", "Journal records not durable yet.", status.in_flight)
        yield _gauge("durable_lag_seconds", "Age of the oldest record not durable.", status.durable_lag_s)
        yield _gauge("queue_bytes", "Memory of records not durable.", status.held_bytes)
        yield _gauge("event_loop_lag_seconds", "How late the event loop turned.", status.loop_lag_s)
        yield _gauge("disk_free_bytes", "Room left for the archive.", status.disk_free_bytes)
        journal = self._recorder.journal
        if journal is not None:
            causes = {str(cause): count for cause, count in journal.shed_causes.items()}
            name = self._recorder.venue.name
            yield _labelled("frames_shed", "Frames given up.", {"reason": causes}, exchange=name)
            help_ = "How long the disk took to make records durable."
            times = journal.sync_times
            yield _histogram("fsync_seconds", help_, times.bounds, times.counts, times.sum_s)
            times = journal.durable_times
            help_ = "From a record's receipt to its being durable."
            yield _histogram("durable_seconds", help_, times.bounds, times.counts, times.sum_s)
        yield _gauge("ready", "1 if every stream is subscribed and every book live.", not status.reasons)

    def _lines(self, lines: list[LineStats]) -> Iterator[Metric]:
        venue = self._recorder.venue.name
        for name, (field, help_) in _LINE_COUNTERS.items():
            values = {line.name: getattr(line, field) for line in lines}
            yield _labelled(name, help_, {"line": values}, exchange=venue)
        causes = _sum(line.disconnects for line in lines)
        yield _labelled("reconnects", "Connections that ended.", {"cause": causes}, exchange=venue)
        kinds = _sum(line.refusals for line in lines)
        yield _labelled("refusals", "Requests the venue refused.", {"kind": kinds}, exchange=venue)
        up = {line.name: line.state == "up" for line in lines}
        yield _labelled("line_up", "1 while connected.", {"line": up}, exchange=venue, gauge=True)
        for name, help_, times in (
            (
                "last_message_timestamp_seconds",
                "When the last frame came.",
                [s.last_frame_wall for s in lines],
            ),
            ("exchange_latency_seconds", "Age of the last book message.", [s.latency_ns for s in lines]),
        ):
            by_line = {line.name: ns / 1e9 for line, ns in zip(lines, times, strict=True)}
            yield _labelled(name, help_, {"line": by_line}, exchange=venue, gauge=True)

    def _books(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        venue = self._recorder.venue.name
        books = self._recorder.books
        causes = {str(cause): count for cause, count in books.gaps.items()}
        yield _labelled("gaps", "Holes in live books.", {"cause": causes}, exchange=venue)
        yield _labelled(
            "audits", "Books compared with the venue's.", {"result": books.audits}, exchange=venue
        )
        yield _gauge("gap_open", "Books that are not live.", books.total - books.live)
        yield _gauge("books", "Books followed.", books.total)
        help_ = "From a book's loss to its being live."
        yield _histogram("resync_seconds", help_, RESYNC_BUCKETS_S, books.resync_counts, books.resync_sum_s)
        times = books.update_times
        help_ = "From a delta's receipt to its being part of the book, of one in 64."
        yield _histogram("update_seconds", help_, times.bounds, times.counts, times.sum_s)
        if self._recorder.config.metrics_per_symbol:
            valid = GaugeMetricFamily(
                f"{_PREFIX}book_valid", "1 while the book is live.", labels=["exchange", "symbol", "feed"]
            )
            for book in books:
                valid.add_metric([venue, book.topic.symbol, book.topic.feed], float(book.sync.valid))
            yield valid


def _counter(name: str, help_: str, value: float) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(_PREFIX + name, help_, value=value)


def _gauge(name: str, help_: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(_PREFIX + name, help_, value=value)


def _histogram(
    name: str, help_: str, bounds: Sequence[float], counts: Sequence[int], sum_value: float
) -> Metric:
    """``counts``: for each upper bound, and for what is above."""
    from prometheus_client.core import HistogramMetricFamily

    texts = (*map(str, bounds), "+Inf")
    buckets = [(text, float(total)) for text, total in zip(texts, accumulate(counts), strict=True)]
    return HistogramMetricFamily(_PREFIX + name, help_, buckets, sum_value=sum_value)


def _labelled(
    name: str,
    help_: str,
    values: Mapping[str, Mapping[str, float]],
    *,
    exchange: str = "",
    gauge: bool = False,
) -> Metric:
    """``values``: the label, and a value for each of its texts."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    ((label, by_text),) = values.items()
    family = GaugeMetricFamily if gauge else CounterMetricFamily
    metric = family(_PREFIX + name, help_, labels=["exchange", label] if exchange else [label])
    for text, value in by_text.items():
        metric.add_metric([exchange, text] if exchange else [text], float(value))
    return metric


def _sum(counters: Iterable[Counter[str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counters:
        total.update(each)
    return dict(total)


def render(recorder: Recorder) -> bytes:
    """One scrape, in Prometheus' text format, UTF-8."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Source(recorder))
    return generate_latest(registry)


class MetricsServer:
    """``/metrics``, ``/livez``, ``/readyz`` and ``/status``; an asynchronous context manager. Port 0: no
    server.

    Entering raises :class:`ConfigError` where the port is taken.
    """

    def __init__(self, recorder: Recorder, port: int) -> None:
        self._recorder = recorder
        self._reader = StatusReader(recorder)
        self._runner: web.AppRunner | None = None
        self.port = port

    async def __aenter__(self) -> Self:
        if not self.port:
            return self
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/status", self._status)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=8.0, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _HOST, self.port, reuse_address=True).start()
        except OSError as error:
            await self._runner.cleanup()
            reason = (
                f"metrics_port {self.port} cannot be used ({error.strerror}); name another, or 0 for none"
            )
            raise ConfigError("metrics_port", reason) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=render(self._recorder), headers={"Content-Type": _TEXT})

    async def _live(self, request: web.Request) -> web.Response:
        # Whoever gets this answer knows that the event loop turns.
        return web.json_response({"live": True})

    async def _ready(self, request: web.Request) -> web.Response:
        reasons = self._reader.read().reasons
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def _status(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._reader.read()), content_type="application/json")

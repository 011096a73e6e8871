"""cryptofeed's FeedHandler at a venue, in the environment of the peers; nothing of bookreel is imported.

Started with the venue's address, how many frames it will push, and the symbols. It books every depth.step0 frame, and
prints what that took as one line of JSON once the last one was in its callback.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from cryptofeed import FeedHandler
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import HUOBI, L2_BOOK
from cryptofeed.exchanges import Huobi
from cryptofeed.symbols import Symbols


class Near(Huobi):  # type: ignore[misc]
    """The venue without TLS, which its endpoints cannot be told."""

    url = ""

    def connect(self) -> Any:
        connections = super().connect()
        for connection, *_ in connections:
            connection.address = self.url
        return connections


def main() -> None:
    url, frames, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    # It splits names at a dash; where the base ends does not matter here.
    symbols = {f"{name[:3]}-{name[3:]}".upper(): name for name in names}
    Symbols.set(HUOBI, symbols, {"instrument_type": dict.fromkeys(symbols, "spot")})
    Near.websocket_endpoints = [WebsocketEndpoint("wss://venue")]
    Near.url = url
    began = 0, 0
    seen = 0

    async def callback(_: Any, __: float) -> None:
        nonlocal began, seen
        seen += 1
        if seen == 1:
            began = time.monotonic_ns(), time.process_time_ns()
        elif seen == frames:
            seconds = (time.monotonic_ns() - began[0]) / 1e9
            cpu_s = (time.process_time_ns() - began[1]) / 1e9
            print(json.dumps({"frames": seen, "seconds": seconds, "cpu_s": cpu_s}), flush=True)
            # There is no other way out of its `run` that does not wait for connections to be told.
            os._exit(0)

    handler = FeedHandler(config={"log": {"disabled": True}})
    handler.add_feed(Near(symbols=list(symbols), channels=[L2_BOOK], callbacks={L2_BOOK: callback}))
    handler.run()


if __name__ == "__main__":
    main()

"""Recording from the FutuOpenD-rs gateway: asked and subscribed over REST, heard over a socket that only pushes."""

from __future__ import annotations

__all__: list[str] = []

"""A gateway to test against: FutuOpenD-rs' REST and ``/ws`` over a seeded stock market, faults included."""

from __future__ import annotations

from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.faults import FAULT_KINDS
from bookreel.exchange.futu.server import GatewayServer
from bookreel.exchange.futu.truth import read_truth

__all__ = ["FAULT_KINDS", "GatewayConfig", "GatewayServer", "read_truth"]

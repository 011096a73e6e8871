"""The venue's reference data: the reply of ``GET /v1/common/symbols``."""

from __future__ import annotations

from typing import Final

import msgspec

from bookreel.book.model import Instrument
from bookreel.venues.errors import DecodeError
from bookreel.venues.huobi import wire

__all__ = ["SYMBOLS_PATH", "decode_instruments"]

SYMBOLS_PATH: Final = "/v1/common/symbols"
"""Where on the REST host the reply comes from."""

_body: Final = msgspec.json.Decoder(wire.SymbolsBody).decode
_item: Final = msgspec.json.Decoder(wire.SymbolItem).decode


def decode_instruments(body: bytes) -> list[Instrument]:
    """Every symbol of the reply, in its order, whatever its state; ``raw`` is the item's text byte for byte.

    Keys vary from symbol to symbol, so only the name and its two currencies must be there. Raises ``DecodeError``,
    also for the venue's own error reply.
    """
    try:
        reply = _body(body)
        if reply.data is None:
            raise DecodeError(reply.err_msg or "no data", body)
        return [_instrument(raw) for raw in reply.data]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(str(error), body) from None


def _instrument(raw: msgspec.Raw) -> Instrument:
    item = _item(raw)
    return Instrument(
        symbol=item.symbol,
        base=item.base_currency,
        quote=item.quote_currency,
        price_precision=item.price_precision,
        amount_precision=item.amount_precision,
        state=item.state,
        raw=bytes(raw).decode(),
    )

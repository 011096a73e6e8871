"""The compiled half of :mod:`bookreel.storage.codec`."""

def encode_record(
    seed: int,
    pos: int,
    ts_recv: int,
    mono: int,
    conn: bytes,
    epoch: int,
    direction: int,
    kind: int,
    payload: bytes,
    /,
) -> bytes:
    """As ``codec.encode_plainly``. Raises ``OverflowError`` where a field does not fit."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("numba")

from bookreel.book.compiled import compiled


def test_where_nothing_can_be_written_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(*, nogil: bool, cache: bool = False) -> Any:
        def wrapper(function: Any) -> Any:
            if cache:
                raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
            return function

        return wrapper

    monkeypatch.setattr("numba.njit", njit)
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        assert compiled(len) is len

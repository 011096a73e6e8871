"""Functions over numpy arrays as machine code.

It is kept beside the function's module, else in the user's cache folder. Where neither can be written, a
``RuntimeWarning`` says so, and each process compiles anew, which takes some seconds. The import of numba takes a
sixth of a second, so what uses it is imported where it is needed, and not at the top of a module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiled", "inlined"]


def compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled when it is first called; it lets go of the interpreter meanwhile."""
    return _compiled(function)


def inlined(function: Callable[..., Any]) -> Any:
    """The same, made part of each function that calls it: of one that is called in a loop, and takes tuples, it saves
    handing over every part of them.
    """
    return _compiled(function, inline="always")


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:
        # Neither beside this module nor in the user's cache folder. Said once, not for each function.
        warnings.warn(
            "the kernels are compiled anew in each process; set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=1,
        )
        return numba.njit(nogil=True, **options)(function)

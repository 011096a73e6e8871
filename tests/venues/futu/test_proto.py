from __future__ import annotations

import gc
import weakref

from bookreel.venues.futu.proto import message_class


def test_classes_inside_of_others_stay() -> None:
    """A class that is collected while another thread reads a message of it ends the process."""
    tick = message_class("UpdateTicker")().ticker_list.add()
    held = weakref.ref(type(tick))
    del tick
    gc.collect()
    assert held() is message_class("Ticker") is type(message_class("UpdateTicker")().ticker_list.add())

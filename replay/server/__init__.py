"""An archive over HTTP: books, tables, counts, coverage and replays, as ``bookreel serve`` answers them.

Routes are tables of data (:mod:`bookreel.replay.server.routes`), gathered in :mod:`bookreel.replay.server.app`.
"""

from bookreel.replay.server.app import ROUTES, make_app
from bookreel.replay.server.errors import ServeError
from bookreel.replay.server.limits import Limits
from bookreel.replay.server.routes import Route
from bookreel.replay.server.server import Server
from bookreel.replay.server.settings import Settings

__all__ = ["ROUTES", "Limits", "Route", "ServeError", "Server", "Settings", "make_app"]

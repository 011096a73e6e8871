"""The recorder: connections, requests, live books, health, and the process around them.

Import from the modules: `collector` for the recorder as an object, `run` for it as a process, `config` for its
settings. Nothing is imported here, so that the command line can take a clock without the network.
"""

__all__: list[str] = []

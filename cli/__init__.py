"""The `bookreel` command: the only place that wires everything together."""

__all__: list[str] = []

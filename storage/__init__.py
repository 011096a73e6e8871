"""The archive on disk: journal, sealing, manifest, tables, queries, verification.

Import from the modules: `journal` writes frames, `seal` makes Parquet of them, `query` and `tail` read both,
`verify` proves them. FORMAT.md has the bytes. Nothing is imported here, so that a reader does not pay for
what it does not use.
"""

__all__: list[str] = []

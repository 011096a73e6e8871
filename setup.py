"""The parts that are compiled where a compiler is (see book/packed.py, storage/codec.py); all else is in
pyproject.toml.
"""

from setuptools import Extension, setup

COMPILED = {"bookreel.book._packed": "book/_packed.c", "bookreel.storage._framing": "storage/_framing.c"}

setup(
    ext_modules=[
        Extension(name, [source], extra_compile_args=["-O2"], optional=True)
        for name, source in COMPILED.items()
    ]
)

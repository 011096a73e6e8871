"""The part that is compiled where a compiler is (see book/packed.py); all else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("bookreel.book._packed", ["book/_packed.c"], extra_compile_args=["-O2"], optional=True)
    ]
)

"""The folders' import arrows, and the purity of ``book`` and ``venues``, read from the sources themselves."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ARROWS = {
    "book": set(),
    "venues": {"book"},
    "storage": {"book", "venues"},
    "ingest": {"book", "venues", "storage"},
    "replay": {"book", "venues", "storage"},
    "exchange": {"book", "venues", "storage", "replay"},
    "cli": {"book", "venues", "storage", "ingest", "replay", "exchange"},
}

PURE = {
    "book": {"msgspec", "sortedcontainers"},
    "venues": {"msgspec", "isal", "google"},
}

COMPILED = {"book/compiled.py": {"numba"}, "book/kernels.py": {"numpy"}}
"""What a module may import beyond what its package may."""

IMPURE_STDLIB = {
    "asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "shutil", "signal",
    "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module named by an import statement, wherever in the file it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "bookreel"}
    return found


def violations(package: str, path: Path) -> list[str]:
    allowed = ARROWS[package] | {package}
    wrong = []
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "bookreel":
            if len(parts) > 1 and parts[1] not in allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
        elif package in PURE:
            further = COMPILED.get(path.relative_to(ROOT).as_posix(), set())
            pure = parts[0] in PURE[package] | further or (
                parts[0] in sys.stdlib_module_names and parts[0] not in IMPURE_STDLIB
            )
            if not pure:
                wrong.append(f"{path.relative_to(ROOT)} is pure but imports {name}")
    return wrong


@pytest.mark.parametrize("package", ARROWS)
def test_imports_follow_the_arrows(package: str) -> None:
    assert modules(package), f"no modules in {package}"
    assert [line for path in modules(package) for line in violations(package, path)] == []


def test_a_wrong_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    for package, text in {
        "book": "import asyncio\n",
        "storage": "from bookreel.ingest import config\n",
        "venues": "def late():\n    from bookreel import storage\n",
    }.items():
        path = tmp_path / package / "wrong.py"
        path.parent.mkdir()
        path.write_text(text)
        assert violations(package, path), text


def assigned(tree: ast.Module) -> set[str]:
    """Names that a module assigns at its top."""
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize("package", ARROWS)
def test_modules_say_what_is_public(package: str) -> None:
    for path in modules(package):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no docstring"
        if path.name != "__main__.py":
            assert "__all__" in assigned(tree), f"{path.relative_to(ROOT)} has no __all__"

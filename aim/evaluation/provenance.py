"""The code that a stored figure depends on, as one hash, which comments, docstrings, layout and the texts of errors do not change.

A module counts where a figure's entry modules import it, directly or through others, so no list of modules has to be kept by hand. Two
tables say what is taken out, and why.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import aim

# Stored file → the modules that make its figures. All that these import counts with them.
ENTRIES: dict[str, tuple[str, ...]] = {
    "records": ("aim.evaluation.run",),  # the answers in `.evaluation/`, from which the next three are made
    "accuracy.json": ("aim.evaluation.run", "aim.evaluation.accuracy"),
    "findings.json": ("aim.evaluation.run", "aim.evaluation.every_finding"),
    "board.json": ("aim.evaluation.run", "aim.evaluation.board"),
    "recommended.json": ("aim.evaluation.run", "aim.evaluation.recommended"),
    "guard.json": ("aim.evaluation.guard_threshold",),
    "tuned.json": ("aim.evaluation.tuned_settings",),
    "bench.json": ("aim.bench.rounds", "aim.bench.sizes"),
    "end_to_end.json": ("aim.bench.rounds", "aim.bench.sizes"),
    "growth.json": ("aim.bench.rounds", "aim.bench.sizes", "aim.bench.growth"),
    "gpu.json": tuple(f"aim.bench.gpu.{part}" for part in ("words", "finite", "waits", "prefill", "tower", "growth", "pagerank")),
}
# A room or module that decides no stored figure, although one that does imports it → why.
UNCOUNTED: dict[str, str] = {
    "aim.video": "It reads files, and what is measured is drawn.",
    "aim.views": "It shows figures that are there.",
    "aim.runtime.byte_sizes": "It writes sizes in words.",
    "aim.runtime.failure": "It tells failures in words.",
    "aim.runtime.faults": "It tells failures in words.",
    "aim.runtime.loading_errors": "It tells failures in words.",
    "aim.runtime.lock": "It makes runs wait for each other.",
    "aim.runtime.waiting": "It makes runs wait for each other.",
    "aim.runtime.download": "The weights are bundled.",
    "aim.runtime.other_formats": "It refuses files that the bundled model has not.",
    "aim.kernels.refusal": "It stops a run, and a stopped run has no figure.",
    "aim.kernels.versions": "It stops a run, and a stopped run has no figure.",
}
# A package with a table of all its files → the files that count in its place: those that the bundled model, or a bench at
# LLaVA-OneVision's sizes, runs through.
STANDS_FOR: dict[str, tuple[str, ...]] = {"aim.families": ("aim.families.base", "aim.families.llava_onevision")}
LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores"}  # fields of a syntax tree that say nothing, or differ between Pythons


@cache
def code_hash(name: str) -> str:
    """SHA-256, in hexadecimal, of the code that a stored file of `ENTRIES` depends on. It takes a second."""
    digest = hashlib.sha256()
    for module in modules_of(ENTRIES[name]):
        digest.update(f"{module} {_module_hash(module)}\n".encode())
    return digest.hexdigest()


def modules_of(entries: tuple[str, ...]) -> list[str]:
    """The names of the entry modules and of all modules of the package that count with them, sorted."""
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module in STANDS_FOR:
            waiting += [name for name in STANDS_FOR[module] if name not in found]
        elif module not in found and not _uncounted(module):
            found.add(module)
            waiting += _imports(module)
    return sorted(found)


def _uncounted(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in UNCOUNTED)


def _file(module: str) -> Path | None:
    """The file of a module of the package; None for a name within a module, such as that of a function."""
    place = Path(aim.__file__).parent.joinpath(*module.split(".")[1:])
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()), None)


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    if file is None:
        raise ValueError(f"The package has no module {module}; name one of its modules, such as aim.evaluation.run.")
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _imports(module: str) -> list[str]:
    """The modules of the package that this one imports anywhere in it, but for type checkers alone."""
    names: list[str] = []
    for node in _run(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Name) and node.id == "import_module" and (home := _file(module)) and home.name == "__init__.py":
            names += [f"{module}.{file.stem}" for file in home.parent.glob("*.py")]  # a table that loads the files beside it
    return [name for name in dict.fromkeys(names) if name.startswith("aim.") and _file(name)]


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below this one that are run, without those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from _run(child)


@cache
def _module_hash(module: str) -> str:
    return hashlib.sha256(repr(_told(_tree(module))).encode()).hexdigest()


def _told(value, in_error: bool = False):
    """A syntax tree as nested tuples without docstrings and texts of errors, the same in every Python that the package runs on."""
    if isinstance(value, list):
        return tuple(_told(one, in_error) for one in value)
    if not isinstance(value, ast.AST):
        return value
    in_error = in_error or isinstance(value, ast.Raise)
    if in_error and (isinstance(value, ast.JoinedStr) or isinstance(value, ast.Constant) and isinstance(value.value, str)):
        return "text"
    fields = []
    for name, part in ast.iter_fields(value):
        if name == "body" and isinstance(part, list) and part and _is_text(part[0]):
            part = part[1:]
        if name not in LEFT_OUT and part is not None and part != []:
            fields.append((name, _told(part, in_error)))
    return type(value).__name__, tuple(fields)


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)

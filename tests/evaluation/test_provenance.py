"""The hash of the code that a stored figure depends on: what changes it, and what does not."""

import shutil
from pathlib import Path

import pytest

import aim
from aim.evaluation import provenance
from aim.evaluation.provenance import ENTRIES, STANDS_FOR, UNCOUNTED, modules_of

CACHED = (provenance.code_hash, provenance._tree, provenance._imports, provenance._module_hash)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of four modules in place of this one: `evaluation.run` imports two, and one of them imports the last."""
    root = tmp_path / "aim"
    modules = {
        "evaluation/run.py": '"""Doc."""\nfrom aim.kernels import merging\n\n\ndef run(x):\n    """Doc."""\n    return merging.merge(x)\n',
        "kernels/merging.py": "from aim.kernels.counts import ONE\n\n\ndef merge(x):\n"
        "    if x is None:\n        raise ValueError(f'No {x}.')\n    return x + ONE\n",
        "kernels/counts.py": "from aim.views import table\n\nONE = 1\n",
        "views/table.py": "WIDTH = 80\n",
        "kernels/alone.py": "TWO = 2\n",
    }
    for name, text in {**modules, "kernels/__init__.py": "", "evaluation/__init__.py": "", "views/__init__.py": ""}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(aim, "__file__", str(root / "__init__.py"))
    monkeypatch.setattr(provenance, "ENTRIES", {"records": ("aim.evaluation.run",)})
    yield root
    for cached in CACHED:
        cached.cache_clear()


def fresh_hash():
    for cached in CACHED:
        cached.cache_clear()
    return provenance.code_hash("records")


def test_a_module_counts_where_it_is_imported_directly_or_through_others(package):
    fresh_hash()
    assert modules_of(("aim.evaluation.run",)) == ["aim.evaluation.run", "aim.kernels", "aim.kernels.counts", "aim.kernels.merging"]


@pytest.mark.parametrize(
    ("file", "before", "after", "changes"),
    [
        ("kernels/counts.py", "ONE = 1", "ONE = 2", True),
        ("evaluation/run.py", "def run(x)", "def run(x, y=0)", True),
        ("kernels/merging.py", "return x + ONE", "# why\n    return (\n        x + ONE)  # how", False),
        ("evaluation/run.py", '"""Doc."""', '"""Another text.\n\n    In two parts.\n    """', False),
        ("kernels/merging.py", "f'No {x}.'", "'Give a number.'", False),
        ("kernels/merging.py", "ValueError", "TypeError", True),
        ("kernels/alone.py", "TWO = 2", "TWO = 3", False),
        ("views/table.py", "WIDTH = 80", "WIDTH = 90", False),
    ],
    ids=[
        "a number",
        "a parameter",
        "comments and layout",
        "docstrings",
        "the text of an error",
        "its kind",
        "what nothing imports",
        "an uncounted room",
    ],
)
def test_the_hash_changes_with_what_the_code_does_and_with_nothing_else(package, file, before, after, changes):
    first = fresh_hash()
    text = (package / file).read_text()
    assert before in text
    (package / file).write_text(text.replace(before, after))
    assert (fresh_hash() != first) is changes


def test_a_module_that_is_renamed_changes_the_hash(package):
    first = fresh_hash()
    (package / "kernels/counts.py").rename(package / "kernels/numbers.py")
    (package / "kernels/merging.py").write_text((package / "kernels/merging.py").read_text().replace("counts", "numbers"))
    assert fresh_hash() != first


def test_the_answers_depend_on_what_makes_them():
    """Every room and module of a forward pass counts, the methods of the table among them, and no page does."""
    counted = set(modules_of(ENTRIES["records"]))
    files = {f"aim.methods.{file.stem}" for file in (Path(provenance.__file__).parents[1] / "methods").glob("[a-z]*.py")}
    assert files <= counted
    deciding = ("evaluation.measure", "engine.reduce", "kernels.merging", "shapes.world", "families.llava_onevision")
    assert {f"aim.{name}" for name in deciding} <= counted
    assert not any(name.startswith(("aim.ui", "aim.commands", "aim.serving", "aim.bench")) for name in counted)


def test_every_name_of_the_tables_is_a_module():
    named = [*UNCOUNTED, *STANDS_FOR, *(module for modules in (*ENTRIES.values(), *STANDS_FOR.values()) for module in modules)]
    assert [name for name in named if provenance._file(name) is None] == []


@pytest.mark.skipif(shutil.which("python3.12") is None, reason="there is no second Python here")
def test_another_python_makes_the_same_hash(tmp_path):
    import subprocess

    # The package itself needs torch, which the other Python may lack, so it is stood in for by an empty one with this file's place.
    program = (
        "import importlib.util, sys, types\n"
        f"aim = types.ModuleType('aim'); aim.__file__ = {aim.__file__!r}; sys.modules['aim'] = aim\n"
        f"spec = importlib.util.spec_from_file_location('provenance', {provenance.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(module.code_hash('records'))\n"
    )
    other = subprocess.run(["python3.12", "-c", program], capture_output=True, text=True)
    if other.returncode and "not found" in other.stderr:
        pytest.skip("python3.12 is a name without a Python behind it")
    assert other.stdout.strip() == provenance.code_hash("records"), other.stderr

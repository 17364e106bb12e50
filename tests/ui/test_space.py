"""What a Space reads: README's header, app.py's order of imports, requirements.txt."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_header_names_the_gradio_that_is_pinned_and_a_python_that_transformers_takes():
    header = (ROOT / "README.md").read_text().split("---")[1]
    facts = dict(re.findall(r"^(\w+): (.*)$", header, re.M))
    low, high = re.search(r"^gradio>=([\d.]+),<([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.M).groups()
    wanted, bounds = _numbers(facts["sdk_version"]), (_numbers(low), _numbers(high))
    assert facts["sdk"] == "gradio" and facts["app_file"] == "app.py" and bounds[0] <= wanted < bounds[1]
    assert _numbers(facts["python_version"].strip('"')) >= (3, 11) and len(facts["short_description"]) <= 60


def test_spaces_is_imported_before_anything_that_imports_torch_and_only_if_it_is_there():
    body = ast.parse((ROOT / "app.py").read_text()).body
    [guarded] = [number for number, node in enumerate(body) if isinstance(node, ast.With) and "import spaces" in ast.unparse(node)]
    assert "suppress(ImportError)" in ast.unparse(body[guarded])
    before = [alias.name for node in body[:guarded] if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names]
    assert set(before) <= {"contextlib", "logging", "os"}
    assert "spaces" not in (ROOT / "requirements.txt").read_text()


def test_readme_says_how_to_deploy_in_five_lines():
    section = (ROOT / "README.md").read_text().split("## Deploy to a Space\n")[1].split("\n## ")[0].strip()
    assert len(section.splitlines()) <= 5 and "AIM_MODEL" in section and "ZeroGPU" in section


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))

"""What a Space reads: README's header and requirements.txt. What app.py does there is in test_app_process.py."""

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


def test_zerogpus_package_is_not_asked_for_elsewhere():
    assert not re.search(r"^spaces\b", (ROOT / "requirements.txt").read_text(), re.M)


def test_readme_says_how_to_deploy_in_five_lines():
    section = (ROOT / "README.md").read_text().split("## Deploy to a Space\n")[1].split("\n## ")[0].strip()
    assert len(section.splitlines()) <= 5 and "AIM_MODEL" in section and "ZeroGPU" in section


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))

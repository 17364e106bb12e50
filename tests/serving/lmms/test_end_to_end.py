"""The benchmarks as a user starts them: offline, on the CPU, with the bundled model, in one process and in two."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import lmms_eval
import pytest
from lmms_eval.tasks.mlvu.utils import mlvu_doc_to_text
from lmms_eval.tasks.videomme.utils import videomme_doc_to_text

import aim
from aim.runtime.answer import Answer

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "assets" / "examples"
DOCUMENTS = [json.loads(line) for line in (ROOT / "tests" / "serving" / "lmms_task" / "clips.jsonl").read_text().splitlines()]
METHOD = aim.AIM(merge_ratio=0.1, l1=2, l2=4)
FRAMES = 8
ARGUMENTS = f"pretrained=bundled,method=aim,max_frames={FRAMES},merge_ratio=0.1,l1=2,l2=4"
TASKS = ("aim_examples", "videomme_local", "mlvu_local")
ONE = [sys.executable]
TWO = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"]

# The official configuration, prompt and scorer over annotations that lie here instead of on the Hub.
LOCAL = """include: {include}
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
"""


@dataclass
class Run:
    """What one run of lmms-eval left: its exit code, all it printed, the scores by task, and the samples by task and document."""

    code: int
    log: str
    scores: dict[str, dict]
    samples: dict[str, dict[int, dict]]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A Hugging Face home with the example clips where the official tasks look for their videos, and a folder of tasks."""
    home = tmp_path_factory.mktemp("home")
    tasks = home / "tasks"
    shutil.copytree(ROOT / "tests" / "serving" / "lmms_task", tasks)
    shutil.copytree(EXAMPLES, home / "videomme" / "data")
    shutil.copytree(EXAMPLES, home / "mlvu")
    annotations = {"videomme_local": videomme_document, "mlvu_local": mlvu_document}
    for (name, annotate), official in zip(annotations.items(), ("videomme/videomme.yaml", "mlvu/mlvu_dev.yaml"), strict=True):
        file = home / f"{name}.jsonl"
        file.write_text("".join(json.dumps(annotate(document)) + "\n" for document in DOCUMENTS))
        include = Path(lmms_eval.__file__).parent / "tasks" / official
        (tasks / f"{name}.yaml").write_text(LOCAL.format(include=include, name=name, file=file))
    return home


def videomme_document(document: dict) -> dict:
    options = [f"{letter}. {word}" for letter, word in zip("ABCD", ("red", document["answer"], "left", "two"), strict=True)]
    kinds = {"duration": "short", "domain": "Knowledge", "sub_category": "Technology", "task_type": "Attribute Perception"}
    name = document["video"].removesuffix(".mp4")
    return {"videoID": name, "question_id": name, "question": document["question"], "options": options, "answer": "B", **kinds}


def mlvu_document(document: dict) -> dict:
    question = f"{document['question']}\n(A) red\n(B) {document['answer']}\n(C) left\n(D) two"
    return {"video_name": document["video"], "question": question, "answer": "B", "task_type": "needle"}


def evaluate(launcher: list[str], home: Path, out: Path, tasks: tuple[str, ...] = TASKS, folder: Path = ROOT) -> Run:
    command = [*launcher, "-m", "lmms_eval", "--model", "aim", "--model_args", ARGUMENTS, "--tasks", ",".join(tasks)]
    command += ["--include_path", str(home / "tasks"), "--log_samples", "--output_path", str(out)]
    offline = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environment = {**os.environ, **offline, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    scores, samples = {}, {}
    for file in out.rglob("*_results.json"):
        scores = json.loads(file.read_text())["results"]
    for file in out.rglob("*_samples_*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        task = file.stem.split("_samples_")[1]
        samples[task] = {line["doc_id"]: line for line in lines}
        assert len(samples[task]) == len(lines), "a document was scored twice"
    return Run(done.returncode, done.stdout + done.stderr, scores, samples)


@pytest.fixture(scope="module")
def one(home, tmp_path_factory):
    run = evaluate(ONE, home, tmp_path_factory.mktemp("one"))
    assert run.code == 0 and run.scores, run.log
    return run


@pytest.fixture(scope="module")
def two(home, tmp_path_factory):
    run = evaluate(TWO, home, tmp_path_factory.mktemp("two"))
    assert run.code == 0 and run.scores, run.log
    return run


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled", "cpu")


def ask(vlm, document: dict, question: str, new_tokens: int) -> Answer:
    return vlm.ask(aim.read_video(EXAMPLES / document["video"], FRAMES), question, METHOD, new_tokens)


def test_one_process_answers_scores_and_counts_as_the_app_does(one, vlm):
    answers = [ask(vlm, document, document["question"], 4) for document in DOCUMENTS]
    samples = one.samples["aim_examples"]
    assert [samples[i]["filtered_resps"] for i in range(len(DOCUMENTS))] == [answer.text for answer in answers]
    right = [answer.text == document["answer"] for answer, document in zip(answers, DOCUMENTS, strict=True)]
    assert 0 < sum(right) < len(right)  # neither score would tell a working run from a broken one
    assert one.scores["aim_examples"]["accuracy,none"] == pytest.approx(sum(right) / len(right))
    for i, answer in enumerate(answers):
        [counts] = samples[i]["token_counts"]
        assert counts["visual_tokens"] == answer.trace.visual_tokens > counts["merged_tokens"] == answer.trace.merged_tokens
        assert counts["input_tokens"] == sum(answer.trace.tokens_per_layer[0])
        assert counts["output_tokens"] == answer.new_tokens
        assert counts["prefill_tflops"] == answer.cost["prefill_tflops"]
        assert 0 < counts["prefill_seconds"] < counts["seconds"]


def test_the_results_table_is_printed(one):
    [row] = [line for line in one.log.splitlines() if line.startswith("|aim_examples")]
    assert "accuracy" in row and f"{one.scores['aim_examples']['accuracy,none']:g}" in row


def test_the_official_prompts_of_videomme_and_mlvu_reach_the_model(one, vlm):
    prompts = {
        "videomme_local": lambda document: videomme_doc_to_text(
            videomme_document(document), {"post_prompt": "\nAnswer with the option's letter from the given choices directly."}
        ),
        "mlvu_local": lambda document: mlvu_doc_to_text(
            mlvu_document(document), {"post_prompt": "\nOnly give the best option.\nBest option: ("}
        ),
    }
    for task, prompt in prompts.items():
        expected = [ask(vlm, document, prompt(document), 16) for document in DOCUMENTS]
        samples = one.samples[task]
        assert [samples[i]["filtered_resps"] for i in range(len(DOCUMENTS))] == [answer.text for answer in expected]
        assert [samples[i]["token_counts"][0]["input_tokens"] for i in range(len(DOCUMENTS))] == [
            sum(answer.trace.tokens_per_layer[0]) for answer in expected
        ]


def test_two_processes_share_the_documents_and_score_the_same(one, two):
    assert "Running on rank 1" in two.log and "Running on rank 1" not in one.log
    assert set(one.samples) == set(two.samples) == set(TASKS)
    for task in TASKS:
        assert sorted(two.samples[task]) == list(range(len(DOCUMENTS)))  # five: one process runs a copy of its last, which is not scored
        for i, sample in two.samples[task].items():
            alone = one.samples[task][i]
            assert sample["filtered_resps"] == alone["filtered_resps"]
            assert without_seconds(sample) == without_seconds(alone)
    assert numbers(one.scores) == numbers(two.scores)


def without_seconds(sample: dict) -> dict:
    [counts] = sample["token_counts"]
    return {name: value for name, value in counts.items() if "seconds" not in name}


def numbers(scores: dict[str, dict]) -> dict:
    return {(task, name): value for task, row in scores.items() for name, value in row.items() if isinstance(value, float)}


def test_a_clip_that_cannot_be_read_ends_both_processes_with_an_exit_code(home, tmp_path):
    examples = tmp_path / "assets" / "examples"
    shutil.copytree(EXAMPLES, examples)
    shutil.copytree(ROOT / "tests" / "serving" / "lmms_task", tmp_path / "tests" / "serving" / "lmms_task")
    (examples / DOCUMENTS[1]["video"]).write_text("junk")
    run = evaluate(TWO, home, tmp_path / "out", ("aim_examples",), tmp_path)
    assert run.code != 0
    assert f"aim: aim_examples, document 1: {DOCUMENTS[1]['video']} is not a video" in run.log
    assert not run.scores

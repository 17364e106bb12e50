"""`python -m aim eval`: what it takes, and what it prints and writes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from aim.commands.arguments import TOWER_FLAGS, add_model, add_tower, new_file
from aim.commands.knobs import KNOBS, add_knobs, flag, methods_of
from aim.kernels.refusal import Refusal
from aim.methods import COMPARABLE, Full
from aim.methods.tower import towers_of

SUMMARY = "accuracy against cost on held-out clips, the findings, the board of all methods, or every stored figure"
CLIPS, QUICK_CLIPS, CONFIRMING_CLIPS = 210, 20, 6
LEAST_QUESTIONS = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    add_model(parser)
    add_knobs(parser, several=True)
    add_tower(parser)
    parser.add_argument(
        "--shrunken", action="store_true", help="with --tower-merge, as a control: frames shrunk until the tower would cost as much"
    )
    parser.add_argument("--frames", type=int, nargs="+", help="numbers of frames (default: 8)")
    parser.add_argument("--clips", type=int, help=f"held-out clips, up to ten questions each (default: {CLIPS})")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CLIPS} clips")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="(default: %(default)s)")
    parser.add_argument("--findings", type=int, nargs="*", metavar="N", help="put claims to the test, all ten or those given")
    parser.add_argument(
        "--board",
        nargs="*",
        choices=sorted({*COMPARABLE} - {Full.name}),
        metavar="METHOD",
        help="every method, or those given and the controls, at each budget",
    )
    parser.add_argument("--everything", action="store_true", help="measure all stored figures into their files in assets/; it resumes")
    parser.add_argument(
        "--confirm",
        type=int,
        nargs="?",
        const=CONFIRMING_CLIPS,
        metavar="CLIPS",
        help="after a change of the code: keep stored files whose answers about the first clips are the same (default: %(const)s)",
    )
    parser.add_argument("--questions", type=int, metavar="N", help="with --everything: try it on so many questions, into .evaluation/")
    parser.add_argument("--documents", action="store_true", help="write the tables of the READMEs anew from the stored files")
    parser.add_argument("--write", action="store_true", help="with --findings or --board: write its file in assets/, which the app shows")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--csv", type=new_file, metavar="FILE", help="write accuracy by setting and type of question as CSV")
    parser.add_argument("--plot", type=new_file, metavar="FILE", help="write the charts as an HTML page")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where answers are kept and a run resumes (default: in .evaluation/)")
    parser.add_argument("--processes", type=int, help="(default: one a core)")


def run(options: argparse.Namespace) -> str:
    """Run what the flags ask for and return what is to be printed.

    Raises:
        Refusal: flags that are out of range or exclude each other, or a model that cannot be loaded or measured.
    """
    _check(options)
    # Imported here, since torch and transformers take seconds, for which other commands and --help need not wait.
    if options.documents:
        from aim.commands.documents import write_documents

        return write_documents()
    if options.everything:
        from aim.commands.everything import everything

        return everything(options.model, options.questions, options.processes, options.out)
    if options.confirm is not None:
        from aim.commands.confirm import confirm

        return confirm(options.model, options.confirm, options.processes, options.out)
    from aim.runtime.vlm import load

    vlm = load(options.model, device="cpu")
    if options.board is not None:
        return _board(options, vlm)
    return (_settings if options.findings is None else _findings)(options, vlm)


def _check(options: argparse.Namespace) -> None:
    if options.shrunken and options.tower_merge is None:
        raise Refusal("--shrunken makes frames that cost the vision tower as much as merging inside it; give --tower-merge with it.")
    if options.quick and options.clips is not None:
        raise Refusal("--quick and --clips both say how many clips; give one of them.")
    suites = {
        "--findings": options.findings,
        "--board": options.board,
        "--everything": options.everything or None,
        "--documents": options.documents or None,
        "--confirm": options.confirm,
    }
    asked = [name for name, parts in suites.items() if parts is not None]
    if options.questions is not None and not options.everything:
        raise Refusal("--questions shortens --everything; give --clips without it.")
    if not asked:
        if options.write:
            raise Refusal("--write writes the findings or the board; give --findings or --board with it.")
        return
    if len(asked) > 1:
        raise Refusal(f"{' and '.join(asked)} are runs of their own; give one of them.")
    [suite] = asked
    given = [flag(name) for name in (*KNOBS, "frames", *(f"tower_{name}" for name in TOWER_FLAGS)) if getattr(options, name) is not None]
    given += ["--shrunken"] * options.shrunken
    given += ["--method"] * (options.method != ["aim"]) + ["--csv"] * (options.csv is not None)
    if suite in ("--everything", "--documents", "--confirm"):
        also = {"quick": options.quick, "clips": options.clips, "write": options.write, "json": options.json, "plot": options.plot}
        given += [flag(name) for name, value in also.items() if value]
    if given:
        raise Refusal(f"{suite} has settings of its own, and tables of its own; leave out {', '.join(given)}.")
    if options.write and (suites[suite] or options.model != "bundled" or options.split != "test"):
        parts = {"--findings": "findings", "--board": "methods"}[suite]
        raise Refusal(f"--write needs all {parts} of the bundled model on the test split; give {suite} alone.")


def _run(options: argparse.Namespace, vlm, settings: list):
    from aim.evaluation.clips import tokens_a_side
    from aim.evaluation.confirming import ANSWERS, digests
    from aim.evaluation.run import run as measure
    from aim.evaluation.summary import Evaluation

    clips = QUICK_CLIPS if options.quick else CLIPS if options.clips is None else options.clips
    records = measure(vlm, settings, clips, options.split, options.out, options.processes)
    return Evaluation(records, vlm.model.config, tokens_a_side(vlm) ** 2), clips, {ANSWERS: digests(records)}


def _settings(options: argparse.Namespace, vlm) -> str:
    from aim.evaluation.charts import cost_chart
    from aim.evaluation.settings import combine
    from aim.evaluation.shrunken import side_of, vision_of
    from aim.evaluation.writing import text_of, tower_text, write_csv, write_json, write_page

    given = ([] if value is None else [value] for value in (options.tower_merge, options.tower_reuse))
    towers = [tower for each in towers_of(*given) if (tower := vlm.fit_tower(each))]
    shrunk = side_of(towers[0], vision_of(vlm.model.config)) if options.shrunken else 0
    settings = combine(methods_of(options), options.frames or [8], vlm.num_layers, vlm.ramp, towers, shrunk)
    evaluation, clips, _ = _run(options, vlm, settings)
    summaries = [evaluation.summary(setting) for setting in settings]
    if options.json:
        write_json(options.json, summaries)
    if options.csv:
        write_csv(options.csv, summaries)
    if options.plot:
        write_page(options.plot, [("Accuracy against cost", cost_chart(summaries))])
    parts = [f"{evaluation.questions():,} questions on {clips} held-out clips, {vlm.name}", tower_text(evaluation, settings)]
    return "\n\n".join(filter(None, [*parts, text_of(summaries)]))


def _findings(options: argparse.Namespace, vlm) -> str:
    from aim.evaluation.charts import finding_chart
    from aim.evaluation.every_finding import every_finding, findings_report
    from aim.evaluation.stored import about
    from aim.evaluation.writing import findings_text
    from aim.runtime.weights import weights_digest

    known = {finding.number: finding for finding in every_finding(vlm)}
    unknown = [str(number) for number in options.findings if number not in known]
    if unknown:
        raise Refusal(f"There is no finding {', '.join(unknown)}; they are numbered 1 to {len(known)}. Leave the numbers out for all.")
    chosen = [known[number] for number in options.findings or known]
    settings = list(dict.fromkeys(setting for finding in chosen for setting in finding.settings()))
    evaluation, clips, answers = _run(options, vlm, settings)
    head = about("findings.json", weights_digest(vlm.model)) | {"split": options.split, "clips": clips}
    report = head | findings_report(chosen, evaluation) | answers
    judged = report["findings"]
    charts = [(f"{finding['number']}. {finding['title']}", finding_chart(finding)) for finding in judged] if options.plot else []
    _keep(options, report, evaluation.questions(), charts, "findings.json")
    title = f"{evaluation.questions():,} questions on {clips} held-out clips under {len(settings)} settings, {vlm.name}"
    return f"{title}\n\n{findings_text(judged)}"


def _board(options: argparse.Namespace, vlm) -> str:
    from aim.evaluation.board import judge_board, settings_of
    from aim.evaluation.board_chart import board_chart
    from aim.evaluation.board_settings import BUDGETS, board_cells, usual_text_tokens
    from aim.evaluation.board_table import board_text
    from aim.evaluation.stored import about
    from aim.runtime.weights import weights_digest

    text_tokens = usual_text_tokens(vlm, options.split)
    cells = board_cells(vlm, options.board, text_tokens, BUDGETS)
    settings = settings_of(cells)
    evaluation, clips, answers = _run(options, vlm, settings)
    head = about("board.json", weights_digest(vlm.model)) | {"split": options.split, "clips": clips, "text_tokens": text_tokens}
    report = head | judge_board(cells, evaluation) | answers
    charts = [(f"Accuracy against cost, {frames} frames", board_chart(report, frames)) for frames in BUDGETS] if options.plot else []
    _keep(options, report, evaluation.questions(), charts, "board.json")
    title = f"{evaluation.questions():,} questions on {clips} held-out clips under {len(settings)} settings, {vlm.name}"
    return f"{title}\n\n{board_text(report)}"


def _keep(options: argparse.Namespace, report: dict, questions: int, charts: list, name: str) -> None:
    """Write what the flags ask for; with --write also the file that the app shows.

    Raises:
        Refusal: too few questions for that file.
    """
    from aim.evaluation.stored import write
    from aim.evaluation.writing import write_page

    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        write_page(options.plot, charts)
    if options.write:
        if questions < LEAST_QUESTIONS:
            raise Refusal(f"{questions:,} questions are too few to write down; accepted: {LEAST_QUESTIONS:,} or more. Give more --clips.")
        write(name, report)

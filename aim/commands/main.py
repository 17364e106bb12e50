"""The command line: `python -m aim` with ask, compare, plan, tune, eval or bench; see `python -m aim COMMAND --help`."""

from __future__ import annotations

import argparse
import os
import sys

from aim.commands import ask, bench, compare, eval, plan, tune
from aim.kernels.refusal import Refusal

# name → its file, which has SUMMARY, `add_arguments` and `run`. A new command is a file and a line here.
COMMANDS = {"ask": ask, "compare": compare, "plan": plan, "tune": tune, "eval": eval, "bench": bench}

READER_GONE = 141  # what a shell reports of a program that SIGPIPE ended


def main(arguments: list[str] | None = None) -> None:
    """Run one command and print its result.

    What the user can mend, a missing package included, is one line on stderr. Whoever reads the output may stop reading, as `head` does,
    and the command then ends without a word. Any other exception is a fault of ours and keeps its traceback.

    Raises:
        SystemExit: with code 2, for a mistake of the user's; with `READER_GONE` where nobody reads on.
    """
    try:
        try:
            options = _parser().parse_args(arguments)
            _hush()
            print(COMMANDS[options.command].run(options))
        finally:
            sys.stdout.flush()  # here, so that a reader who has gone is noticed
    except (Refusal, ImportError) as error:
        print(f"aim: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # Python flushes once more when it ends, and that must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(READER_GONE) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aim", description="Ask a video, and see which visual tokens the model needs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.SUMMARY))
    return parser


def _hush() -> None:
    """Keep transformers quiet, since one line of ours tells what goes wrong. It reads these settings when it is imported."""
    for library in ("TRANSFORMERS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

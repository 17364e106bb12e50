"""`python -m aim eval --confirm`: keep stored files through a change of the code that changes no answer (`aim.evaluation.confirming`)."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from aim.commands.documents import write_documents
from aim.commands.everything import LEAST_CLIPS, Session
from aim.evaluation import stored
from aim.evaluation.confirming import confirmed
from aim.evaluation.provenance import code_hash
from aim.evaluation.recorded import RECORDED
from aim.evaluation.run import WORK
from aim.kernels.refusal import Refusal
from aim.runtime.vlm import load
from aim.runtime.weights import weights_digest


def confirm(model: str, clips: int, processes: int | None, work: Path | None, folder: Path = stored.ASSETS) -> str:
    """Keep each file of earlier code whose answers about the first clips are still the same, and say of each file what it is.

    Raises:
        Refusal: another model than the bundled one, or too few clips.
    """
    if model != "bundled":
        raise Refusal("--confirm is about the figures of the bundled model; leave out --model.")
    if clips < LEAST_CLIPS:
        raise Refusal(f"--confirm is {clips}; accepted: {LEAST_CLIPS} or more. Leave out the number for the usual one.")
    vlm = load(model, device="cpu")
    session = Session(vlm, weights_digest(vlm.model), None, processes or os.cpu_count() or 1, work or WORK, folder)
    told = [f"{name} {_confirm(name, session, clips)}." for name in RECORDED]
    return "\n".join([*told, *([write_documents()] if folder == stored.ASSETS else [])])


def _confirm(name: str, session: Session, clips: int) -> str:
    report = stored.read(name, session.folder)
    if report is None:
        return "was not measured yet"
    aged = stored.earlier(name, report, session.weights)
    if not aged:
        return "is of the present code"
    if stored.WEIGHTS in aged:
        return "is of earlier weights, so measure it again"
    settings, _ = RECORDED[name](session.vlm)
    kept, why = confirmed(report, code_hash(name), clips, partial(session.run, settings))
    if kept is None:
        return f"is not kept: {why}"
    stored.write(name, kept, session.folder)
    return f"is kept: {why}"

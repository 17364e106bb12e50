"""Knobs that set themselves: the AIM setting that strays least from the full model on a clip, within a budget.

In the order of a search: `budget` (what may be spent), `fidelity` (how far a setting strays), `candidates` (settings that just fit),
`outcome` (what a search has found), `search` (the search). Around it: `transfer` (one setting for many clips), `spending` (more frames for
the same FLOPs), `trust` (a warning after a run, whose threshold is from `calibration`). `aim.evaluation.tuned_settings` and
`aim.evaluation.guard_threshold` measure how good they are.
"""

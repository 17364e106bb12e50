"""The benchmark: `python -m aim eval`, on held-out clips of the synthetic world, whose ground truth is known to the pixel.

In the order of a run: `settings` (what is compared), `clips` (on what), `measure` (one question), `results` (the folder that a run resumes
from), `run` (all of it, on every core), `statistics` and `summary` (figures), `writing` and `charts` (for people), `findings` and `suites`
and `suites_of_methods` (claims, checked), `every_finding` (all of them), `board` (all methods at equal budgets), `controls` (scorers to
compare PageRank with). Two files are commands of their own: `tuned_settings` (tuned knobs against the paper's) and `guard_threshold` (the
warning after a run), whose `rows` resume as well.

Around them: `provenance` (the hash of the code that a figure depends on), `stored` (files in `assets/`, marked where they are of earlier
weights or code), `recorded` (which settings a file needs), `confirming` (whether it holds after a change of the code) and `tables` (what
README.md shows of them). README.md has what all of them found.
"""

"""Time and memory of the reduced model, measured beside the stock one and beside what is modelled, in one run that takes turns.

Random weights and random visual tokens will do, since no time here depends on values. `aim.evaluation` measures how well a model answers.
"""

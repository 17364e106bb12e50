"""Tensors and numbers only: merging, importance, the schedule, what a prefill costs, the record of a run. Nothing here knows a model."""

"""Merging, importance, the schedule, the cost of a prefill and the record of a run, for tensors and numbers. Nothing here knows a model."""

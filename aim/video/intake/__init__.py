"""Untrusted files become frames here: limits, the header check, a decoding process that may hang or die, and in it decord and PyAV."""

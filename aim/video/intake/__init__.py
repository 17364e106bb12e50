"""From a file nobody vouches for to frames: limits, header check, a decoding process that may hang or die, decord and PyAV inside it."""

"""Does the clock follow the arithmetic? Times and memory of the reduced model beside the stock one, in one run of interleaved measurements.

Random weights and visual tokens will do, since no time here depends on values. How well anything answers is `aim.evaluation`'s matter.
"""

"""A loaded model: clips encoded once and asked many times, methods side by side, memory, faults."""

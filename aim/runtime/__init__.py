"""A loaded model: its clips are encoded once and asked about many times, methods run side by side, and memory and faults are handled."""

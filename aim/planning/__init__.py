"""What a setting costs before anything runs, and a method's own knob turned until it meets a budget."""

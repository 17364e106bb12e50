"""What a setting costs before anything runs, and which setting of a method meets a budget."""

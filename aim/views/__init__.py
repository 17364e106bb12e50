"""From a trace to what a person sees: frames, charts, figures. Nothing here knows a model or a user interface."""

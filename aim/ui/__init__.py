"""The Gradio app; the only part that imports gradio."""

"""The synthetic world of moving shapes, and the small model that is trained on it.

`scenes` draws clips, `questions` asks about them, `model` defines the architecture and the tokenizer, `packing` lays many
questions about one clip into one training row, `train` and `evaluate` are commands, `examples` writes the bundled clips.
"""

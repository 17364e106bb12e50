"""The synthetic world of moving shapes, and the small model that is trained on it.

`scenes` says what a scene is, `world` which ones there are, `drawing` renders them, `questions` (in the words of `wordings`) asks about
them; `model` defines the architecture and the tokenizer, `packing` lays many questions about one clip into one training row, `train` runs
`vision_stage` and `answer_stage`; `examples` writes the bundled clips. `aim.evaluation` measures how good the model is.
"""

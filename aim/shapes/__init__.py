"""The synthetic world of moving shapes, and the small model that is trained on it.

`scenes` says what a scene is, `world` which ones there are, `drawing` renders them, `questions` (in the words of `wordings`) asks about
them; `model` defines the architecture and the tokenizer, `packing` lays many questions about one clip into one training row, `train` runs
`vision_stage` and `answer_stage`, whose dense targets are `told` and `pointing`, counts what is right in a `tally`, and keeps the run's
`state`; `examples` writes the bundled clips, which tell `stories`. `aim.evaluation` measures how good the model is.
"""

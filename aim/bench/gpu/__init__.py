"""One command for a GPU, `python -m aim.bench.gpu`: is what runs there right, and how fast is it? A part is a file.

Every part runs by itself, so that one that fails takes no other along. It needs torch, transformers, and pillow, without which
transformers' own image processors cannot be imported. No part needs a checkpoint or the network: weights are random.
"""

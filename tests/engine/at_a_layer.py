"""Doing something when the model has come to a layer."""


class At:
    """Calls `then` when a layer runs for the n-th time, and counts the calls of all layers after that."""

    def __init__(self, layers, layer, then, nth=1):
        self.after, self.reached, self._left, self._then = 0, False, nth, then
        self.hooks = [one.register_forward_hook(self._ran(index == layer)) for index, one in enumerate(layers)]

    def _ran(self, here):
        def hook(*_):
            self.after += self.reached
            if here and not self.reached:
                self._left -= 1
                if not self._left:
                    self.reached = True
                    self._then()

        return hook

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


def layers_of(vlm, part):
    core = vlm.model.model
    return {"tower": core.vision_tower.encoder.layers, "llm": core.language_model.layers}[part]

"""Whether the visitor who asked is still there.

Gradio notices a closed page or a cancelled job at once. It ends the function behind it only when that yields its next value. A model that
is busy with a long prefill yields nothing, so it asks here instead.
"""

from __future__ import annotations

from collections.abc import Callable

from gradio.context import LocalContext


def presence() -> Callable[[], bool]:
    """A function that says whether this event is still wanted. Call `presence` inside the event's own function.

    The result may be called from any thread. Outside of Gradio's queue it is always true.
    """
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    queue = getattr(blocks, "_queue", None)
    event = None if queue is None else queue.event_ids_to_events.get(event_id)
    if event is None:
        return lambda: True
    tasks = [task for task in list(queue._asyncio_tasks) if task.get_name().endswith(event_id)]
    return lambda: event.alive and not any(task.cancelling() for task in tasks)

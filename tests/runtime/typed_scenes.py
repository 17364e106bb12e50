"""Scenes made by hand, and ten questions of each type about them, typed by a person in words that no template has."""

import numpy as np

from aim.shapes.drawing import render
from aim.shapes.scenes import COLOURS, Item, Scene, frame_times
from aim.shapes.world import RADII
from aim.video.clip import Clip, clip_from_frames

SIDE, SECONDS = 224, 4


def item(shape, colour, size, path, direction="nowhere", moment="always", visible=(0.0, 1.0), **more) -> Item:
    """An item of one of the four sizes, 0 to 3. `path` is (x, y) where it stands, or (x0, y0, x1, y1)."""
    path = path if len(path) == 4 else (*path, *path)
    radius = RADII[size] / more.get("growth", 1.0)
    return Item(shape, colour, COLOURS[colour], radius, size, direction, path, moment, visible, **more)


ITEMS = {
    "parade": (
        item("circle", "red", 3, (0.25, 0.22, 0.75, 0.22), "right"),
        item("square", "blue", 1, (0.75, 0.72)),
        item("star", "yellow", 0, (0.2, 0.88, 0.2, 0.48), "up"),
    ),
    "visits": (
        item("triangle", "white", 3, (0.78, 0.72, 0.22, 0.72), "left"),
        item("cross", "green", 1, (0.3, 0.25), moment="late", visible=(0.45, 1.0)),
        item("circle", "purple", 2, (0.72, 0.26), moment="gone", visible=(0.0, 0.6)),
    ),
    "ending": (item("square", "orange", 2, (0.3, 0.3)), item("star", "cyan", 1, (0.7, 0.7), moment="end", visible=(0.75, 1.0))),
    "opening": (item("triangle", "blue", 2, (0.68, 0.3)), item("cross", "red", 1, (0.3, 0.7), moment="start", visible=(0.0, 0.25))),
    "halfway": (item("square", "white", 2, (0.3, 0.65)), item("circle", "yellow", 1, (0.7, 0.3), moment="middle", visible=(0.36, 0.64))),
    "turning": (
        item("square", "purple", 2, (0.3, 0.7), becomes="green", rgb_after=COLOURS["green"], change_time=0.5),
        item("star", "white", 1, (0.2, 0.25, 0.8, 0.25), "right"),
        item("circle", "orange", 3, (0.74, 0.7)),
    ),
    "growing": (item("cross", "cyan", 3, (0.32, 0.38), growth=1.6), item("triangle", "red", 1, (0.75, 0.74))),
    "bouncing": (item("circle", "yellow", 1, (0.15, 0.3, 0.85, 0.3), "right", bounces=True), item("square", "blue", 2, (0.5, 0.75))),
    "flash": (item("circle", "white", 2, (0.3, 0.35)), item("star", "red", 1, (0.7, 0.68), moment="needle", visible=(0.4, 0.455))),
}
FRAMES = {"flash": 32}


def typed_clip(name: str) -> Clip:
    """The clip of a scene, on a plain dark ground, with as many frames as its questions need."""
    scene = Scene(ITEMS[name], np.full((16, 16, 3), (40, 46, 60), np.uint8), (0.0, 0.0))
    frames = FRAMES.get(name, 8)
    return clip_from_frames(render(scene, frame_times(frames), SIDE, supersample=2)[0], frames / SECONDS)


TYPED = {
    "colour": (
        ("parade", "What is the color that the circle has?", "red"),
        ("parade", "I see a square. What color is it?", "blue"),
        ("parade", "so the star, what color is it", "yellow"),
        ("parade", "Can you tell me which color the circle is?", "red"),
        ("visits", "The triangle: which color?", "white"),
        ("visits", "And the cross, what colour does it have?", "green"),
        ("ending", "please tell me what color that square has!", "orange"),
        ("halfway", "Color of the square?", "white"),
        ("growing", "tell me the colour of that triangle", "red"),
        ("bouncing", "in this video, the square has what color?", "blue"),
    ),
    "shape": (
        ("parade", "The red one, what shape is it?", "circle"),
        ("parade", "Which of the objects is blue?", "square"),
        ("parade", "what is that yellow thing", "star"),
        ("parade", "I see something red. What shape does it have?", "circle"),
        ("visits", "What kind of object is white?", "triangle"),
        ("visits", "Shape of the purple object?", "circle"),
        ("ending", "tell me what the orange thing is", "square"),
        ("opening", "And the blue object, what is it?", "triangle"),
        ("growing", "is the red thing a circle, a square, a triangle, a star or a cross?", "triangle"),
        ("turning", "do you know what the orange object is?", "circle"),
    ),
    "count": (
        ("parade", "How many of them are there?", "three"),
        ("parade", "Can you count the shapes in the video?", "three"),
        ("parade", "the number of things in total?", "three"),
        ("visits", "How many different objects do we see in this clip?", "three"),
        ("visits", "count what you see", "three"),
        ("ending", "So how many things appear?", "two"),
        ("opening", "How many shapes have you seen in the clip?", "two"),
        ("turning", "What is the count of shapes?", "three"),
        ("growing", "tell me how many objects are visible", "two"),
        ("bouncing", "how many shapes in all", "two"),
    ),
    "size": (
        ("parade", "Which shape has the largest size of all?", "circle"),
        ("parade", "What is the smallest thing in the video?", "star"),
        ("parade", "tell me which object is the biggest one", "circle"),
        ("visits", "Of all the shapes, which is the biggest?", "triangle"),
        ("visits", "And which of them is the smallest?", "cross"),
        ("visits", "biggest shape?", "triangle"),
        ("turning", "Which one is the largest of all objects in this clip?", "circle"),
        ("turning", "Is the star, the square or the circle the smallest?", "star"),
        ("ending", "Which object is smaller, the square or the star?", "star"),
        ("bouncing", "Which shape is bigger, the circle or the square?", "square"),
    ),
    "exist": (
        ("parade", "Do we see a star?", "yes"),
        ("parade", "Is there some cross in this video?", "no"),
        ("parade", "can you see a red circle in the clip", "yes"),
        ("parade", "Was there a green shape?", "no"),
        ("visits", "So is there a white triangle or not?", "yes"),
        ("visits", "Did a star appear in the video?", "no"),
        ("ending", "Does this clip have a blue square in it?", "no"),
        ("ending", "Have you seen a square?", "yes"),
        ("opening", "tell me, is there any triangle to be seen", "yes"),
        ("bouncing", "Is one of the shapes a cross?", "no"),
    ),
    "direction": (
        ("parade", "Where is that circle moving?", "right"),
        ("parade", "What direction is the star headed in?", "up"),
        ("parade", "Does the red circle go left or right?", "right"),
        ("parade", "In which direction is the yellow star going?", "up"),
        ("parade", "which way is the red shape moving in the clip", "right"),
        ("visits", "The triangle moves in what direction?", "left"),
        ("visits", "Tell me where the white triangle goes.", "left"),
        ("visits", "to the left or to the right, where does the triangle go?", "left"),
        ("turning", "Which way does the star travel in the video?", "right"),
        ("turning", "can you see where the white star is going?", "right"),
    ),
    "when": (
        ("ending", "At what time do you see the star?", "end"),
        ("ending", "When is the cyan star there to be seen?", "end"),
        ("ending", "the star shows up when?", "end"),
        ("opening", "In which part do we see the cross?", "start"),
        ("opening", "when is the red cross to be seen", "start"),
        ("opening", "Is the cross there at the start or at the end?", "start"),
        ("halfway", "When in the clip does the circle appear?", "middle"),
        ("halfway", "tell me when the yellow circle can be seen", "middle"),
        ("halfway", "At what point of the video is the circle visible?", "middle"),
        ("halfway", "And when do we see the white square?", "always"),
    ),
    "order": (
        ("visits", "What is seen first, the cross or the triangle?", "triangle"),
        ("visits", "Of the triangle and the cross, which appears first?", "triangle"),
        ("visits", "Does the cross come earlier than the triangle does?", "no"),
        ("visits", "Was the triangle visible before the cross?", "yes"),
        ("visits", "which of them is the last to appear", "cross"),
        ("visits", "What was the last shape to show up?", "cross"),
        ("visits", "Which one disappears first, the circle or the triangle?", "circle"),
        ("ending", "Which object appears first of all?", "square"),
        ("ending", "Did we see the star before the square?", "no"),
        ("ending", "What shape appears last in the clip?", "star"),
    ),
    "change": (
        ("turning", "What color is the square after it changed?", "green"),
        ("turning", "The square turns into which color?", "green"),
        ("turning", "what was the first color that the square had", "purple"),
        ("turning", "Which object has another colour at the end?", "square"),
        ("turning", "The color of what shape changes?", "square"),
        ("growing", "Which thing is getting larger?", "cross"),
        ("growing", "tell me what shape grows in this video", "cross"),
        ("growing", "What gets bigger and bigger?", "cross"),
        ("bouncing", "Which shape turns around and comes back?", "circle"),
        ("bouncing", "what object moves back and forth in the clip", "circle"),
    ),
    "needle": (
        ("flash", "What is it that flashes?", "star"),
        ("flash", "Which object is seen for a moment only?", "star"),
        ("flash", "There is a flash. Which shape is it?", "star"),
        ("flash", "what color does the star have that flashes", "red"),
        ("flash", "A star flashed: in which color?", "red"),
        ("flash", "Which color is the flashing star?", "red"),
        ("flash", "what is the shape that appears only briefly", "star"),
        ("flash", "Something red flashes up, what shape is it?", "star"),
        ("flash", "The star that is there for a moment, what color is it?", "red"),
        ("flash", "Can you tell me which shape flashes up briefly?", "star"),
    ),
}

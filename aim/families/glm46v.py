"""GLM-4.6V: GLM-4.1V with tenths of a second in the times of a clip.

The checkpoint's config decides between the two. A GLM-4.6V checkpoint whose config says `glm4v` gets the whole seconds of GLM-4.1V.
"""

from __future__ import annotations

from dataclasses import replace

from transformers import Glm46VConfig

from aim.families import glm4v

FAMILY = replace(
    glm4v.FAMILY,
    title="GLM-4.6V",
    prompt=glm4v.prompter(lambda second: f"{second:.1f} seconds"),
    published=(glm4v.published("glm-4.6v-flash", ("zai-org/GLM-4.6V-Flash",), Glm46VConfig),),
)

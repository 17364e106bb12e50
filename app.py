"""Builds and launches AIM Explorer. AIM_MODEL chooses the model: "bundled" (default), a checkpoint folder, or a Hub id.

AIM_QUANTIZATION, "8bit" or "4bit", quantises its LLM on CUDA where bitsandbytes is installed.
"""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import aim  # noqa: E402
from aim.ui.layout import build_demo, launch_options  # noqa: E402

demo = build_demo(aim.load(os.environ.get("AIM_MODEL", "bundled"), quantization=os.environ.get("AIM_QUANTIZATION") or None))
demo.queue(max_size=16)

if __name__ == "__main__":
    demo.launch(**launch_options())

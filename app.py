"""Builds and launches AIM Explorer. AIM_MODEL chooses the model: "bundled" (default), a checkpoint folder, or a Hub id.

AIM_QUANTIZATION, "8bit" or "4bit", quantises its LLM on CUDA where bitsandbytes is installed. AIM_CHOOSE_MODEL, "on" or "off", says
whether visitors may choose another model on the page.
"""

import contextlib
import logging
import os
import tempfile

# Nothing is reported to anybody unless the host asks for it. The libraries read these when they are imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Gradio keeps uploads under the hash of their content, in one folder a machine, and an app that ends deletes its own. In a folder of their
# own they stay while another app on this machine ends.
uploads = tempfile.TemporaryDirectory(prefix="aim-explorer-", ignore_cleanup_errors=True)
os.environ.setdefault("GRADIO_TEMP_DIR", uploads.name)

with contextlib.suppress(ImportError):  # a ZeroGPU Space's own package, which must come before torch
    import spaces  # noqa: F401

from aim.ui.choosing import Chooser, may_choose  # noqa: E402
from aim.ui.host import load_model  # noqa: E402
from aim.ui.page import build_demo, launch_options  # noqa: E402

logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
logging.getLogger("aim").setLevel(logging.INFO)

quantization = os.environ.get("AIM_QUANTIZATION") or None
vlm, notice = load_model(os.environ.get("AIM_MODEL", "bundled"), quantization)
demo = build_demo(vlm, notice=notice, chooser=Chooser(vlm, quantization) if may_choose() else None)

if __name__ == "__main__":
    demo.launch(**launch_options())

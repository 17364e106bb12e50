"""Tests never reach for the network, in this process or in those they start. Set before anything imports huggingface_hub or gradio."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

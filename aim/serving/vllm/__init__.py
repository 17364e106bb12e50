"""AIM's merging inside stock vLLM, as a plugin. Pruning inside the LLM is left out, since paged KV has one length for all layers."""

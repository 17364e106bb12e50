"""The project inside other people's programs: lmms-eval's benchmarks, and vLLM's server."""

"""`python -m aim.bench.gpu`."""

import sys

try:
    from aim.bench.gpu.command import main
except ImportError as error:
    reason = str(error).partition("\n")[0].rstrip(".")
    print(f"aim.bench.gpu: torch, transformers and pillow are needed, and {reason}. Install what is missing with pip.", file=sys.stderr)
    raise SystemExit(2) from None

main()

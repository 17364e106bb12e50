"""`aim.reduce`: hooks on a stock transformers model, a trace out, hooks off."""

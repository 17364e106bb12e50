"""How lmms-eval reads and scores the example clips."""


def visual(document: dict) -> list[str]:
    return [f"assets/examples/{document['video']}"]


def score(document: dict, results: list[str]) -> dict[str, float]:
    return {"accuracy": float(results[0].strip().lower() == document["answer"])}

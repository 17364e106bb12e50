"""The tables of the README of times: every figure is the stored report's, and a report of earlier code says so."""

from aim.bench.tables import bench_table, end_to_end_table, growth_table, origin

MACHINE = {"device": "AMD EPYC, 2 threads", "torch": "2.13", "transformers": "5.23", "python": "3.11", "dtype": "float32"}
HEAD = {"command": "python -m aim bench", "model": "size", "machine": MACHINE, "text_tokens": 100, "new_tokens": 17, "frames": 16}


def spread(value):
    return {"median": value, "min": value, "max": value}


def variant(name, title, seconds):
    whole = {"preprocess_seconds": spread(0.5), "tower_seconds": spread(4.0), "to_first_token_seconds": spread(seconds + 4.5)}
    return {
        "name": name,
        "title": title,
        "rounds": 5,
        "ended": "",
        "prefill_seconds": spread(seconds),
        "working_bytes": spread(2e8),
        "kv_bytes": 1.5e7,
        "measured_speedup": spread(18 / seconds),
        "modelled_speedup": 7.0,
        "quotient": 0.857,
        "causal_speedup": 6.25,
        "causal_quotient": None,
        "merge_share": spread(0.0046),
        "importance_share": spread(0.0136),
        "end_to_end": whole | {"measured_speedup": spread(3.0), "modelled_speedup": 3.5},
    }


def report():
    ended = variant("eager", "stock, eager", 1.0) | {"rounds": 0, "ended": "out of memory", "end_to_end": None}
    return HEAD | {"variants": [variant("sdpa", "stock, SDPA", 18.0), ended, variant("aim", "AIM", 3.0)]}


def test_the_tables_hold_the_reports_figures_and_say_why_a_variant_has_none():
    table = bench_table(report())
    assert "| AIM | 3.00 s | 200 MB | 15.0 MB | 6x | 7.00x | 0.857 | 6.25x | - |" in table
    assert "| stock, eager | out of memory |" in table
    assert "Merging took 0.46 % of the prefill of AIM. PageRank took 1.36 % of the prefill of AIM." in table
    assert "| AIM | 500 ms | 4.00 s | 3.00 s | 7.50 s | 3x | 3.50x |" in end_to_end_table(report())


def test_a_growth_shows_where_a_variant_ended_and_nothing_after_it():
    point = {"variant": "aim", "frames": 8, "ended": "", "prefill_seconds": 1.74, "working_bytes": 71e6}
    points = [point, point | {"frames": 16}, point | {"variant": "sdpa", "ended": "out of memory"}]
    rows = growth_table(HEAD | {"titles": {"sdpa": "stock", "aim": "AIM"}, "growth": points}).splitlines()
    assert rows[-2:] == ["| 8 | out of memory | 1.74 s, 71.0 MB |", "| 16 | – | 1.74 s, 71.0 MB |"]


def test_the_machine_and_the_command_are_named_and_earlier_code_is():
    assert "python -m aim bench` gave this on AMD EPYC, 2 threads, torch 2.13" in origin(report())
    assert "earlier" not in origin(report()) and origin(report() | {"earlier": ["code"]}).endswith("It was measured with earlier code.")

"""Benchmarks of quality and speed. Each `run(seed)` measures here and now and gives one JSON object of figures."""

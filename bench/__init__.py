"""Measure the server beside others: `python -m bench --help`, and docs/performance.md for what came of it."""

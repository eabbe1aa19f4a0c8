"""The statistics of a model version, as the protocol's extension words them. Times are in ns.

The time of an execution counts for each request in it. How many there were is known on the whole only, so that
`compute_infer` takes the mean, and `queue` is what is left of the time that requests took to run. All counts are that
of the requests that succeeded, since perf_analyzer ends where they differ.
"""

from typing import Any

from serving.models.statistics import Totals


def model_statistics(model: str, version: int, totals: Totals) -> dict[str, Any]:
    """The entry of one version in `model_stats`."""
    requests_together = max(1.0, totals.succeeded / max(1, totals.executions))
    infer_ns = min(totals.run_ns, round(totals.executed_ns * requests_together))
    return {
        "name": model,
        "version": str(version),
        "last_inference": totals.last_inference_ms,
        "inference_count": totals.rows,
        "execution_count": totals.executions,
        "inference_stats": {
            "success": _duration(totals.succeeded, totals.run_ns + totals.input_ns + totals.output_ns),
            "fail": _duration(totals.failed, totals.failed_ns),
            "queue": _duration(totals.succeeded, totals.run_ns - infer_ns),
            "compute_input": _duration(totals.succeeded, totals.input_ns),
            "compute_infer": _duration(totals.succeeded, infer_ns),
            "compute_output": _duration(totals.succeeded, totals.output_ns),
            "cache_hit": _duration(0, 0),
            "cache_miss": _duration(0, 0),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(count, 0),
                "compute_infer": _duration(count, ns),
                "compute_output": _duration(count, 0),
            }
            for rows, (count, ns) in sorted(totals.by_rows.items())
        ],
        "memory_usage": [],
    }


def _duration(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}

"""Flask answering a constant: what is left of a request when the server has nothing to do."""

from types import SimpleNamespace

from flask import Flask, Response

app = Flask(__name__)
# What serving/worker.py asks of an application: may it answer in the loop, in whose turn else, what runs now; and whom
# to tell what it refused, and that the worker leaves.
app.extensions.update(
    is_quick=lambda *_: True,
    lane=lambda _target: "",
    runs_in_loop=lambda _lane: True,
    runs=SimpleNamespace(now=list),
    note_refusal=lambda *_: None,
    leave=lambda _reason: None,
)


@app.get("/ready")
def ready() -> str:
    return "yes"


@app.post("/<path:_path>")
def answer(_path: str) -> Response:
    return Response(b'{"predictions":[[0.54391664,0.3043446,0.15173872]]}', content_type="application/json")

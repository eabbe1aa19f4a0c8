"""Flask answering a constant: what is left of a request when the server has nothing to do."""

from flask import Flask, Response

app = Flask(__name__)
# What serving/worker.py asks of an application: may it answer in the loop, and whom to tell what it refused.
app.extensions.update(is_quick=lambda *_: True, note_refusal=lambda *_: None)


@app.get("/ready")
def ready() -> str:
    return "yes"


@app.post("/<path:_path>")
def answer(_path: str) -> Response:
    return Response(b'{"predictions":[[0.54391664,0.3043446,0.15173872]]}', content_type="application/json")

"""Flask answering a constant: what is left of a request when the server has nothing to do."""

from flask import Flask, Response

app = Flask(__name__)
app.extensions["is_quick"] = lambda method, target, body_bytes: True  # what serving/worker.py asks: answer in its loop


@app.get("/ready")
def ready() -> str:
    return "yes"


@app.post("/<path:_path>")
def answer(_path: str) -> Response:
    return Response(b'{"predictions":[[0.54391664,0.3043446,0.15173872]]}', content_type="application/json")

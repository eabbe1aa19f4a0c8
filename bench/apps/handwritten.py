"""The service that people write by hand: Flask, a restored SavedModel, lists in and out."""

import os
from pathlib import Path

import tensorflow as tf
from flask import Flask, request

restored = {path.name: tf.saved_model.load(str(path / "1")) for path in Path(os.environ["BENCH_MODELS"]).iterdir()}
signatures = {name: model.signatures["serving_default"] for name, model in restored.items()}

app = Flask(__name__)


@app.get("/ready")
def ready():
    return "yes"


@app.post("/<name>")
def predict(name):
    signature = signatures[name]
    specs = signature.structured_input_signature[1]
    instances = request.get_json()["instances"]
    if isinstance(instances[0], dict):
        columns = {key: [row[key] for row in instances] for key in specs}
    else:
        columns = dict.fromkeys(specs, instances)
    outputs = signature(**{key: tf.constant(values, specs[key].dtype) for key, values in columns.items()})
    answer = next(iter(outputs.values())).numpy().tolist()
    return {"predictions": [item.decode() if isinstance(item, bytes) else item for item in answer]}

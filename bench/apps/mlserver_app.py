"""MLServer: a runtime of our own, adaptive batching, one process: workers of its own made it slower on two cores.

`python mlserver_app.py PORT FOLDER` writes the settings into the folder and starts the server there.
"""

import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse


class Runtime(MLModel):
    async def load(self):
        import restored

        self._model = restored.Model(Path(os.environ["BENCH_MODELS"], self.name, "1"))
        return True

    async def predict(self, payload):
        inputs = {tensor.name: _array(tensor) for tensor in payload.inputs}
        answer = self._model(**inputs)
        if answer.dtype == object:
            output = StringCodec.encode_output("y", [text.decode() for text in answer])
        else:
            output = NumpyCodec.encode_output("y", answer)
        output.shape = list(answer.shape)  # the codecs make a list of n into [n, 1]
        return InferenceResponse(model_name=self.name, outputs=[output])


def _array(tensor):
    if tensor.datatype == "BYTES":
        return StringCodec.decode_input(tensor)
    return NumpyCodec.decode_input(tensor)


def _settings(port):
    return {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }


def _model_settings(name):
    return {
        "name": name,
        "implementation": "mlserver_app.Runtime",
        "max_batch_size": 32,
        "max_batch_time": 0.001,
    }


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    folder.mkdir()
    Path(folder, "settings.json").write_text(json.dumps(_settings(int(sys.argv[1]))))
    for model in Path(os.environ["BENCH_MODELS"]).iterdir():
        Path(folder, model.name).mkdir()
        Path(folder, model.name, "model-settings.json").write_text(json.dumps(_model_settings(model.name)))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.chdir(folder)
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", "."])

"""LitServe: batches of what is waiting, as many workers and as many API servers as cores."""

import sys

import litserve
import restored

MAX_BATCH = 32


class Api(litserve.LitAPI):
    def setup(self, device):
        self.models = restored.load()

    def decode_request(self, request):
        return request["model"], request["instances"]

    def batch(self, inputs):
        return inputs

    def predict(self, requests):
        answers = [None] * len(requests)
        for model in {model for model, _ in requests}:
            mine = [place for place, (its, _) in enumerate(requests) if its == model]
            rows = [row for place in mine for row in requests[place][1]]
            answer, start = self.models[model].predict(rows), 0
            for place in mine:
                end = start + len(requests[place][1])
                answers[place], start = answer[start:end], end
        return answers

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"predictions": restored.texts(output)}


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(max_batch_size=MAX_BATCH, batch_timeout=0.0),
        accelerator="cpu",
        workers_per_device=restored.PROCESSES,
        timeout=False,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=restored.PROCESSES,
        log_level="warning",
        generate_client_file=False,
    )

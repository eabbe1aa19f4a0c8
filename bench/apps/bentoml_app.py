"""BentoML: a service with as many workers as cores."""

import bentoml
import restored


@bentoml.service(
    workers=restored.PROCESSES,
    traffic={"timeout": 300, "max_concurrency": 1024},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Models:
    def __init__(self):
        self.models = restored.load()

    @bentoml.api(route="/predict")
    def predict(self, model: str, instances: list) -> dict:
        return {"predictions": restored.texts(self.models[model].predict(instances))}

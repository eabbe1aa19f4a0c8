"""FastAPI: orjson both ways, the model called in the event loop, as many uvicorn processes as cores."""

import gc

import orjson
import restored
from fastapi import FastAPI, Request, Response

app = FastAPI()
models = restored.load()
gc.collect()
gc.freeze()


@app.get("/ready")
async def ready():
    return "yes"


@app.post("/{name}")
async def predict(name: str, request: Request):
    instances = orjson.loads(await request.body())["instances"]
    answer = models[name].predict(instances)
    if answer.dtype == object:
        answer = restored.texts(answer)
    return Response(orjson.dumps({"predictions": answer}, option=orjson.OPT_SERIALIZE_NUMPY))

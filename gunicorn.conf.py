"""How gunicorn runs the server; it reads this file by itself. What can be set is in serving/settings.py.

The parent imports TensorFlow, so that workers start fast and share its memory, but runs nothing with it: models are
loaded in each worker, after the fork.
"""

import atexit
import gc
import os
import sys
import threading
from typing import Any

from serving import boot, generations, logs, tls
from serving.errors import SettingsError

CLOSE_SECONDS = 2.0
"""How long a worker with a run that does not end takes to write its last log lines."""

atexit.register(boot.remove_runtime_dir, os.environ)  # a start that is refused later ends there too
try:
    settings = boot.prepare(os.environ)
    tls_context = tls.keeper.load(settings)
except SettingsError as error:
    sys.exit(f"Error: {error}")

bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
workers = settings.workers
worker_class = "serving.worker.LoopWorker"
threads = settings.threads
worker_connections = settings.max_connections
keepalive = settings.keep_alive_seconds
limit_request_line = settings.max_request_line_bytes
limit_request_fields = settings.max_headers
limit_request_field_size = settings.max_header_bytes
timeout = 60
graceful_timeout = round(settings.drain_seconds + settings.unready_seconds)
preload_app = False
control_socket_disable = True
certfile = settings.tls_cert_file and str(settings.tls_cert_file)
keyfile = settings.tls_key_file and str(settings.tls_key_file)


def ssl_context(config: Any, default: Any) -> Any:
    """What was loaded in the parent when this file was last read, for all workers until it is read again."""
    return tls_context


def on_starting(server: Any) -> None:
    """Refuse to start where the port is taken, before anything else is done."""
    logs.configure(settings.log_format)
    boot.own_runtime_dir(os.environ)
    try:
        hosts = boot.listening_hosts(server.cfg.address, os.environ)
        boot.check_exposure(settings, hosts)
    except SettingsError as error:
        sys.exit(f"Error: {error}")
    boot.note_reach(os.environ, hosts)
    if "GUNICORN_FD" not in os.environ and "LISTEN_FDS" not in os.environ:
        for address in server.cfg.address:
            if isinstance(address, tuple):
                try:
                    boot.check_address(*address)
                except SettingsError as error:
                    sys.exit(f"Error: {error}")


def on_reload(server: Any) -> None:
    """Have the old workers wait for the new ones, and whatever is in quarantine tried again."""
    generations.begin()
    boot.forgive(settings)


def when_ready(server: Any) -> None:
    """Import everything once, in the parent; what is there then is hardly ever garbage.

    To look for garbage again and again meanwhile would make the start a fifth longer, to look once at the end a
    twentieth, for the two thousand objects of half a million that are.
    """
    gc.disable()
    import app  # noqa: F401

    gc.freeze()
    gc.enable()
    server.log.info(boot.memory_line(settings))


def pre_fork(server: Any, worker: Any) -> None:
    """Number the workers, so that they can share GPUs out among them."""
    worker.index = boot.worker_index({other.index for other in server.WORKERS.values()})


def post_fork(server: Any, worker: Any) -> None:
    """Tell the worker its number."""
    from serving import metrics

    os.environ["SERVING_WORKER_INDEX"] = str(worker.index)
    metrics.count_as(worker.index, settings.metrics_dir)


def post_worker_init(worker: Any) -> None:
    """Take no connection before the models are there; meanwhile the parent hears that the worker is alive."""
    manager = worker.wsgi.extensions["model_manager"]
    while worker.alive and not manager.wait_until_settled(1.0):
        worker.notify()


def worker_exit(server: Any, worker: Any) -> None:
    """Unload the models and write the last log lines."""
    if worker.wsgi is None:
        return
    close = worker.wsgi.extensions["services"].close
    if not getattr(worker, "is_stuck", False):
        close()
        return
    closing = threading.Thread(target=close, daemon=True)  # it waits for what does not end, as would the usual way out
    closing.start()
    closing.join(CLOSE_SECONDS)
    os._exit(1)


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a worker that has ended had to say of itself."""
    from serving import metrics
    from serving.listeners import forget

    forget(worker.index)
    with boot.going_on(f"what worker {worker.pid} measured"):
        metrics.forget_worker(worker.index, settings.metrics_dir)
    boot.forget_worker(settings, worker.pid, worker.index)

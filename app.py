"""The application: services, then what every request gets, then the routes."""

from contextlib import ExitStack

from serving import logs, metrics
from serving.inference import Inference
from serving.models.board import StatusBoard
from serving.models.configured import make_source
from serving.models.loader import Loader
from serving.models.manager import ModelManager
from serving.rest import console, docs, http, site, v1
from serving.rest.application import Application
from serving.rest.quick import quick_requests
from serving.settings import Settings


def create_app(settings: Settings | None = None) -> Application:
    """An application that serves the models that the settings name; they load in the background."""
    settings = settings or Settings.from_environ()
    logs.configure(settings.log_format)
    services = ExitStack()
    access_log = logs.AccessLog(settings.log_format) if settings.access_log else None
    board = StatusBoard(settings.workers_dir)
    manager = ModelManager(make_source(settings), Loader(settings), settings.model_poll_seconds, board.publish)
    inference = Inference(manager, board, settings.request_timeout_seconds)
    services.callback(metrics.Counting().close)
    services.callback(access_log.close if access_log else lambda: None)
    services.callback(manager.close)
    services.callback(board.close)

    app = Application(__name__)
    app.extensions["services"] = services
    app.extensions["model_manager"] = manager
    app.extensions["is_quick"] = quick_requests(inference)
    http.attach(app, settings, access_log)
    app.register_blueprint(v1.blueprint(inference, settings))
    app.register_blueprint(site.blueprint(inference, settings.metrics_dir))
    app.register_blueprint(docs.blueprint(inference, settings))
    if settings.console:
        app.register_blueprint(console.blueprint(inference, settings.metrics_dir))
    manager.start()
    return app

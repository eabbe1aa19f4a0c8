"""The application: services, then what every request gets, then the routes."""

from contextlib import ExitStack

from serving import logs, metrics
from serving.inference import Inference
from serving.models.board import StatusBoard
from serving.models.configured import make_source
from serving.models.control import ControlledSource, ModelControl, OrderFile, OrderWatch
from serving.models.loader import Loader
from serving.models.manager import ModelManager
from serving.models.runs import Runs
from serving.models.statistics import Statistics
from serving.rest import console, docs, http, site, v1
from serving.rest.application import Application
from serving.rest.guard import make_guard
from serving.rest.quick import lanes, quick_requests
from serving.rest.room import Room
from serving.rest.v2 import routes as v2
from serving.settings import Settings
from serving.tensors.parse import limit_depth


def create_app(settings: Settings | None = None) -> Application:
    """An application that serves the models that the settings name; they load in the background."""
    settings = settings or Settings.from_environ()
    logs.configure(settings.log_format)
    limit_depth(settings.max_json_depth)
    services = ExitStack()
    request_logs = logs.request_logs(settings.access_log, settings.log_format, settings.audit_file)
    guard = make_guard(settings)
    sees = guard.sees if guard else None
    statistics = Statistics(settings.statistics_dir, settings.worker_index)
    runs = Runs(settings.runs_dir)
    orders = OrderFile(settings.control_dir)
    source = ControlledSource(make_source(settings), orders)
    board = StatusBoard(settings.workers_dir, lambda: source.number, lambda: manager.wait_until_settled(0))
    loader = Loader(settings, statistics=statistics, runs=runs)
    manager = ModelManager(source, loader, settings.model_poll_seconds, board.publish)
    control = ModelControl(orders, source, board, manager.look_now) if settings.allow_model_control else None
    inference = Inference(
        manager, board, settings.request_timeout_seconds, statistics, control, sees, settings.max_rank
    )
    services.callback(metrics.Counting(statistics.forget).close)
    for log in request_logs:
        services.callback(log.close)
    services.callback(manager.close)
    services.callback(board.close)
    services.callback(OrderWatch(orders, source, manager.look_now).close)

    room = Room(settings)
    conventions = http.Conventions(settings, request_logs, guard, room.leave)
    app = Application(__name__, conventions)
    app.extensions["services"] = services
    app.extensions["model_manager"] = manager
    app.extensions["runs"] = runs
    app.extensions["leave"] = inference.leave
    app.extensions["lane"] = lanes(inference)
    app.extensions["runs_in_loop"] = inference.runs_in_loop
    app.extensions["is_quick"] = quick_requests(inference)
    app.extensions["note_refusal"] = conventions.note_refusal
    app.register_blueprint(v1.blueprint(inference, settings, room))
    app.register_blueprint(v2.blueprint(inference, settings, room))
    app.register_blueprint(site.blueprint(inference, settings.metrics_dir, sees))
    app.register_blueprint(docs.blueprint(inference, settings))
    if settings.console:
        app.register_blueprint(console.blueprint(inference, settings.metrics_dir, settings.max_body_bytes))
    manager.start()
    return app

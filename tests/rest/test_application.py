"""How a request gets to its view and back."""

from typing import Any

import pytest
from flask import g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from serving.rest.application import Answer, Application, Environ, json_answer, without_context


class Noting:
    """Notes what is called for each request."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.errors: list[Exception] = []
        self.refuses = False

    def start(self, environ: Environ) -> Answer | None:
        self.called.append(f"start {environ['PATH_INFO']}")
        return json_answer(b"no", 403) if self.refuses else None

    def answer_error(self, error: Exception) -> Answer:
        self.errors.append(error)
        return json_answer(b"failed", error.code or 500 if isinstance(error, HTTPException) else 500)

    def finish(self, answer: Answer) -> Answer:
        self.called.append(f"finish {answer.status}")
        answer.headers["X-Finished"] = "yes"
        return answer

    def let_go(self) -> None:
        self.called.append("let go")


@pytest.fixture
def each() -> Noting:
    return Noting()


@pytest.fixture
def app(each: Noting) -> Application:
    app = Application("tests", each)

    @app.get("/usual/<int:number>")
    def usual(number: int) -> Any:
        g.doubled = 2 * number
        return {"name": request.args["name"], "doubled": g.doubled}, 201, {"X-Its": "own"}

    @app.get("/lean/<name>")
    @without_context
    def lean(name: str) -> Answer:
        return json_answer(f"{name} {bool(request)}".encode())

    @app.get("/fails")
    @without_context
    def fails() -> Answer:
        raise KeyError("what was looked for")

    return app


def test_a_view_sees_the_request_as_in_every_flask_application(app: Application) -> None:
    response = app.test_client().get("/usual/21?name=x")
    assert (response.status_code, response.json) == (201, {"name": "x", "doubled": 42})
    assert (response.headers["X-Its"], response.headers["X-Finished"]) == ("own", "yes")


def test_a_view_without_a_context_gets_its_arguments_and_no_request(app: Application) -> None:
    response = app.test_client().get("/lean/it")
    assert (response.status_code, response.text) == (200, "it False")


def test_each_request_is_started_finished_and_let_go(app: Application, each: Noting) -> None:
    app.test_client().get("/lean/it")
    assert each.called == ["start /lean/it", "finish 200", "let go"]


@pytest.mark.parametrize(
    ("path", "error", "status"),
    [
        ("/fails", KeyError, 500),
        ("/nowhere", NotFound, 404),
        ("/usual/one", NotFound, 404),
        ("/usual/1?name", None, 201),
        ("/usual/1", HTTPException, 400),
    ],
)
def test_what_is_raised_is_answered(
    app: Application, each: Noting, path: str, error: type[Exception] | None, status: int
) -> None:
    response = app.test_client().get(path)
    assert (response.status_code, response.headers["X-Finished"]) == (status, "yes")
    assert [isinstance(its, error or ()) for its in each.errors] == ([] if error is None else [True])
    assert each.called[-2:] == [f"finish {status}", "let go"]


def test_a_method_that_a_path_does_not_take_is_an_error_that_names_those_it_does(
    app: Application, each: Noting
) -> None:
    assert app.test_client().post("/lean/it").status_code == 405
    (error,) = each.errors
    assert isinstance(error, MethodNotAllowed)
    assert set(error.valid_methods or ()) == {"GET", "HEAD", "OPTIONS"}


def test_a_request_that_is_refused_at_the_start_reaches_no_view(app: Application, each: Noting) -> None:
    each.refuses = True
    response = app.test_client().get("/fails")
    assert (response.status_code, response.text) == (403, "no")
    assert not each.errors
    assert each.called == ["start /fails", "finish 403", "let go"]


def test_a_request_is_let_go_even_where_its_answer_cannot_be_finished(
    app: Application, each: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(answer: Answer) -> Answer:
        raise OSError("nowhere to note it")

    monkeypatch.setattr(each, "finish", finish)
    with pytest.raises(OSError, match="nowhere to note it"):
        app.test_client().get("/lean/it")
    assert each.called == ["start /lean/it", "let go"]

"""How a request gets to its view and back."""

import gc
import gzip
import weakref
from typing import Any

import pytest
from flask import g, has_request_context, request
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, NotFound
from werkzeug.test import create_environ

from serving.rest.application import Answer, Application, Environ, json_answer, without_context


class Noting:
    """Notes what is called around views."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.errors: list[Exception] = []
        self.keeps_errors = True
        self.refuses = False
        self.compresses = False
        self.fails = ""
        """The method that raises, if any."""

    def start(self, environ: Environ) -> Answer | None:
        self._note("start", environ["PATH_INFO"])
        return json_answer(b"no", 403) if self.refuses else None

    def answer_error(self, error: Exception) -> Answer:
        if self.keeps_errors:
            self.errors.append(error)
        return json_answer(b"failed", error.code or 500 if isinstance(error, HTTPException) else 500)

    def finish(self, answer: Answer) -> Answer:
        self._note("finish", answer.status)
        answer.headers["X-Finished"] = "yes"
        if self.compresses:
            answer.body = gzip.compress(answer.body)
        return answer

    def let_go(self) -> None:
        self._note("let go", "")

    def _note(self, method: str, what: Any) -> None:
        self.called.append(f"{method} {what}".rstrip())
        if method == self.fails:
            raise OSError(f"{method} failed")


@pytest.fixture
def around() -> Noting:
    return Noting()


@pytest.fixture
def app(around: Noting) -> Application:
    app = Application("tests", around)

    @app.get("/usual/<int:number>")
    def usual(number: int) -> Any:
        g.doubled = 2 * number
        return {"name": request.args["name"], "doubled": g.doubled}, 201, {"X-Its": "own"}

    @app.get("/lean/<name>")
    @without_context
    def lean(name: str) -> Answer:
        return json_answer(f"{name} {has_request_context()}".encode())

    @app.get("/fails")
    @without_context
    def fails() -> Answer:
        raise KeyError("what was looked for")

    return app


def test_a_view_sees_the_request_as_in_every_flask_application(app: Application) -> None:
    response = app.test_client().get("/usual/21?name=x")
    assert (response.status_code, response.json) == (201, {"name": "x", "doubled": 42})
    assert (response.headers["X-Its"], response.headers["X-Finished"]) == ("own", "yes")


def test_the_context_of_a_request_ends_with_its_view(app: Application) -> None:
    assert app.test_client().get("/usual/1").status_code == 400
    assert not has_request_context()


def test_a_view_without_a_context_gets_its_arguments_and_no_request(app: Application) -> None:
    client = app.test_client()
    assert [client.get(f"/lean/{name}").text for name in ("it", "it", "%C3%A9")] == ["it False", "it False", "é False"]


@pytest.mark.parametrize("returned", ["text", b"bytes", {"a": "dict"}, ["a list"], ("text", 202), Answer(b"answer")])
def test_every_kind_of_answer_has_its_length_once(app: Application, returned: Any) -> None:
    app.add_url_rule("/answers", view_func=lambda: returned)
    response = app.test_client().get("/answers")
    assert response.headers.getlist("Content-Length") == [str(len(response.data))]
    assert len(response.data) > 3


def test_an_answer_that_is_changed_afterwards_has_the_length_that_it_then_has(app: Application, around: Noting) -> None:
    around.compresses = True
    app.add_url_rule("/answers", view_func=lambda: "text " * 1000)
    response = app.test_client().get("/answers")
    assert gzip.decompress(response.data) == b"text " * 1000
    assert response.headers.getlist("Content-Length") == [str(len(response.data))]


def test_what_is_around_a_view_is_called_in_order(app: Application, around: Noting) -> None:
    app.test_client().get("/lean/it")
    assert around.called == ["start /lean/it", "finish 200", "let go"]


@pytest.mark.parametrize(
    ("path", "error", "status"),
    [
        ("/fails", KeyError, 500),
        ("/nowhere", NotFound, 404),
        ("//lean/it", NotFound, 404),
        ("/usual/one", NotFound, 404),
        ("/usual/1", BadRequest, 400),
    ],
)
def test_what_is_raised_is_answered(
    app: Application, around: Noting, path: str, error: type[Exception], status: int
) -> None:
    response = app.test_client().get(path)
    assert (response.status_code, response.headers["X-Finished"]) == (status, "yes")
    assert [type(its).__mro__.count(error) for its in around.errors] == [1]
    assert around.called[-2:] == [f"finish {status}", "let go"]


def test_a_method_that_a_path_does_not_take_is_an_error_that_names_those_it_does(
    app: Application, around: Noting
) -> None:
    assert app.test_client().post("/lean/it").status_code == 405
    (error,) = around.errors
    assert isinstance(error, MethodNotAllowed)
    assert set(error.valid_methods or ()) == {"GET", "HEAD", "OPTIONS"}


def test_the_answer_to_head_has_no_body(app: Application) -> None:
    response = app.test_client().head("/lean/it")
    assert (response.status_code, response.data, response.headers["Content-Length"]) == (200, b"", "8")


def test_a_request_that_is_refused_at_the_start_reaches_no_view(app: Application, around: Noting) -> None:
    around.refuses = True
    response = app.test_client().get("/fails")
    assert (response.status_code, response.text) == (403, "no")
    assert not around.errors
    assert around.called == ["start /fails", "finish 403", "let go"]


def test_an_error_at_the_start_is_answered(app: Application, around: Noting) -> None:
    around.fails = "start"
    response = app.test_client().get("/lean/it")
    assert (response.status_code, response.text) == (500, "failed")
    assert around.called == ["start /lean/it", "finish 500", "let go"]


def test_an_answer_that_cannot_be_finished_is_one_that_says_so(app: Application, around: Noting) -> None:
    around.fails = "finish"
    response = app.test_client().get("/lean/it")
    assert (response.status_code, response.text) == (500, "failed")
    assert [str(error) for error in around.errors] == ["finish failed"]
    assert around.called == ["start /lean/it", "finish 200", "let go"]


def test_a_request_is_let_go_when_its_thread_is_told_to_end(app: Application, around: Noting) -> None:
    def leave() -> Answer:
        raise SystemExit

    app.add_url_rule("/leaves", view_func=without_context(leave))
    with pytest.raises(SystemExit):
        app.test_client().get("/leaves")
    assert around.called == ["start /leaves", "let go"]


def test_hooks_that_would_never_be_called_are_refused(app: Application, around: Noting) -> None:
    app.before_request(lambda: None)
    assert app.test_client().get("/lean/it").status_code == 500
    (error,) = around.errors
    assert "AroundViews" in str(error)


@pytest.mark.parametrize("path", ["/usual/1?name=x", "/usual/1", "/lean/it", "/fails", "/nowhere"])
@pytest.mark.parametrize("host", ["localhost", "a..b"])
def test_nothing_holds_on_to_a_request_that_is_over(app: Application, around: Noting, path: str, host: str) -> None:
    around.keeps_errors = False
    environ = create_environ(path, headers={"Host": host}, data=b"a body")
    body = weakref.ref(environ["wsgi.input"])
    gc.disable()  # which would find it in the end
    try:
        assert b"".join(app.wsgi_app(environ, lambda *_: None))
        del environ
        assert body() is None
    finally:
        gc.enable()

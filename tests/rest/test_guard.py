"""Who may do what: every path and method, with and without keys."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse, create_environ

from serving.access.keys import make_key
from serving.access.limits import Limit
from serving.caller import CALLER, Caller
from serving.errors import SettingsError
from serving.inference import Inference
from serving.rest import rights
from serving.wsgi import call
from tests.access.keys import certificate, key, role, write
from tests.access.tokens import AUDIENCE, ISSUER, jwk, token, write_jwks
from tests.rest.api import error, result, serve
from tests.server import wait_for

ROW = b'{"instances": [1.0]}'
ANSWER = {"predictions": [2.5]}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
HEALTH = ("/healthz", "/readyz")
PAGES = re.compile(r"/|/docs(?:/[^/]+)?|/console/(?!models|activity)[^/]+")
V1_PATHS = (
    "/v1",
    "/v1/",
    "/v1/models",
    "/v1/models/",
    "/v1/models/secret",
    "/v1/models/secret/metadata",
    "/v1/models/secret/versions/1",
    "/v1/models/secret:predict",
    "/v1/models/secret:classify",
    "/v1/models/secret:regress",
    "/V1/Models/secret:predict",
    "/v1/nothing",
)

FRAUD, FRAUD_ENTRY = key("fraud", "fraud-*")
BLIND, BLIND_ENTRY = key("blind", "fraud-*", "predict")
LOOKING, LOOKING_ENTRY = key("looking", "fraud-*", "metadata")
SCRAPER, SCRAPER_ENTRY = key("scraper", "fraud-*", "metrics")
ALL, ALL_ENTRY = key("all", "*", "predict,metadata,metrics,admin")
SLOW, SLOW_ENTRY = key("slow", "*", "predict", Limit(requests_per_second=0.01, burst=2))
SINGLE, SINGLE_ENTRY = key("single", "*", "predict", Limit(concurrent=1))
ENTRIES = (
    FRAUD_ENTRY,
    BLIND_ENTRY,
    LOOKING_ENTRY,
    SCRAPER_ENTRY,
    ALL_ENTRY,
    SLOW_ENTRY,
    SINGLE_ENTRY,
    certificate("batch", "batch.example", "fraud-*"),
    role("analysts", "analyst", "fraud-*"),
)
KEYS = {"fraud": FRAUD, "blind": BLIND, "looking": LOOKING, "scraper": SCRAPER}


@pytest.fixture(scope="module")
def model_dir(half_plus_two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guarded")
    for name in ("fraud-a", "fraud-b", "secret"):
        shutil.copytree(half_plus_two, folder / name)
    return folder


@pytest.fixture(scope="module")
def guarded(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A client of an app that asks for keys."""
    folder = tmp_path_factory.mktemp("access")
    settings = {
        "keys_file": write(folder / "keys.json", *ENTRIES),
        "jwt_jwks_file": write_jwks(folder / "jwks.json", jwk()),
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
    }
    with serve(model_dir=model_dir, **settings) as client:
        yield client


def ask(client: FlaskClient, path: str, key: str | None = FRAUD, method: str = "", **more: Any) -> TestResponse:
    """The answer to a request with a key; a prediction is asked for with POST, all else with GET."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    method = method or ("POST" if path.endswith((":predict", ":classify", ":regress")) else "GET")
    return client.open(path, method=method, data=ROW if method == "POST" else None, headers=headers, **more)


def predict(client: FlaskClient, model: str, key: str | None = FRAUD, **more: Any) -> TestResponse:
    return ask(client, f"/v1/models/{model}:predict", key, **more)


# Without a key.


def paths(client: FlaskClient) -> list[str]:
    """A path for every rule of the app, and several for the rule that takes all of v1."""
    rules = [rule.rule for rule in client.application.url_map.iter_rules()]
    found = [
        re.sub(r"<[^>]*>", "secret", re.sub(r"<int:[^>]*>", "1", rule)) for rule in rules if not rule.startswith("/<")
    ]
    assert set(HEALTH) < set(found)
    return [*found, *V1_PATHS]


@pytest.mark.parametrize("method", METHODS)
def test_nobody_without_a_key_gets_anything_but_health_and_empty_pages(guarded: FlaskClient, method: str) -> None:
    for path in [*paths(guarded), "/", "/nothing", "/v2", "/v2/models/secret/infer"]:
        response = ask(guarded, path, None, method)
        if path.startswith("/v2/health") or path in HEALTH:
            assert response.status_code in (200, 400, 405), path
        elif PAGES.fullmatch(path):
            assert response.status_code in (200, 400, 404, 405), path
            assert b"fraud" not in response.data
        else:
            assert response.status_code == 401, path
            assert response.headers["WWW-Authenticate"] == "Bearer"
            if method != "HEAD":
                assert "is needed" in error(response, 401)


def test_every_rule_of_the_app_has_its_place_in_the_list_of_rights(guarded: FlaskClient) -> None:
    rules = {path for path in paths(guarded) if path not in V1_PATHS}
    assert [path for path in rules if rights.needed(path) is None] == []


def test_without_files_of_keys_nobody_is_asked(model_dir: Path) -> None:
    with serve(model_dir=model_dir) as client:
        assert result(predict(client, "secret", None)) == ANSWER


# With one.


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {FRAUD}"},
        {"Authorization": f"bearer   {FRAUD} "},
        {"X-API-Key": FRAUD},
        {"X-API-Key": FRAUD, "Authorization": f"Bearer {FRAUD}"},
        {"Authorization": f"Bearer {token()}"},
        {"X-API-Key": token()},
    ],
)
def test_a_key_or_a_token_is_sent_in_either_header(guarded: FlaskClient, headers: dict[str, str]) -> None:
    assert result(guarded.post("/v1/models/fraud-a:predict", data=ROW, headers=headers)) == ANSWER


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": FRAUD},
        {"Authorization": f"Basic {FRAUD}"},
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        {"Authorization": f"Bearer {FRAUD},{FRAUD}"},
        {"Authorization": f"Bearer {FRAUD}", "X-API-Key": ALL},
        {"Authorization": f"Bearer {make_key('fraud')}", "X-API-Key": FRAUD},
        {"Authorization": "Basic eDp5", "X-API-Key": FRAUD},
        {"X-API-Key": ""},
        {"X-API-Key": FRAUD[:-1]},
        {"X-API-Key": "\xe9"},
        {"Authorization": f"Bearer {token(aud='other')}"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/models/fraud-a:predict", "/nothing"])
def test_any_other_is_refused(guarded: FlaskClient, path: str, headers: dict[str, str]) -> None:
    response = guarded.post(path, data=ROW, headers=headers)
    assert "is not valid" in error(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_in_the_query_string_is_none(guarded: FlaskClient) -> None:
    error(guarded.post(f"/v1/models/fraud-a:predict?key={FRAUD}&X-API-Key={FRAUD}", data=ROW), 401)


def test_health_answers_whatever_is_sent(guarded: FlaskClient) -> None:
    for path in HEALTH:
        assert ask(guarded, path, "nonsense").status_code == 200


ALLOWED = {
    "/v1/models/fraud-a:predict": ("fraud", "blind"),
    "/v1/models/fraud%2Da:predict": ("fraud", "blind"),
    "/v1/models/fraud-a/versions/1:predict": ("fraud", "blind"),
    "/v1/models/fraud-a": ("fraud", "looking"),
    "/v1/models/fraud-a/metadata": ("fraud", "looking"),
    "/v1/models": ("fraud", "looking"),
    "/metrics": ("scraper",),
    "/monitoring/prometheus/metrics": ("scraper",),
}


@pytest.mark.parametrize("holder", KEYS)
@pytest.mark.parametrize("path", ALLOWED)
def test_a_key_gives_what_was_granted_and_no_more(guarded: FlaskClient, path: str, holder: str) -> None:
    response = ask(guarded, path, KEYS[holder])
    hidden = holder == "scraper" and "fraud" in path
    assert response.status_code == (200 if holder in ALLOWED[path] else 404 if hidden else 403)


def test_a_refusal_says_who_lacks_which_right(guarded: FlaskClient) -> None:
    assert error(predict(guarded, "fraud-a", LOOKING), 403) == "key:looking has no right to predict on model fraud-a"
    assert error(ask(guarded, "/metrics"), 403) == "key:fraud has no right to metrics"
    assert error(ask(guarded, "/v1/models/fraud-z", BLIND), 403)  # which does not exist


def test_a_path_that_means_nothing_is_not_found_with_any_key(guarded: FlaskClient) -> None:
    for sent in (ALL, SCRAPER):
        assert error(ask(guarded, "/nothing", sent), 404) == "Malformed request: GET /nothing"
        assert error(ask(guarded, "/v1/models/a/b", sent), 404) == "Malformed request: GET /v1/models/a/b"


# Models that one may not see.

ABSENT = "absent"
LOOKS = (
    "/v1/models/{}",
    "/v1/models/{}/metadata",
    "/v1/models/{}/versions/1",
    "/v1/models/{}/versions/1/metadata",
    "/v1/models/{}/versions/7",
    "/v1/models/{}/labels/stable",
    "/v1/models/{}/versions/99999999999999999999",
    "/v1/models/{}:predict",
    "/v1/models/{}:classify",
    "/v1/models/{}/versions/1:predict",
    "/v1/models/{}/labels/stable:predict",
    "/v1/models/{}/nothing",
    "/v1/models/{}:explain",
)
BODIES = (ROW, b"", b"{", b"[]", b'{"signature_name": "no", "instances": [1.0]}', b'{"instances": "x"}')


def seen(response: TestResponse, name: str) -> tuple[int, bytes, dict[str, str]]:
    """All there is to see of an answer, but for the name that was asked for and what is new each time."""
    headers = {header: value for header, value in response.headers if header not in ("X-Request-Id", "Content-Length")}
    return response.status_code, response.data.replace(name.encode(), b"NAME"), headers


@pytest.mark.parametrize("key", [FRAUD, BLIND, LOOKING, SCRAPER, token()[:], token(roles=[])])
@pytest.mark.parametrize("path", LOOKS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
def test_a_model_that_one_may_not_see_is_as_one_that_does_not_exist(
    guarded: FlaskClient, path: str, key: str, method: str
) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    for body in BODIES if method == "POST" else (None,):
        answers = {
            name: seen(guarded.open(path.format(name), method=method, data=body, headers=headers), name)
            for name in ("secret", ABSENT)
        }
        assert answers["secret"] == answers[ABSENT]
        assert answers["secret"][0] != 200 or method == "OPTIONS"


def test_what_one_may_see_is_told_apart_from_what_does_not_exist(guarded: FlaskClient) -> None:
    for path in LOOKS[:3]:
        assert seen(ask(guarded, path.format("secret"), ALL), "secret")[0] == 200
        assert seen(ask(guarded, path.format(ABSENT), ALL), ABSENT)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/%73ecret:predict",
        "/v1/models/s%65cret/versions/1:predict",
        "/V1/MODELS/secret:predict",
        "/v1/models/fraud-a/../secret:predict",
        "/v1/models/./secret:predict",
        "/v1/models/fraud-a%2F..%2Fsecret:predict",
        "/v1/models//secret:predict",
        "//v1/models/secret:predict",
        "/v1//models/secret:predict",
        "/v1/models/secret:predict/",
        "/v1/models/secret/:predict",
        "/v1/models/secret%3Apredict",
        "/v1/models/secret:predict%00",
        "/v1/models/secret%00:predict",
        "/v1/models/secret%20:predict",
        "/v1/models/ secret:predict",
        "/v1/models/SECRET:predict",
        "/v1/models/secret:predict?x=fraud-a",
        "/v1/models/secret:predict#fraud-a",
        "/v1/models/secret;fraud-a:predict",
        "/%761/models/secret:predict",
        "/%2576%31/models/secret:predict",
        "/v1%2Fmodels%2Fsecret:predict",
        "/healthz/../v1/models/secret:predict",
        "/healthz/v1/models/secret:predict",
        "/healthz?/v1/models/secret:predict",
        "/healthz%2f..%2fv1%2fmodels%2fsecret:predict",
        "/metrics/",
        "/metrics%2f",
        "/METRICS",
        "/%6detrics",
        "/monitoring//prometheus/metrics",
        "/console/%6dodels",
        "/console/activit%79",
        "/console/models%2Fsecret%2Fversions%2F1",
        "/v1/models/secret/metadata",
        "/v1/models/secret/metadata/",
        "/v1/models/fraud-a/metadata/../../secret",
    ],
)
@pytest.mark.parametrize("key", [None, FRAUD])
def test_no_spelling_of_a_path_gets_round_the_check(guarded: FlaskClient, path: str, key: str | None) -> None:
    for method in ("GET", "POST"):
        response = ask(guarded, path, key, method)
        if path.startswith("/healthz?"):
            assert response.data in (b'{"status":"ok"}', b'{"error":"Malformed request: POST /healthz"}')
        elif path.startswith("//"):  # which the client takes for a host
            assert response.status_code == 421
        else:
            assert response.status_code in ((401,) if key is None else (403, 404, 405))


@pytest.mark.parametrize("target", ["/healthz", "/v1/models", "/v1/models/fraud-a"])
def test_a_route_that_understands_a_path_differently_from_the_check_shows_no_other_model(
    guarded: FlaskClient, target: str
) -> None:
    """As if the server in front gave one path to the check and another to the routes."""
    predict(guarded, "secret", ALL)
    response = ask(guarded, "/metrics", environ_overrides={"RAW_URI": target, "REQUEST_URI": target})
    assert response.status_code == 200
    assert b"secret" not in response.data


# Lists.


def test_lists_show_only_what_one_may_see(guarded: FlaskClient) -> None:
    def listed(key: str) -> list[str]:
        return [model["name"] for model in result(ask(guarded, "/v1/models", key))["models"]]

    assert listed(ALL) == ["fraud-a", "fraud-b", "secret"]
    assert listed(FRAUD) == listed(LOOKING) == listed(token()) == ["fraud-a", "fraud-b"]


def test_metrics_show_only_the_models_that_one_may_see(guarded: FlaskClient) -> None:
    predict(guarded, "secret", ALL)
    predict(guarded, "fraud-a", ALL)
    assert b'model="secret"' in ask(guarded, "/metrics", ALL).data
    shown = ask(guarded, "/metrics", SCRAPER)
    assert shown.status_code == 200
    assert b"secret" not in shown.data
    assert b'serving_rows_count{model="fraud-a"}' in shown.data
    assert b"process_cpu_seconds_total" in shown.data


def test_readiness_names_no_models_to_strangers(half_plus_two: Path, tmp_path: Path) -> None:
    shutil.copytree(half_plus_two, tmp_path / "models" / "good")
    (tmp_path / "models" / "secret" / "1").mkdir(parents=True)
    (tmp_path / "models" / "secret" / "1" / "saved_model.pb").write_bytes(b"not a model")
    keys = write(tmp_path / "keys.json", ALL_ENTRY)
    with serve(model_dir=tmp_path / "models", keys_file=keys) as client:
        for sent in (None, ALL):
            response = ask(client, "/readyz", sent)
            assert response.status_code == 503
            assert response.json == {"status": "not ready", "models": {"": "a model is not available"}}


# Limits.


def test_a_key_that_asks_too_often_is_told_when_to_come_again(guarded: FlaskClient) -> None:
    assert [predict(guarded, "fraud-a", SLOW).status_code for _ in range(3)] == [200, 200, 429]
    response = predict(guarded, "absent", SLOW)
    assert error(response, 429) == "slow has reached its limit of requests"
    assert 90 <= int(response.headers["Retry-After"]) <= 100
    assert predict(guarded, "fraud-a", FRAUD).status_code == 200


def test_a_key_has_no_more_in_hand_than_it_may(guarded: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run, begun, go_on = Inference.run, threading.Event(), threading.Event()

    def wait(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(10)
        return run(*arguments)

    monkeypatch.setattr(Inference, "run", wait)
    answers: list[TestResponse] = []
    thread = threading.Thread(target=lambda: answers.append(predict(guarded, "fraud-a", SINGLE)))
    thread.start()
    assert begun.wait(10)
    assert predict(guarded, "fraud-a", SINGLE).headers["Retry-After"] == "1"
    go_on.set()
    thread.join()
    assert result(answers[0]) == ANSWER
    for model, status in (("absent", 404), ("fraud-a", 200), ("fraud-a", 200)):  # each is given back, failed or not
        assert predict(guarded, model, SINGLE).status_code == status


# Certificates, changes, browsers.


def test_a_verified_certificate_is_as_good_as_a_key(guarded: FlaskClient) -> None:
    verified = {"serving.client_certificate": {"subject": ((("commonName", "batch.example"),),)}}
    assert result(predict(guarded, "fraud-a", None, environ_overrides=verified)) == ANSWER
    assert predict(guarded, "secret", None, environ_overrides=verified).status_code == 404
    assert predict(guarded, "fraud-a", "wrong", environ_overrides=verified).status_code == 401


def test_a_header_is_no_certificate(guarded: FlaskClient) -> None:
    headers = {"serving.client-certificate": "batch.example", "Client-Certificate": "batch.example"}
    assert guarded.post("/v1/models/fraud-a:predict", data=ROW, headers=headers).status_code == 401


def test_keys_are_added_and_revoked_while_the_server_runs(model_dir: Path, tmp_path: Path) -> None:
    keys = write(tmp_path / "keys.json", FRAUD_ENTRY)
    with serve(model_dir=model_dir, keys_file=keys) as client:
        assert predict(client, "fraud-a").status_code == 200
        write(keys, ALL_ENTRY)
        wait_for(lambda: predict(client, "fraud-a").status_code == 401, "the key is revoked", 10)
        assert predict(client, "secret", ALL).status_code == 200


def test_a_process_alone_refuses_a_keys_file_that_others_can_read(model_dir: Path, tmp_path: Path) -> None:
    keys = write(tmp_path / "keys.json", FRAUD_ENTRY)
    keys.chmod(0o644)
    with pytest.raises(SettingsError, match="others than its owner"), serve(model_dir=model_dir, keys_file=keys):
        pass


PREFLIGHT = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}


@pytest.mark.parametrize(
    ("origins", "headers", "status"),
    [
        (("https://app.example",), PREFLIGHT, 200),
        (("*",), PREFLIGHT, 200),
        (("https://other.example",), PREFLIGHT, 401),
        ((), PREFLIGHT, 401),
        (("*",), {"Origin": "https://app.example"}, 401),
    ],
)
def test_a_page_that_may_call_may_ask_so_without_a_key(
    model_dir: Path, tmp_path: Path, origins: tuple[str, ...], headers: dict[str, str], status: int
) -> None:
    keys = write(tmp_path / "keys.json", FRAUD_ENTRY)
    with serve(model_dir=model_dir, keys_file=keys, cors_origins=origins) as client:
        response = client.options("/v1/models/fraud-a:predict", headers=headers)
        assert response.status_code == status
        if status == 200:
            assert (
                response.headers["Access-Control-Allow-Headers"]
                == "Content-Type, Inference-Header-Content-Length, Authorization, X-API-Key"
            )


# The audit log.


def test_an_auditor_reads_who_asked_what_with_which_outcome_and_no_secret(model_dir: Path, tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    keys = write(tmp_path / "keys.json", FRAUD_ENTRY)
    with serve(model_dir=model_dir, keys_file=keys, audit_file=audit) as client:
        predict(client, "fraud-a")
        predict(client, "secret")
        predict(client, "fraud-a", make_key("fraud"))
        ask(client, "/metrics")
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(line["caller"], line["status"], line["model"], line["version"]) for line in lines] == [
        ("key:fraud", 200, "fraud-a", "1"),
        ("key:fraud", 404, "", ""),
        ("", 401, "", ""),
        ("key:fraud", 403, "", ""),
    ]
    assert lines[0]["path"] == "/v1/models/fraud-a:predict"
    assert lines[0]["peer"] == "127.0.0.1"
    assert lines[0]["milliseconds"] > 0
    assert audit.stat().st_mode & 0o777 == 0o600
    assert FRAUD.rpartition(".")[2] not in audit.read_text()
    assert "2.5" not in audit.read_text()


def test_an_auditor_reads_who_was_answered_late_by_the_server_and_for_which_model(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = tmp_path / "audit.log"
    keys = write(tmp_path / "keys.json", FRAUD_ENTRY)
    headers = {"Authorization": f"Bearer {FRAUD}"}
    environ = create_environ("/v1/models/fraud-a:predict", method="POST", data=ROW, headers=headers)
    environ |= {CALLER: Caller(time.monotonic() - 3), "REMOTE_ADDR": "10.0.0.1"}
    ids = list[str]()
    with serve(model_dir=model_dir, keys_file=keys, audit_file=audit) as client:
        app, run = client.application, Inference.run

        def run_late(*args: Any) -> Any:
            """A run in the middle of which the server, whose loop looks at the time, answers."""
            assert environ[CALLER].claim()
            ids.append(app.extensions["note_refusal"](environ, 504))
            return run(*args)

        monkeypatch.setattr(Inference, "run", run_late)
        call(app, environ, keep_alive=False)
    (line,) = (json.loads(line) for line in audit.read_text().splitlines())
    told = ("caller", "status", "model", "version", "path", "peer", "request_id")
    assert [line[name] for name in told] == [
        "key:fraud", 504, "fraud-a", "1", "/v1/models/fraud-a:predict", "10.0.0.1", *ids,
    ]  # fmt: skip
    assert line["milliseconds"] >= 3000

"""Access as operators set it up: keys, TLS and certificates on a running server."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import saved_models
from tests.access.keys import certificate, key, write
from tests.authority import Authority, serial_number
from tests.server import ROOT, Server, environment, free_port, gunicorn, serving, wait_for

KEY, ENTRY = key("fraud", "fraud-*", "predict,metadata")
BODY = {"instances": [2.0]}
ANSWER = {"predictions": [4.0]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    for name in ("fraud-a", "secret"):
        saved_models.scale(models / name / "1", 2.0)
    return models


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def predict(server: Server, model: str, sent: str | None = None) -> Any:
    headers = {} if sent is None else {"Authorization": f"Bearer {sent}"}
    return server.ask("POST", f"/v1/models/{model}:predict", BODY, **headers)


def keys_command(file: Path, *arguments: str) -> str:
    """What `python -m serving keys` prints."""
    command = [sys.executable, "-m", "serving", "keys", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(SERVING_KEYS_FILE=file), capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `server` has its files."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def server(models: Path, folder: Path) -> Iterator[Server]:
    settings = {"SERVING_KEYS_FILE": write(folder / "keys.json", ENTRY), "SERVING_AUDIT_FILE": folder / "audit"}
    with serving(folder / "log", SERVING_MODEL_DIR=models, WEB_CONCURRENCY=2, **settings) as server:
        yield server


class TestKeys:
    def test_a_key_opens_what_it_is_for(self, server: Server) -> None:
        assert predict(server, "fraud-a", KEY).json == ANSWER
        assert predict(server, "fraud-a").status == 401
        assert predict(server, "secret", KEY).status == 404
        assert server.ask("GET", "/metrics", X_API_Key=KEY).status == 403
        assert server.ask("GET", "/healthz").status == 200

    @pytest.mark.parametrize(
        "target",
        [
            "http://localhost/v1/models/secret:predict",
            "http://localhost/healthz/../v1/models/secret:predict",
            "//localhost/v1/models/secret:predict",
            "healthz://v1/v1/models/secret:predict",
            "http://v1/models/secret:predict",
            "/v1/models/\tsecret:predict",
            "/v1/models/secret:predict\\..\\..\\healthz",
            "/healthz;/../v1/models/secret:predict",
            "/v1/models/secret:predict#/healthz",
            "/v1/://x/v1/models/secret:predict",
            "/v1/models/%2573ecret:predict",
            "/v1/models/%c0%afsecret:predict",
            "*",
        ],
    )
    def test_no_form_of_a_target_gets_round_the_check(self, server: Server, target: str) -> None:
        for sent, allowed in (
            ("", (400, 401, 421)),
            (f"X-API-Key: {KEY}\r\n", (400, 404, 405, 421)),
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(
                    f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{sent}Connection: close\r\n"
                    'Content-Length: 20\r\n\r\n{"instances": [2.0]}'.encode()
                )
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            assert int(answer.split()[1]) in allowed, answer

    @pytest.mark.parametrize("name", ["X_API_Key", "X-API-KEY", "authorization"])
    def test_only_the_headers_of_the_right_name_count(self, server: Server, name: str) -> None:
        value = KEY if "API" in name else f"Bearer {KEY}"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\n\r\n".encode())
            assert int(connection.recv(65536).split()[1]) == (401 if "_" in name else 200)

    def test_every_worker_follows_the_keys_file(self, server: Server, folder: Path) -> None:
        file = folder / "keys.json"
        made = keys_command(file, "create", "new", "--models", "secret", "--may", "predict")
        clients = [server.client() for _ in range(8)]  # connections are shared out between the workers

        def answers() -> set[int]:
            path, headers = "/v1/models/secret:predict", {"Authorization": f"Bearer {made}"}
            return {client.request("POST", path, BODY, **headers).status for client in clients}

        wait_for(lambda: answers() == {200}, "every worker knows the new key", 10)
        keys_command(file, "revoke", "new")
        wait_for(lambda: answers() == {401}, "every worker has forgotten it", 10)
        assert predict(server, "fraud-a", KEY).status == 200
        file.chmod(0o644)
        wait_for(
            lambda: predict(server, "fraud-a", KEY).status == 200 and "others than its" in server.log.read_text(),
            "the key still counts, and the server says what is wrong",
            10,
        )
        file.chmod(0o600)
        for client in clients:
            client.close()

    def test_limits_hold_over_all_workers(self, server: Server, folder: Path) -> None:
        options = ("--models", "*", "--may", "predict", "--rate", "0.001", "--burst", "40")
        made = keys_command(folder / "keys.json", "create", "slow", *options)
        clients = [server.client() for _ in range(8)]
        seen: list[int] = []

        def ask(client: Any) -> int:
            headers = {"Authorization": f"Bearer {made}"}
            seen.append(client.request("POST", "/v1/models/secret:predict", BODY, **headers).status)
            return seen[-1]

        wait_for(lambda: 401 not in {ask(client) for client in clients}, "every worker knows the key", 10)
        threads = [threading.Thread(target=lambda its=client: [ask(its) for _ in range(10)]) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()
        assert set(seen) <= {200, 401, 429}
        assert 40 <= seen.count(200) <= 42  # two workers may take the last one at once

    def test_the_audit_file_names_the_caller_and_may_be_moved_away(self, server: Server, folder: Path) -> None:
        audit = folder / "audit"
        predict(server, "fraud-a", KEY)
        wait_for(lambda: '"caller": "key:fraud"' in audit.read_text(), "the line is there", 10)
        audit.rename(folder / "audit.1")
        predict(server, "fraud-a", KEY)
        wait_for(lambda: audit.exists() and audit.read_text(), "a new file is begun", 10)
        texts = audit.read_text() + (folder / "audit.1").read_text() + server.log.read_text()
        assert KEY.rpartition(".")[2] not in texts

    def test_new_workers_outlive_a_keys_file_that_cannot_be_used(self, server: Server, folder: Path) -> None:
        (folder / "keys.json").chmod(0o644)
        before = set(server.workers())
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(set(server.workers()) - before) == 2 and server.is_ready(), "new workers serve")
        assert predict(server, "fraud-a", KEY).status == 401
        (folder / "keys.json").chmod(0o600)
        wait_for(lambda: predict(server, "fraud-a", KEY).status == 200, "the key counts again", 10)


def reload(server: Server) -> None:
    """Have the configuration read again, and wait until only workers serve that know it."""
    before = set(server.workers())
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not before & set(server.workers()) and server.is_ready(), "new workers serve")


class TestTls:
    def test_a_new_certificate_is_shown_after_sighup_and_a_bad_one_is_not(
        self, models: Path, authority: Authority, tmp_path: Path
    ) -> None:
        certificate_file, key_file = authority.server()
        settings = {
            "SERVING_MODEL_DIR": models,
            "SERVING_TLS_CERT_FILE": certificate_file,
            "SERVING_TLS_KEY_FILE": key_file,
            "SERVING_TLS_CLIENT_CA_FILE": authority.ca_file,
            "SERVING_TLS_CLIENT_CERT": "optional",
        }
        with serving(tmp_path / "log", tls=authority.client(), WEB_CONCURRENCY=1, **settings) as server:
            check_that_a_certificate_is_needed_but_for_health(server, authority)
            check_that_other_protocols_are_turned_away(server)

            first = shown(server, authority)
            authority.server()
            reload(server)
            second = shown(server, authority)
            assert second != first

            certificate_file.write_text("half a certif")
            reload(server)
            assert "the certificate that was loaded before stays" in server.log.read_text()
            assert shown(server, authority) == second
            assert predict(server, "secret").json == ANSWER

    def test_a_client_certificate_opens_what_its_name_was_granted(
        self, models: Path, authority: Authority, tmp_path: Path
    ) -> None:
        certificate_file, key_file = authority.server("mutual")
        settings = {
            "SERVING_MODEL_DIR": models,
            "SERVING_TLS_CERT_FILE": certificate_file,
            "SERVING_TLS_KEY_FILE": key_file,
            "SERVING_TLS_CLIENT_CA_FILE": authority.ca_file,
            "SERVING_KEYS_FILE": write(tmp_path / "keys.json", ENTRY, certificate("b", "batch", "fraud-*")),
        }
        (tmp_path / "evil").mkdir()
        evil = Authority(tmp_path / "evil").client("batch")
        evil.load_verify_locations(authority.ca_file)
        with serving(tmp_path / "log", tls=authority.client("batch"), WEB_CONCURRENCY=1, **settings) as server:
            assert predict(server, "fraud-a").json == ANSWER
            assert predict(server, "secret").status == 404
            assert predict(server, "fraud-a", "wrong").status == 401
            server.tls = authority.client("stranger")
            assert predict(server, "fraud-a").status == 404
            assert predict(server, "fraud-a", KEY).status == 200
            for context in (authority.client(), evil):
                server.tls = context
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    predict(server, "fraud-a", KEY)


def check_that_a_certificate_is_needed_but_for_health(server: Server, authority: Authority) -> None:
    assert server.ask("GET", "/healthz").status == 200
    assert predict(server, "secret").status == 401
    server.tls = authority.client("anyone")
    assert predict(server, "secret").json == ANSWER


def check_that_other_protocols_are_turned_away(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not connection.recv(65536).startswith(b"HTTP/")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        assert connection.recv(65536) == b""  # that says nothing


def shown(server: Server, authority: Authority) -> int:
    """The number of the certificate that the server shows."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection,
        authority.client().wrap_socket(connection, server_hostname="localhost") as wrapped,
    ):
        return serial_number(wrapped.getpeercert(binary_form=True))


class TestStart:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"HOST": "0.0.0.0"}, "Error: listening on 0.0.0.0 would let anybody in: set SERVING_KEYS_FILE"),
            ({"HOST": "::"}, "Error: listening on :: would let anybody in"),
            ({"SERVING_KEYS_FILE": "/nowhere/keys"}, "Error: /nowhere/keys: cannot be read: No such file"),
            ({"SERVING_KEYS_FILE": "/etc/passwd"}, "Error: /etc/passwd: others than its owner can read"),
            ({"SERVING_TLS_CERT_FILE": "/etc/passwd"}, "Error: /etc/passwd: no certificate with its private key"),
            ({"SERVING_AUDIT_FILE": "/nowhere/audit"}, "Error: SERVING_AUDIT_FILE: /nowhere/audit: cannot be written"),
        ],
    )
    def test_it_refuses_to_start_in_one_line(self, settings: dict[str, str], message: str) -> None:
        ended = start(gunicorn(), **settings)
        assert ended.returncode != 0
        (line,) = ended.stderr.splitlines()
        assert line.startswith(message)

    def test_a_public_address_on_the_command_line_is_refused_too(self) -> None:
        ended = start([*gunicorn(), "--bind", f"0.0.0.0:{free_port()}"])
        assert ended.returncode != 0
        (line,) = [line for line in ended.stderr.splitlines() if "INFO" not in line]
        assert line.startswith("Error: listening on 0.0.0.0 would let anybody in")

    def test_a_public_socket_that_was_handed_over_is_refused_too(self) -> None:
        with socket.socket() as listener:
            listener.bind(("0.0.0.0", 0))
            os.set_inheritable(listener.fileno(), True)
            ended = start([*gunicorn(), "--bind", f"fd://{listener.fileno()}"], pass_fds=(listener.fileno(),))
        assert ended.returncode != 0
        assert "Error: listening on 0.0.0.0 would let anybody in" in ended.stderr


def start(command: list[str], pass_fds: tuple[int, ...] = (), **settings: str) -> "subprocess.CompletedProcess[str]":
    """A start that should end by itself, soon."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        pass_fds=pass_fds,
    )

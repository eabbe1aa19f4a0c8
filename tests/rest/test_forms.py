"""Predict requests and answers in other forms than JSON: which headers ask for them, and what is refused."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from serving.errors import InvalidArgument
from serving.rest.forms.answers import accepted
from serving.rest.forms.media import CSV, JSON, MULTIPART, NPY
from serving.rest.forms.multipart import CHUNK_BYTES, MAX_PARTS, read_multipart
from tests import saved_models
from tests.inputs.pictures import bare_png, encoded
from tests.rest.api import error, result, serve

PIXELS = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
PNG = encoded(PIXELS)
SCALED = [[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]
MODELS = {
    "half": saved_models.half_plus_two,
    "mixture": saved_models.mixture,
    "picture": partial(saved_models.scale, factor=1.0, shape=(None, 2, 3)),
    "signatures": saved_models.several_signatures,
    "vector": partial(saved_models.scale, factor=2.0, shape=(None, 3)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, write in MODELS.items():
        write(folder / name / "1")
    (folder / "picture" / "1" / "image_input.json").write_text('{"color": "gray", "scale": 0.00392156862745098}')
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[FlaskClient]:
    with serve(model_dir=folder, max_decompressed_bytes=1024 * 1024) as client:
        yield client


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def send(
    client: FlaskClient, model: str, body: bytes, content_type: str, accept: str = "", **more: str
) -> TestResponse:
    """The answer to a body of a type; a name of another header has _ for -."""
    headers = {name.replace("_", "-"): value for name, value in more.items() if name != "query"}
    if accept:
        headers["Accept"] = accept
    path = f"/v1/models/{model}:predict{more.get('query', '')}"
    return client.post(path, data=body, content_type=content_type, headers=headers)


def form(*parts: tuple[str, str, bytes], end: str = "--x--\r\n") -> bytes:
    """A form of parts given as name, file name, and content; bounded by x."""
    pieces = []
    for name, file_name, content in parts:
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"' + (
            f'; filename="{file_name}"' if file_name else ""
        )
        pieces.append(head.encode() + b"\r\n\r\n" + content + b"\r\n")
    return b"".join(pieces) + end.encode()


BOUNDED = f"{MULTIPART}; boundary=x"
PIECES = [b"--x", b"--x--", b"\r\n", b"\n", b":", b"a", b'Content-Disposition: form-data; name="a"', b'; filename="b"']


class TestBodies:
    def test_an_array_is_rows(self, client: FlaskClient) -> None:
        assert result(send(client, "half", npy(np.float64([[1], [2]])), NPY)) == {"predictions": [[2.5], [3.0]]}

    def test_a_table_is_rows_of_named_inputs(self, client: FlaskClient) -> None:
        body = b"text,flag,number,half\r\nx,true,-7,0.5\r\n"
        assert result(send(client, "mixture", body, "Text/CSV; charset=UTF-8; header=present")) == {
            "predictions": [{"flag_out": True, "half_out": 0.5, "number_out": -7, "text_out": "x"}]
        }

    def test_a_table_is_the_rows_of_a_vector(self, client: FlaskClient) -> None:
        assert result(send(client, "vector", b"a,b,c\n1,2,3\n", CSV)) == {"predictions": [[2, 4, 6]]}

    @pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "IMAGE/PNG; name=five.png"])
    def test_a_picture_is_a_row(self, client: FlaskClient, content_type: str) -> None:
        assert result(send(client, "picture", PNG, content_type)) == {"predictions": [SCALED]}

    def test_the_files_of_a_form_are_rows_in_their_order(self, client: FlaskClient) -> None:
        files = form(("b", "b.png", PNG), ("a", "a.jpg", encoded(PIXELS[::-1])), ("b", "b2", PNG))
        assert result(send(client, "picture", files, BOUNDED)) == {"predictions": [SCALED, SCALED[::-1], SCALED]}

    def test_the_query_or_a_field_of_the_form_names_the_signature(self, client: FlaskClient) -> None:
        body = npy(np.float32([3]))
        assert result(send(client, "signatures", body, NPY, query="?signature_name=negate")) == {"predictions": [-3]}
        assert '"other" not found' in error(send(client, "signatures", body, NPY, query="?signature_name=other"))
        body = form(("signature_name", "", b"serving_default"), ("a", "a.png", PNG))
        assert result(send(client, "picture", body, BOUNDED)) == {"predictions": [SCALED]}

    def test_an_array_without_rows_is_a_whole_tensor(self, tmp_path: Path) -> None:
        saved_models.no_batch(tmp_path / "1")
        with serve(model_dir=tmp_path) as client:
            assert result(send(client, "model", npy(np.float32(3)), NPY)) == {"outputs": 9}

    @pytest.mark.parametrize(
        "content_type",
        ["", "application/json", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream",
         "image/webp", "text/csv-schema", "multipart/mixed; boundary=x", "application/npy"],
    )  # fmt: skip
    def test_every_other_type_is_json(self, client: FlaskClient, content_type: str) -> None:
        body = json.dumps({"instances": [[1.0]]}).encode()
        assert result(send(client, "half", body, content_type)) == {"predictions": [[2.5]]}

    def test_bodies_are_decompressed_first(self, client: FlaskClient) -> None:
        body = gzip.compress(npy(np.float32([[1]])))
        assert result(send(client, "half", body, NPY, Content_Encoding="gzip")) == {"predictions": [[2.5]]}

    def test_answers_name_the_version(self, client: FlaskClient) -> None:
        answer = send(client, "half", npy(np.float32([[1]])), NPY, NPY)
        assert answer.headers["X-Model-Version"] == "1"
        assert len(answer.headers["X-Request-Id"]) == 32


class TestRefusals:
    @pytest.mark.parametrize(
        ("model", "body", "content_type", "status", "message"),
        [
            ("half", b"", NPY, 400, "the body is not an array in NumPy's format (.npy)"),
            ("half", npy(np.array(["1"])), NPY, 400, "the array is of str"),
            (
                "mixture",
                npy(np.float32([1])),
                NPY,
                415,
                "application/x-npy is one array, but the signature has 4 inputs",
            ),
            ("half", b"x\n1\nb\n", CSV, 400, "CSV row 2, column \"x\": 'b' is not a value of float"),
            ("half", b"x\n1\n", f"{CSV}; charset=utf-16", 415, "text/csv in 'utf-16' is not read here"),
            ("picture", b"x\n1\n", CSV, 415, "text/csv is for inputs of one value a row"),
            ("half", PNG, "image/png", 415, "this version of the model takes no pictures: its directory holds no"),
            ("picture", PNG[:48], "image/png", 400, "picture 1 is damaged"),
            ("picture", bare_png(30_000, 30_000), "image/png", 413, "picture 1 of 30000 x 30000 pixels"),
            ("half", form(("a", "a.png", PNG)), BOUNDED, 415, "this version of the model takes no pictures"),
            ("nothing", PNG, "image/png", 404, "Servable not found for request: Latest(nothing)"),
        ],
    )
    def test_what_cannot_be_read_is_an_error_as_json(
        self, client: FlaskClient, model: str, body: bytes, content_type: str, status: int, message: str
    ) -> None:
        assert error(send(client, model, body, content_type), status).startswith(message)

    def test_pictures_are_for_one_signature(self, folder: Path, client: FlaskClient) -> None:
        assert '"x" not found' in error(send(client, "picture", PNG, "image/png", query="?signature_name=x"))

    def test_a_body_that_is_too_large_is_refused(self, folder: Path) -> None:
        with serve(model_dir=folder / "half", max_body_bytes=100) as client:
            error(send(client, "model", npy(np.zeros((100, 1))), NPY), 413)

    def test_a_version_whose_file_is_wrong_is_not_made_available(self, tmp_path: Path) -> None:
        saved_models.half_plus_two(tmp_path / "1")
        (tmp_path / "1" / "image_input.json").write_text('{"color": "gray"}')
        with serve(model_dir=tmp_path) as client:
            (status,) = result(client.get("/v1/models/model"))["model_version_status"]
        assert status["state"] == "END"
        assert status["status"]["error_message"].startswith(
            'image_input.json: input "x" has shape [-1,1]; gray pictures'
        )


class TestForms:
    @pytest.mark.parametrize(
        ("body", "content_type", "message"),
        [
            (form(("a", "a.png", PNG)), MULTIPART, "the Content-Type multipart/form-data names no boundary"),
            (form(("a", "a.png", PNG)), f"{MULTIPART}; boundary=y", "the form ends before its last boundary"),
            (b"\r\n", BOUNDED, "the form ends before its last boundary"),
            (form(), BOUNDED, "the form has no file; each file is a row"),
            (form(("a", "a.png", PNG), end=""), BOUNDED, "the form ends before its last boundary"),
            (form(("other", "", b"1"), ("a", "a.png", PNG)), BOUNDED, "the form has a field 'other'; known is"),
            (form(("a", "", b"1" * 2000)), BOUNDED, "a field of the form has 2000 bytes"),
            (b"--x\r\nContent-Type: image/png\r\n\r\n1\r\n--x--\r\n", BOUNDED, "the form is not valid multipart"),
            (b"--x\r\n\xff: \xff\r\n\r\n1\r\n--x--\r\n", BOUNDED, "the form is not valid multipart"),
            (b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n", BOUNDED, "the form has a field ''"),
            (
                b"--x\r\nA: " + b"b" * 2 * CHUNK_BYTES,
                BOUNDED,
                "a part of the form has headers of more than 65536 bytes",
            ),
            (form(*[("a", "a", b"")] * (MAX_PARTS + 1)), BOUNDED, "the form has more than 1024 parts"),
            (
                form(("a", "a.png", form(("b", "b.png", PNG)).replace(b"--x", b"--y"))),
                BOUNDED,
                "picture 1 is neither PNG nor JPEG",
            ),
        ],
    )
    def test_a_form_that_is_none_is_an_error(
        self, client: FlaskClient, body: bytes, content_type: str, message: str
    ) -> None:
        assert error(send(client, "picture", body, content_type)).startswith(message)

    def test_large_files_come_in_one_piece(self) -> None:
        files = [b"\r\n--y\r\n" * 40_000, bytes(range(256)) * 1000, b""]
        body = form(*((f"f{number}", "f", content) for number, content in enumerate(files)))
        assert read_multipart(body, BOUNDED).files == files

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.sampled_from(PIECES), max_size=20))
    def test_any_bytes_are_a_form_or_an_error_of_the_request(self, pieces: list[bytes]) -> None:
        try:
            read_multipart(b"".join(pieces), BOUNDED)
        except InvalidArgument:
            return


class TestAnswers:
    ONE = json.dumps({"instances": [[1.0], [2.0]]}).encode()

    def test_an_array(self, client: FlaskClient) -> None:
        answer = send(client, "half", self.ONE, JSON, NPY)
        assert answer.content_type == NPY
        np.testing.assert_array_equal(np.load(io.BytesIO(answer.data), allow_pickle=False), np.float32([[2.5], [3.0]]))

    def test_a_table(self, client: FlaskClient) -> None:
        body = json.dumps({"instances": [{"flag": True, "half": 0.5, "number": 2**62, "text": 'a "b", c'}]}).encode()
        answer = send(client, "mixture", body, JSON, CSV)
        assert answer.content_type == "text/csv; charset=utf-8"
        header, row = csv.reader(io.StringIO(answer.text, newline=""))
        assert dict(zip(header, row, strict=True)) == {
            "flag_out": "true", "half_out": "0.5", "number_out": str(2**62), "text_out": 'a "b", c',
        }  # fmt: skip

    def test_a_table_for_a_table(self, client: FlaskClient) -> None:
        assert send(client, "vector", b"a,b,c\n1,2,3\n", CSV, CSV).data == b"y_0,y_1,y_2\r\n2.0,4.0,6.0\r\n"

    def test_large_answers_are_compressed(self, client: FlaskClient) -> None:
        body = npy(np.zeros((5000, 1), np.float32))
        answer = send(client, "half", body, NPY, NPY, Accept_Encoding="gzip")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert np.load(io.BytesIO(gzip.decompress(answer.data))).shape == (5000, 1)

    @pytest.mark.parametrize(
        ("model", "accept", "message"),
        [
            ("picture", CSV, 'the answer cannot be text/csv: output "y" has shape [-1,2,3]'),
            (
                "mixture",
                NPY,
                "the answer cannot be application/x-npy: it is one array, but the signature has 4 outputs",
            ),
        ],
    )
    def test_what_no_accepted_type_holds_is_406_as_json(
        self, client: FlaskClient, model: str, accept: str, message: str
    ) -> None:
        bodies = {"picture": (PNG, "image/png")}
        body, content_type = bodies.get(model, (b"text,flag,number,half\nx,1,2,3\n", CSV))
        assert error(send(client, model, body, content_type, accept), 406).startswith(message)

    def test_an_accept_that_names_no_form_of_ours_gets_json_as_from_upstream(self, client: FlaskClient) -> None:
        assert send(client, "half", self.ONE, JSON, "text/html").content_type == JSON

    def test_the_next_best_type_is_taken_where_the_best_does_not_hold_the_answer(self, client: FlaskClient) -> None:
        answer = send(client, "picture", PNG, "image/png", f"{CSV}, {NPY};q=0.5, {JSON};q=0.1")
        assert answer.content_type == NPY

    def test_errors_are_json_whatever_is_accepted(self, client: FlaskClient) -> None:
        assert error(send(client, "half", b"x\nb\n", CSV, CSV)).startswith("CSV row 1")

    @pytest.mark.parametrize(
        ("header", "types"),
        [
            ("", (JSON, NPY, CSV)),
            ("*/*", (JSON, NPY, CSV)),
            ("application/json", (JSON,)),
            ("application/json; charset=utf-8", (JSON,)),
            ("application/json, text/plain, */*", (JSON, NPY, CSV)),
            ("text/csv", (CSV,)),
            ("text/*, application/json;q=0.9", (CSV, JSON)),
            ("application/x-npy;q=0.3, text/csv;q=0.7", (CSV, NPY)),
            ("*/*;q=0.1, application/json;q=0", (NPY, CSV)),
            ("application/*;q=0.5, application/x-npy", (NPY, JSON)),
            ("TEXT/CSV;q=1.0", (CSV,)),
        ],
    )
    def test_qualities_are_honoured(self, header: str, types: tuple[str, ...]) -> None:
        assert accepted(header) == types


class TestTheCore:
    def test_requests_are_counted_as_all_others_are(self, client: FlaskClient) -> None:
        def count() -> float:
            lines = client.get("/metrics").text.splitlines()
            wanted = [line for line in lines if line.startswith("serving_requests_total") and 'model="vector"' in line]
            return sum(float(line.rpartition(" ")[2]) for line in wanted if 'method="predict"' in line)

        before = count()
        send(client, "vector", b"a,b,c\n1,2,3\n", CSV)
        assert count() == before + 1

    def test_a_request_that_is_out_of_time_is_not_read(self, client: FlaskClient) -> None:
        from serving.caller import CALLER, Caller

        path = "/v1/models/picture:predict"
        answer = client.post(path, data=PNG, content_type="image/png", environ_overrides={CALLER: Caller(0.0, 1.0)})
        error(answer, 504)

    def test_what_takes_long_to_read_is_kept_out_of_the_event_loop(self, client: FlaskClient) -> None:
        is_quick = client.application.extensions["is_quick"]
        target = b"/v1/models/half:predict"
        for content_type in (b"application/json", b"application/x-npy", b"text/plain"):
            assert is_quick("POST", target, 100, content_type)
        for content_type in (
            b"image/png",
            b"IMAGE/jpeg; a=b",
            b"text/csv;charset=utf-8",
            b"multipart/form-data; boundary=x",
        ):
            assert not is_quick("POST", target, 100, content_type)

    def test_what_a_version_takes_pictures_for_is_said(self, client: FlaskClient) -> None:
        expected = {"input": "x", "signature": "serving_default", "size": [2, 3], "color": "gray", "resize": "bilinear"}
        described = result(client.get("/v2/models/picture"))["parameters"]["image_input"]
        assert described.items() >= expected.items()
        listed = {model["name"]: model["image_input"] for model in result(client.get("/v1/models"))["models"]}
        assert listed["picture"] == {"1": described}
        assert listed["half"] == {}
        assert "parameters" not in result(client.get("/v2/models/half"))

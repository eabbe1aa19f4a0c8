"""Requests that are wrong, each with the statuses that it may be answered with.

They are for a server of keys with the models `fraud-a` and `fraud-image`, which the key may use, and `secret`, which it
may not; each takes a vector of floats, `x`, and gives `y`, but `fraud-image` takes an `image` [-1, 64, 64, 3].
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

PREDICT = "/v1/models/fraud-a:predict"
INFER = "/v2/models/fraud-a/infer"
BODY = b'{"instances": [2.0]}'


class Bad(NamedTuple):
    """What is sent; `goes_on` says whether the connection must be open afterwards, None where it may be."""

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    goes_on: bool | None = True


def post(path: str, body: bytes, key: str, *headers: str, length: int | None = None) -> bytes:
    """A POST with a key and further headers, whose length is as it should be unless another is given."""
    size = len(body) if length is None else length
    return request(f"POST {path} HTTP/1.1", f"X-API-Key: {key}", *headers, f"Content-Length: {size}") + body


def request(line: str, *headers: str, host: str = "Host: localhost") -> bytes:
    lines = [line, *([host] if host else []), *headers]
    return "".join(f"{each}\r\n" for each in lines).encode("latin-1") + b"\r\n"


def rows(key: str) -> Iterator[Bad]:
    """Every row; names are unique."""
    for table in (
        _lines,
        _heads,
        _lengths,
        _chunks,
        _targets,
        _methods,
        _access,
        _browsers,
        _encodings,
        _json,
        _limits,
    ):
        yield from table(key)
    for table in (_tensors, _images, _infer, _binary):
        yield from table(key)


CUT = (400, 408)


def _lines(key: str) -> Iterator[Bad]:
    ok, end = "Host: localhost\r\n", "\r\n"
    for name, line in {
        "no version": "GET /healthz",
        "HTTP/0.9": "GET /healthz HTTP/0.9",
        "HTTP/1.2": "GET /healthz HTTP/1.2",
        "HTTP/2.0": "GET /healthz HTTP/2.0",
        "HTTP/1.10": "GET /healthz HTTP/1.10",
        "HTTP/11": "GET /healthz HTTP/11",
        "HTTP/1.": "GET /healthz HTTP/1.",
        "http/1.1 in small letters": "GET /healthz http/1.1",
        "another protocol": "GET /healthz ICE/1.0",
        "a method in small letters": "get /healthz HTTP/1.1",
        "an unknown method": "FROB /healthz HTTP/1.1",
        "a method of brackets": "G(ET /healthz HTTP/1.1",
        "a tab for a space": "GET\t/healthz HTTP/1.1",
        "a space in the path": "GET /heal thz HTTP/1.1",
        "a space behind the version": "GET /healthz HTTP/1.1 ",
        "nothing but a method": "GET",
        "an empty target": "GET  HTTP/1.1",
        "NUL in the path": "GET /heal\0thz HTTP/1.1",
        "ESC in the path": "GET /\x1b[31mhealthz HTTP/1.1",
        "DEL in the path": "GET /\x7f HTTP/1.1",
        "a bare CR in the line": "GET /healthz\r HTTP/1.1",
        "Latin-1 in the path": "GET /\xe9 HTTP/1.1",
    }.items():
        yield Bad(name, f"{line}\r\n{ok}{end}".encode("latin-1"), (400,), False)
    yield Bad("UTF-8 in the path", f"GET /é HTTP/1.1\r\n{ok}{end}".encode(), (400,), False)
    yield Bad("lines that end with LF", b"GET /healthz HTTP/1.1\nHost: localhost\n\n", (400,), False)
    yield Bad("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,), False)
    yield Bad("the beginning of TLS", bytes.fromhex("16030100c2010000be0303") + bytes(100), (400,), False)
    yield Bad("noise", bytes(range(256)), (400,), False)
    yield Bad("SSH", b"SSH-2.0-OpenSSH_9.6\r\n", (400,), False)
    yield Bad("a line without an end", b"GET /healthz HTT", CUT, False)
    yield Bad(
        "a proxy's line", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + request("GET /healthz HTTP/1.1"), (400,), False
    )


def _heads(key: str) -> Iterator[Bad]:
    for name, header in {
        "a space before the colon": "X : y",
        "a space before the name": " X: y",
        "no name": ": y",
        "no colon": "abc",
        "a name with brackets": "a(b): c",
        "a name in UTF-8": "\xc3\xa9: c",
        "NUL in a name": "X\0: y",
        "NUL in a value": "X: a\0b",
        "a control character in a value": "X: a\x01b",
        "DEL in a value": "X: a\x7f",
        "a folded header": "X: a\r\n b",
        "a header folded with a tab": "X: a\r\n\tb",
        "a header folded into a second key": "X-API-Key: a\r\n X-API-Key: b",
        "CR inside of a value": "X: a\rb",
        "a header that ends with LF": "X: a\nY: b",
        "two hosts": "Host: localhost",
        "two hosts that differ": "Host: evil.example",
        "two lengths of expectation": "Expect: 100-continue\r\nExpect: 100-continue",
    }.items():
        yield Bad(name, request("GET /healthz HTTP/1.1", header), (400,), False)
    for name, host in {
        "no host": "",
        "an empty host": "Host:",
        "a host with a space": "Host: a b",
        "a host with a path": "Host: localhost/x",
        "a host with a user": "Host: me@localhost",
        "two hosts in one": "Host: localhost, evil.example@x",
        "a port of letters": "Host: localhost:http",
        "an open bracket": "Host: [::1",
    }.items():
        yield Bad(name, request("GET /healthz HTTP/1.1", host=host), (400,), False)
    yield Bad("another host", request("GET /v1/models HTTP/1.1", host="Host: evil.example"), (421,))
    yield Bad(
        "a host that begins like ours", request("GET /v1/models HTTP/1.1", host="Host: localhost.evil.example"), (421,)
    )
    yield Bad("an address that is not ours", request("GET /v1/models HTTP/1.1", host="Host: 169.254.169.254"), (421,))
    yield Bad("a head without an end", request("GET /healthz HTTP/1.1")[:-2], CUT, False)


def _lengths(key: str) -> Iterator[Bad]:
    for value in (
        "+20",
        "-20",
        "-1",
        "0x14",
        "2e1",
        "20.0",
        "20 20",
        "20,20",
        "20, 21",
        "",
        "twenty",
        "\xb2",
        "9" * 30,
        "1_0",
    ):
        sent = request(f"POST {PREDICT} HTTP/1.1", f"X-API-Key: {key}", f"Content-Length: {value}") + BODY
        yield Bad(f"Content-Length: {value!r}", sent, (400, 413), False)
    for other in ("20", "21", "0"):
        twice = request(
            f"POST {PREDICT} HTTP/1.1", f"X-API-Key: {key}", "Content-Length: 20", f"Content-Length: {other}"
        )
        yield Bad(f"Content-Length 20 and {other}", twice + BODY, (400,), False)
    for coding in ("chunked", "identity", "gzip, chunked", "xchunked", "Chunked"):
        both = request(f"POST {PREDICT} HTTP/1.1", "Content-Length: 20", f"Transfer-Encoding: {coding}") + b"0\r\n\r\n"
        yield Bad(f"Content-Length and Transfer-Encoding: {coding}", both, (400,), False)
    yield Bad("a length far too large", post(PREDICT, b"", key, length=10**12), (413,), False)
    yield Bad("a body shorter than its length", post(PREDICT, BODY, key, length=21), CUT, False)
    yield Bad("a body of nothing that promises something", post(PREDICT, b"", key, length=20), CUT, False)
    yield Bad("a body cut where it is good JSON", post(PREDICT, BODY, key, length=1000), CUT, False)
    yield Bad("a good body longer than its length", post(PREDICT, BODY + b"x", key, length=20), (200, 400), False)
    yield Bad("no length", request(f"POST {PREDICT} HTTP/1.1", f"X-API-Key: {key}"), (400, 411))


def _chunks(key: str) -> Iterator[Bad]:
    def chunked(rest: bytes, *headers: str, version: str = "1.1") -> bytes:
        sent = headers or ("Transfer-Encoding: chunked",)
        return request(f"POST {PREDICT} HTTP/{version}", f"X-API-Key: {key}", *sent) + rest

    good = b"14\r\n" + BODY + b"\r\n0\r\n\r\n"
    for name, rest in {
        "a size of letters": b"zz\r\n",
        "a negative size": b"-1\r\n{}\r\n0\r\n\r\n",
        "a size with 0x": b"0x14\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a size with a space": b"14 \r\n" + BODY + b"\r\n0\r\n\r\n",
        "a size with a plus": b"+14\r\n" + BODY + b"\r\n0\r\n\r\n",
        "no size": b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a size beyond 64 bits": b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "chunks that end with LF": b"14\n" + BODY + b"\n0\n\n",
        "a chunk without its end": b"14\r\n" + BODY + b"0\r\n\r\n",
        "a chunk longer than its size": b"13\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a length in the trailer": good[:-2] + b"Content-Length: 5\r\n\r\n",
        "a trailer that is none": good[:-2] + b"a b\r\n\r\n",
        "an extension with NUL": b"14;a=\0\r\n" + BODY + b"\r\n0\r\n\r\n",
    }.items():
        yield Bad(f"chunks: {name}", chunked(rest), (400,), False)
    yield Bad("chunks: a chunk shorter than its size", chunked(b"15\r\n" + BODY + b"\r\n0\r\n\r\n"), CUT, False)
    yield Bad("chunks: no last one", chunked(good[:-5]), CUT, False)
    yield Bad("chunks: none at all", chunked(b""), CUT, False)
    yield Bad("chunks: a good body without the end", chunked(good[:-2]), CUT, False)
    yield Bad("chunks: an extension without end", chunked(b"14;" + b"x" * 100_000), (400, 413, 431), False)
    yield Bad("chunks: a trailer without end", chunked(good[:-2] + b"X: y\r\n" * 200 + b"\r\n"), (400, 431), False)
    yield Bad("chunks: of one byte each", chunked(b"1;xxxxxxxxxx\r\n{\r\n" * 10_000), (400, 413), False)
    yield Bad("chunks: in HTTP/1.0", chunked(good, version="1.0"), (400,), False)
    for coding in (
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "identity",
        "x-chunked",
        '"chunked"',
        "chunked;q=1",
        "\x0bchunked",
        "chun ked",
        "",
    ):
        yield Bad(f"Transfer-Encoding: {coding!r}", chunked(good, f"Transfer-Encoding: {coding}"), (400, 501), False)
    twice = ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")
    for coding in ("chunked ", "chunked\t", "chunked \t "):
        yield Bad(f"Transfer-Encoding: {coding!r}", chunked(good, f"Transfer-Encoding: {coding}"), (400,), False)
    yield Bad("Transfer-Encoding twice", chunked(good, *twice), (400,), False)
    yield Bad(
        "Transfer-Encoding with a space before the colon", chunked(good, "Transfer-Encoding : chunked"), (400,), False
    )
    hidden = chunked(good, "Transfer-Encoding: chunked", "Content-Length: 6") + request("GET /metrics HTTP/1.1")
    yield Bad("a request hidden behind two framings", hidden, (400,), False)


def _targets(key: str) -> Iterator[Bad]:
    sent = f"X-API-Key: {key}"
    for path in (
        "//healthz",
        "/./healthz",
        "/x/../healthz",
        "/healthz/",
        "/healthz/.",
        "/HEALTHZ",
        "/healthz;x=1",
        "/healthz%00",
        "/healthz%0d%0a",
        "/%2fhealthz",
        "/healthz%2f",
        "/%c0%afhealthz",
        "/healthz%zz",
        "/%",
        "/healthz%",
        "/\\healthz",
        "/v1",
        "/v1/",
        "/v1/model",
        "/v1//models",
        "/v1/models/",
        "/v1/models//",
        "/v1/models/fraud-a/",
        "/v1/models/fraud-a:predict/",
        "/v1/models/fraud-a/versions",
        "/v1/models/fraud-a/versions/x",
        "/v1/models/fraud-a/versions/-1",
        "/v1/models/fraud-a/versions/1.0",
        "/v1/models/fraud-a/versions/01/x",
        "/v1/models/fraud-a/labels/",
        "/v1/models/fraud-a/metadata/",
        "/v1/models/fraud-a/metadata/x",
        "/v1/models/../models",
        "/v1/models/..%2ffraud-a",
        "/v1/models/%2e%2e",
        "/v1/models/fraud-a%00",
        "/v1/models/fraud-a;x",
        "/v1/models/FRAUD-A",
        "/v1/models/secret",
        "/v1/models/%73ecret",
        "/v1/models/fraud-a/../secret",
        "/v1/models/fraud-a%2f..%2fsecret",
        "/v1%2fmodels",
        "/v3/models",
        "/v2/models",
        "/v2/models/",
        "/v2/models/fraud-a/versions",
        "/v2/health",
        "/v2/health/",
        "/v2/health/live/",
        "/v2/models/secret",
        "/v2/models/fraud-a/versions/99",
        "/v2/models/fraud-a/infer/x",
        "/favicon.ico",
        "/.git/config",
        "/.env",
        "/wsgi.py",
        "/static/../wsgi.py",
        "/console/../wsgi.py",
        "/console/..%2f..%2fwsgi.py",
        "/docs/%2e%2e%2fwsgi.py",
        "/console/index.html/..",
        "/cgi-bin/x",
        "/server-status",
    ):
        yield Bad(f"GET {path}", request(f"GET {path} HTTP/1.1", sent), (400, 404, 405))
    for path in (
        "/v1/models/fraud-a/versions/99999999999999999999",
        "/v1/models/fraud-a/versions/18446744073709551616",
    ):
        yield Bad(f"GET {path}", request(f"GET {path} HTTP/1.1", sent), (400, 404))
    yield Bad("a colon that is none", post("/v1/models/fraud-a%3apredict", BODY, key), (404, 405))
    for path in (
        "/v1/models/fraud-a:",
        "/v1/models/fraud-a:PREDICT",
        "/v1/models/fraud-a:predict:predict",
        "/v1/models/:predict",
        "/v1/models/fraud-a/versions/9:predict",
        "/v1/models/fraud-a/labels/x:predict",
        "/v1/models/secret:predict",
        "/v2/models/secret/infer",
        "/v2/models/fraud-a/versions/x/infer",
        "/v2/models//infer",
        "/v2/models/fraud-a/INFER",
        "/v2/models/fraud-a/versions/1/infer/",
    ):
        yield Bad(f"POST {path}", post(path, BODY, key), (400, 404))
    for target in (
        "healthz",
        "*",
        "localhost:80",
        "ftp://localhost/healthz",
        "http://",
        "http:///healthz",
        "http://u:p@localhost/",
        "://x/",
        "/healthz#x",
        "file:///etc/passwd",
    ):
        yield Bad(f"the target {target}", request(f"GET {target} HTTP/1.1", sent), (400,), False)
    yield Bad("an address elsewhere", request("GET http://evil.example/v1/models HTTP/1.1", sent), (421,))
    yield Bad("an address of a hidden model", request("GET http://localhost/v1/models/secret HTTP/1.1", sent), (404,))


def _methods(key: str) -> Iterator[Bad]:
    sent = f"X-API-Key: {key}"
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "HEAD"):
        yield Bad(f"{method} to predict", request(f"{method} {PREDICT} HTTP/1.1", sent), (405,))
        yield Bad(f"{method} to infer", request(f"{method} {INFER} HTTP/1.1", sent), (405,))
    for method in ("POST", "PUT", "DELETE", "TRACE"):
        for path in ("/healthz", "/readyz", "/v1/models", "/v1/models/fraud-a", "/v2", "/v2/health/live"):
            yield Bad(f"{method} to {path}", request(f"{method} {path} HTTP/1.1", sent, "Content-Length: 0"), (405,))
    yield Bad("CONNECT", request("CONNECT localhost:80 HTTP/1.1"), (400, 405), False)
    yield Bad("OPTIONS *", request("OPTIONS * HTTP/1.1", sent), (400, 404, 405))
    yield Bad("OPTIONS that is no preflight", request(f"OPTIONS {PREDICT} HTTP/1.1", sent), (400, 405))
    yield Bad("HEAD of nothing", request("HEAD /nothing HTTP/1.1", sent), (404,))
    yield Bad("HEAD of too long a path", request(f"HEAD /{'a' * 5000} HTTP/1.1"), (414,), False)


def _access(key: str) -> Iterator[Bad]:
    for path in (
        "/metrics",
        "/monitoring/prometheus/metrics",
        "/v1/models",
        "/v1/models/fraud-a",
        "/v2",
        "/v2/models/fraud-a",
        "/v2/models/stats",
        "/v2/models/fraud-a/ready",
        "/openapi.json",
        "/console/models",
        "/nothing",
        "/v1/models/secret",
    ):
        for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"):
            yield Bad(
                f"{method} {path} without a key", request(f"{method} {path} HTTP/1.1", "Content-Length: 0"), (401,)
            )
    for name, headers in {
        "a wrong key": ["X-API-Key: " + key[:-1] + ("A" if key[-1] != "A" else "B")],
        "half a key": ["X-API-Key: " + key[: len(key) // 2]],
        "an empty key": ["X-API-Key:"],
        "a long key": ["X-API-Key: " + "k" * 8000],
        "a key in Latin-1": ["X-API-Key: \xe9\xff"],
        "two keys": [f"X-API-Key: {key}", f"X-API-Key: {key}"],
        "a key with a comma": [f"X-API-Key: {key},{key}"],
        "a key in Basic": [f"Authorization: Basic {key}"],
        "a key without a scheme": [f"Authorization: {key}"],
        "Bearer and nothing": ["Authorization: Bearer"],
        "Bearer twice": [f"Authorization: Bearer Bearer {key}"],
        "two keys that differ": [f"Authorization: Bearer {key}", "X-API-Key: other"],
        "a token of no provider": ["Authorization: Bearer eyJhbGciOiJub25lIn0.e30."],
        "a key under another name": [f"X_API_Key: {key}"],
        "a key in a cookie": [f"Cookie: X-API-Key={key}"],
    }.items():
        sent = request(f"POST {PREDICT} HTTP/1.1", *headers, f"Content-Length: {len(BODY)}") + BODY
        yield Bad(name, sent, (401,))
    in_query = request(f"POST {PREDICT}?key={key} HTTP/1.1", f"Content-Length: {len(BODY)}") + BODY
    yield Bad("a key in the query", in_query, (401,))
    in_trailer = request(f"POST {PREDICT} HTTP/1.1", "Transfer-Encoding: chunked")
    in_trailer += b"14\r\n" + BODY + b"\r\n0\r\nX-API-Key: " + key.encode() + b"\r\n\r\n"
    yield Bad("a key in the trailer", in_trailer, (401,))
    yield Bad("a right that one has not", request("GET /metrics HTTP/1.1", f"X-API-Key: {key}"), (403,))
    yield Bad("loading a model", post("/v2/repository/models/fraud-a/load", b"", key), (403, 404))


def _browsers(key: str) -> Iterator[Bad]:
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "TEXT/PLAIN",
    ):
        sent = post(PREDICT, BODY, key, "Origin: https://evil.example", f"Content-Type: {content_type}")
        yield Bad(f"{content_type} from a page", sent, (403, 415))
    yield Bad("no type from a page", post(PREDICT, BODY, key, "Origin: null"), (403, 415))
    yield Bad(
        "a form to unload from a page",
        post("/v2/repository/models/fraud-a/unload", b"", key, "Origin: http://x"),
        (403, 415),
    )


def _encodings(key: str) -> Iterator[Bad]:
    packed, deflated = gzip.compress(BODY), zlib.compress(BODY)
    for coding in ("br", "zstd", "compress", "gzip, gzip", "gzip, identity", "deflate, gzip", "x", "*", "gzip;q=1"):
        yield Bad(f"Content-Encoding: {coding}", post(PREDICT, packed, key, f"Content-Encoding: {coding}"), (400, 415))
    for name, coding, body in (
        ("gzip that is none", "gzip", BODY),
        ("deflate that is none", "deflate", BODY),
        ("gzip of nothing", "gzip", b""),
        ("gzip cut short", "gzip", packed[:-1]),
        ("gzip cut in its header", "gzip", packed[:5]),
        ("gzip with a wrong checksum", "gzip", packed[:-8] + bytes(8)),
        ("gzip with a wrong length", "gzip", packed[:-4] + bytes(4)),
        ("gzip with something behind it", "gzip", packed + b"x"),
        ("gzip twice in gzip", "gzip", gzip.compress(packed)),
        ("deflate cut short", "deflate", deflated[:-1]),
        ("deflate with a wrong checksum", "deflate", deflated[:-4] + bytes(4)),
        ("deflate with something behind it", "deflate", deflated + b"x"),
        ("zip", "gzip", b"PK\x03\x04" + bytes(30)),
    ):
        yield Bad(name, post(PREDICT, body, key, f"Content-Encoding: {coding}"), (400,))
        yield Bad(f"{name}, to infer", post(INFER, body, key, f"Content-Encoding: {coding}"), (400,))
    bomb = gzip.compress(bytes(80_000_000))
    yield Bad("a bomb of gzip", post(PREDICT, bomb, key, "Content-Encoding: gzip"), (413,))
    yield Bad("a bomb of gzip, to infer", post(INFER, bomb, key, "Content-Encoding: gzip"), (413,))
    members = gzip.compress(bytes(10_000_000)) * 8
    yield Bad("a bomb of many members", post(PREDICT, members, key, "Content-Encoding: gzip"), (413,))


def _json(key: str) -> Iterator[Bad]:
    for name, text in {
        "nothing": "",
        "white space": " \r\n\t",
        "no document": "instances=1",
        "half a document": '{"instances": [2.0]',
        "two documents": '{"instances": [2.0]}{"instances": [2.0]}',
        "something behind it": '{"instances": [2.0]} x',
        "a comma too many": '{"instances": [2.0,]}',
        "a comma too many in the object": '{"instances": [2.0],}',
        "single quotes": "{'instances': [2.0]}",
        "a comment": '{"instances": [2.0] /* x */}',
        "a key without quotes": "{instances: [2.0]}",
        "a number with a leading zero": '{"instances": [02.0]}',
        "a number without its fraction": '{"instances": [2.]}',
        "a number with a plus": '{"instances": [+2.0]}',
        "a hexadecimal number": '{"instances": [0x2]}',
        "a number beyond all bounds": '{"instances": [1e999]}',
        "a control character in a string": '{"instances": ["\x01"]}',
        "an unknown escape": '{"instances": ["\\x41"]}',
        "half a surrogate pair": '{"instances": [2.0], "signature_name": "\\ud800"}',
        "an unclosed string": '{"instances": ["x]}',
        "a list": "[2.0]",
        "a number": "2.0",
        "a string": '"instances"',
        "null": "null",
        "100 levels in a list": '{"instances": ' + "[" * 100 + "2.0" + "]" * 100 + "}",
        "101 levels where nobody looks": '{"instances": [2.0], "x": ' + "[" * 100 + "]" * 100 + "}",
        "1,000 levels": '{"instances": ' + "[" * 1000 + "]" * 1000 + "}",
        "100,000 levels": '{"instances": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "100,000 levels without an end": "[" * 100_000,
        "100,000 objects in each other": '{"a":' * 100_000 + "1" + "}" * 100_000,
        "65 dimensions": '{"instances": ' + "[" * 65 + "2.0" + "]" * 65 + "}",
    }.items():
        yield Bad(f"JSON: {name}", post(PREDICT, text.encode(), key), (400,))
        yield Bad(f"JSON to infer: {name}", post(INFER, text.encode(), key), (400,))
    for name, body in {
        "bytes that are not UTF-8": b'{"instances": [2.0], "x": "\xff"}',
        "an overlong NUL": b'{"instances": [2.0], "x": "\xc0\x80"}',
        "a surrogate in UTF-8": b'{"instances": [2.0], "x": "\xed\xa0\x80"}',
        "UTF-16": BODY.decode().encode("utf-16"),
        "NUL behind the document": BODY + b"\0",
        "NUL before the document": b"\0" + BODY,
    }.items():
        yield Bad(f"JSON: {name}", post(PREDICT, body, key), (400,))


def _limits(key: str) -> Iterator[Bad]:
    yield Bad("a path too long", request(f"GET /{'a' * 4094} HTTP/1.1"), (414,), False)
    yield Bad("a query too long", request(f"GET /healthz?{'a' * 5000} HTTP/1.1"), (414,), False)
    yield Bad("a path without end", b"GET /" + b"a" * 200_000, (414, 431), False)
    yield Bad("too many headers", request("GET /healthz HTTP/1.1", *["X: y"] * 100), (431,), False)
    yield Bad("a header too long", request("GET /healthz HTTP/1.1", "X: " + "y" * 8190), (431,), False)
    yield Bad("a name too long", request("GET /healthz HTTP/1.1", "x" * 8191 + ": y"), (431,), False)
    yield Bad("headers too long together", request("GET /healthz HTTP/1.1", *["X: " + "y" * 8000] * 10), (431,), False)
    yield Bad("a header without end", b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 200_000, (431,), False)
    yield Bad("a body too large", post(PREDICT, b" " * (16 * 1024 * 1024 + 1), key), (413,), False)
    for value in ("0", "-1", "soon", "1.5", "1e9", "9" * 20, ""):
        yield Bad(
            f"X-Request-Timeout-Ms: {value!r}", post(PREDICT, BODY, key, f"X-Request-Timeout-Ms: {value}"), (400,)
        )


def _tensors(key: str) -> Iterator[Bad]:
    for name, text in {
        "no instances": "{}",
        "instances and inputs": '{"instances": [2.0], "inputs": [2.0]}',
        "no rows": '{"instances": []}',
        "instances that are null": '{"instances": null}',
        "instances that are an object": '{"instances": {"x": 2.0}}',
        "instances that are a number": '{"instances": 2.0}',
        "a string for a number": '{"instances": ["2.0"]}',
        "null for a number": '{"instances": [null]}',
        "true for a number": '{"instances": [true]}',
        "base64 for a number": '{"instances": [{"b64": "AAAA"}]}',
        "a ragged list": '{"instances": [[1.0], [1.0, 2.0]]}',
        "a list beside a number": '{"instances": [1.0, [2.0]]}',
        "a name that is no input": '{"instances": [{"z": 2.0}]}',
        "a name too many": '{"instances": [{"x": 2.0, "z": 2.0}]}',
        "an object without names": '{"instances": [{}]}',
        "an object beside a number": '{"instances": [{"x": 2.0}, 2.0]}',
        "an unknown signature": '{"signature_name": "nobody", "instances": [2.0]}',
        "a signature that is a number": '{"signature_name": 5, "instances": [2.0]}',
        "a signature that is null": '{"signature_name": null, "instances": [2.0]}',
        "inputs of another name": '{"inputs": {"z": [2.0]}}',
        "inputs without names": '{"inputs": {}}',
        "a long name": json.dumps({"instances": [{"z" * 100_000: 1.0}]}),
        "a name that would forge a log line": '{"instances": [{"\\r\\n2026 INFO all is well": 1.0}]}',
    }.items():
        yield Bad(f"tensors: {name}", post(PREDICT, text.encode(), key), (400,))
    for verb in ("classify", "regress"):
        for text in (
            "{}",
            '{"examples": []}',
            '{"examples": [1]}',
            '{"examples": {}}',
            '{"examples": [{"x": null}]}',
            '{"examples": [{"x": 1.0}]}',
        ):
            yield Bad(f"{verb}: {text}", post(f"/v1/models/fraud-a:{verb}", text.encode(), key), (400,))


def _images(key: str) -> Iterator[Bad]:
    """Shapes for a convolution of [-1, 64, 64, 3], of which some end the process when they are computed."""
    for shape in (
        (),
        (0,),
        (1,),
        (3,),
        (1, 3),
        (64, 64),
        (64, 64, 3),
        (1, 1, 1),
        (1, 0, 0),
        (1, 1, 1, 1),
        (1, 1, 1, 3),
        (1, 0, 64, 3),
        (1, 3, 64, 64),
        (1, 64, 64, 1),
        (1, 64, 64, 4),
        (1, 64, 64, 3, 1),
        (1, 4, 4, 4, 3),
        (1, 1, 1, 1, 1, 1),
    ):
        for form in ("inputs", "instances"):
            body = json.dumps({form: _zeros(shape)}).encode()
            yield Bad(f"{form}: an image {shape}", post("/v1/models/fraud-image:predict", body, key), (400,))
        flat = [0.0] * math.prod(shape)
        document = {"inputs": [{"name": "image", "shape": shape, "datatype": "FP32", "data": flat}]}
        yield Bad(
            f"infer: an image {shape}", post("/v2/models/fraud-image/infer", json.dumps(document).encode(), key), (400,)
        )


def _zeros(shape: tuple[int, ...]) -> Any:
    return [_zeros(shape[1:]) for _ in range(shape[0])] if shape else 0.0


def _infer(key: str) -> Iterator[Bad]:
    def one(**changes: object) -> bytes:
        tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]} | changes
        return json.dumps({"inputs": [{name: value for name, value in tensor.items() if value is not ...}]}).encode()

    for name, body in {
        "no inputs": b"{}",
        "inputs that are none": b'{"inputs": []}',
        "inputs that are null": b'{"inputs": null}',
        "inputs that are an object": b'{"inputs": {"x": [2.0]}}',
        "an input that is a number": b'{"inputs": [1]}',
        "no name": one(name=...),
        "no shape": one(shape=...),
        "no datatype": one(datatype=...),
        "no data": one(data=...),
        "another name": one(name="z"),
        "a name that is a number": one(name=5),
        "another datatype": one(datatype="INT32"),
        "an unknown datatype": one(datatype="FP8"),
        "a datatype in small letters": one(datatype="fp32"),
        "a shape of another size": one(shape=[2]),
        "a negative size": one(shape=[-1]),
        "a shape that is a number": one(shape=1),
        "a shape of fractions": one(shape=[1.5]),
        "a shape of strings": one(shape=["1"]),
        "a shape that overflows": one(shape=[2**32, 2**32]),
        "a size beyond 64 bits": one(shape=[2**70]),
        "65 dimensions": one(shape=[1] * 65),
        "another rank": one(shape=[1, 1]),
        "data that are a string": one(data="2.0"),
        "data that are null": one(data=None),
        "null for a number": one(data=[None]),
        "a string for a number": one(data=["2.0"]),
        "too many numbers": one(data=[1.0] * 5),
        "shared memory": one(data=..., parameters={"shared_memory_region": "x", "shared_memory_byte_size": 4}),
        "a size of binary data without any": one(data=..., parameters={"binary_data_size": 4}),
        "an unknown output": one()[:-1] + b', "outputs": [{"name": "z"}]}',
        "outputs that are a number": one()[:-1] + b', "outputs": 5}',
        "an id that is a number": one()[:-1] + b', "id": 5}',
        "a timeout that is none": one()[:-1] + b', "parameters": {"timeout": "soon"}}',
        "an input twice": b'{"inputs": [' + one()[12:-2] + b", " + one()[12:-2] + b"]}",
    }.items():
        yield Bad(f"infer: {name}", post(INFER, body, key), (400,))


def _binary(key: str) -> Iterator[Bad]:
    head = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}'
    header = "Inference-Header-Content-Length"
    for value in ("-1", "x", "", "1.0", str(len(head) + 5), "9" * 18, "9" * 30, "+1", "0x10"):
        yield Bad(f"binary: a length of {value!r}", post(INFER, head + bytes(4), key, f"{header}: {value}"), (400,))
    for name, body in {
        "too few bytes": head + bytes(3),
        "too many bytes": head + bytes(5),
        "no bytes": head,
        "a size that is not the shape's": head.replace(b"[1]", b"[2]") + bytes(4),
        "a negative size": head.replace(b": 4", b": -4") + bytes(4),
        "a size beyond all bounds": head.replace(b": 4", b": 99999999999999999999") + bytes(4),
        "a size of letters": head.replace(b": 4", b': "4"') + bytes(4),
    }.items():
        length = body.index(b"}]}") + 3
        yield Bad(f"binary: {name}", post(INFER, body, key, f"{header}: {length}"), (400,))
    yield Bad("binary: two lengths", post(INFER, head + bytes(4), key, f"{header}: 5", f"{header}: 6"), (400,), None)
    yield Bad("binary: bytes that are no tensor", post(INFER, bytes(3), key, f"{header}: 0"), (400,))

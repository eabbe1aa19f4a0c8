"""The document as a whole."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_cls

from serving import __version__
from serving.rest.loaded import LoadedVersion
from serving.rest.openapi import operations, site, v1, v2
from serving.settings import Settings

Describe = Callable[[APISpec, Sequence[LoadedVersion], Settings], None]

PROTOCOLS: Mapping[str, Describe] = {"v1": v1.describe, "v2": v2.describe, "site": site.describe}
"""What describes the routes of each blueprint, by the blueprint's name."""

_ABOUT = """\
Serves TensorFlow SavedModels. What is below is what is loaded now: each model has paths of its own, and each of its
signatures a request and an answer of its own, with an example that can be sent as it is.

Bodies are read as JSON whatever their Content-Type says, but for the other media types that an operation lists. Where
the server asks for a key, send it as `Authorization: Bearer KEY`.
"""


def build(versions: Sequence[LoadedVersion], protocols: Collection[str], settings: Settings) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these versions, in those of the protocols that are served."""
    spec = APISpec(
        "SavedModel server",
        __version__,
        "3.1.0",
        plugins=[MarshmallowPlugin(schema_name_resolver=_component_name)],
        info={"description": _ABOUT, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        security=[{}, {"key": []}],
    )
    spec.components.security_scheme("key", {"type": "http", "scheme": "bearer"})
    operations.add_errors(spec)
    for name, describe in PROTOCOLS.items():
        if name in protocols:
            describe(spec, versions, settings)
    return spec.to_dict()


def _component_name(schema: Any) -> str:
    cls = resolve_schema_cls(schema)
    assert isinstance(cls, type)
    return cls.__name__

"""What answers look like that are the same for every model, as marshmallow schemas."""

from marshmallow import Schema, fields, validate

from serving.models.lifecycle import State


class Error(Schema):
    """Every error."""

    error = fields.String(required=True, metadata={"description": "What is wrong, and where.", "examples": ["..."]})


class LoadStatus(Schema):
    """Why a version failed to load, where it did."""

    error_code = fields.String(required=True, metadata={"description": "A TensorFlow status code, or OK."})
    error_message = fields.String(required=True)


class VersionStatus(Schema):
    """The state of one version, over all workers."""

    version = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf([str(state) for state in State]))
    status = fields.Nested(LoadStatus, required=True)


class ModelStatus(Schema):
    """The versions of a model, newest first."""

    model_version_status = fields.List(fields.Nested(VersionStatus), required=True)


class Batching(Schema):
    """How the requests to one signature are batched, or why they are not."""

    batched = fields.Boolean(required=True)
    reason = fields.String(metadata={"description": "Why they are not; absent where they are, as the rest is else."})
    max_rows = fields.Integer(metadata={"description": "The most rows that run together."})
    max_waiting_rows = fields.Integer(metadata={"description": "The most rows that wait; more are refused."})
    delay_ms = fields.Float(metadata={"description": "How long a request waits for others while the model is idle."})
    allowed_sizes = fields.List(
        fields.Integer(), metadata={"description": "The sizes that batches are padded to; none when any will do."}
    )
    pad_lengths = fields.Boolean(metadata={"description": "Whether inputs of different lengths run together."})
    splits = fields.Boolean(metadata={"description": "Whether larger requests run in slices."})


class ListedModel(ModelStatus):
    """A model in the list of all."""

    name = fields.String(required=True)
    version_labels = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    batching = fields.Dict(
        keys=fields.String(),
        values=fields.Dict(keys=fields.String(), values=fields.Nested(Batching)),
        required=True,
        metadata={"description": "By version, then by signature."},
    )
    image_input = fields.Dict(
        keys=fields.String(),
        values=fields.Dict(keys=fields.String()),
        required=True,
        metadata={"description": "By version: how pictures become the input of those versions that take any."},
    )


class ModelList(Schema):
    """Every model."""

    models = fields.List(fields.Nested(ListedModel), required=True)


class ModelSpec(Schema):
    """Which version the metadata is of."""

    name = fields.String(required=True)
    signature_name = fields.String(required=True)
    version = fields.String(required=True)


class Metadata(Schema):
    """The signatures of a version, as the JSON of TensorFlow's SignatureDef."""

    model_spec = fields.Nested(ModelSpec, required=True)
    metadata = fields.Dict(keys=fields.String(), required=True)


class Health(Schema):
    """The process answers."""

    status = fields.String(required=True, validate=validate.Equal("ok"))


class Readiness(Schema):
    """Whether every model is available; else why each that is not is not."""

    status = fields.String(required=True, validate=validate.OneOf(["ready", "not ready"]))
    models = fields.Dict(keys=fields.String(), values=fields.String())

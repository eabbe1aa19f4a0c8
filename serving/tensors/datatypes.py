"""The datatypes of the Open Inference Protocol, beside the dtypes that they are here."""

from serving.tensors.spec import DTYPES, DType

DATATYPES: dict[str, DType] = {
    datatype: DTYPES[proto]
    for datatype, proto in (
        ("BOOL", "DT_BOOL"),
        ("UINT8", "DT_UINT8"),
        ("UINT16", "DT_UINT16"),
        ("UINT32", "DT_UINT32"),
        ("UINT64", "DT_UINT64"),
        ("INT8", "DT_INT8"),
        ("INT16", "DT_INT16"),
        ("INT32", "DT_INT32"),
        ("INT64", "DT_INT64"),
        ("FP16", "DT_HALF"),
        ("FP32", "DT_FLOAT"),
        ("FP64", "DT_DOUBLE"),
        ("BF16", "DT_BFLOAT16"),
        ("BYTES", "DT_STRING"),
    )
}
"""Every datatype, by its name in the protocol."""

NAMES = {dtype.numpy: datatype for datatype, dtype in DATATYPES.items()}
"""The name of a datatype by what it is in memory."""

PROTO_NAMES = {dtype.proto: datatype for datatype, dtype in DATATYPES.items()}
"""The name of a datatype by that of its DataType enum value."""

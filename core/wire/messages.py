"""The protobuf messages of remote write and Loki push.

The messages are declared here as tables and built when the module is imported, in a pool of
their own. Generated modules would tie the package to one range of protobuf releases, and an
application that embeds the core may well have registered "prometheus.WriteRequest" itself,
which the shared pool refuses to hold twice.

Sources: prometheus/prompb/remote.proto and types.proto; grafana/loki pkg/push/push.proto
(field names and numbers). Loki's timestamp is google.protobuf.Timestamp, whose two fields
are declared here under our own name: on the wire it is the same.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto

_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "double": _FIELD.TYPE_DOUBLE,
    "int64": _FIELD.TYPE_INT64,
    "int32": _FIELD.TYPE_INT32,
    "uint64": _FIELD.TYPE_UINT64,
    "enum": _FIELD.TYPE_INT32,  # an open enum is an int32 on the wire
}

# package -> message -> fields as (number, name, type); "*" marks a repeated field.
_SCHEMA: dict[str, dict[str, tuple[tuple[int, str, str], ...]]] = {
    "prometheus": {
        "WriteRequest": ((1, "timeseries", "TimeSeries*"), (3, "metadata", "MetricMetadata*")),
        "TimeSeries": ((1, "labels", "Label*"), (2, "samples", "Sample*")),
        "Label": ((1, "name", "string"), (2, "value", "string")),
        "Sample": ((1, "value", "double"), (2, "timestamp", "int64")),
        "MetricMetadata": (
            (1, "type", "enum"),
            (2, "metric_family_name", "string"),
            (4, "help", "string"),
            (5, "unit", "string"),
        ),
    },
    "logproto": {
        "PushRequest": ((1, "streams", "Stream*"),),
        "Stream": ((1, "labels", "string"), (2, "entries", "Entry*"), (3, "hash", "uint64")),
        "Entry": (
            (1, "timestamp", "Timestamp"),
            (2, "line", "string"),
            (3, "structuredMetadata", "LabelPair*"),
        ),
        "LabelPair": ((1, "name", "string"), (2, "value", "string")),
        "Timestamp": ((1, "seconds", "int64"), (2, "nanos", "int32")),
    },
}


def _build(package: str) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"openqoe/{package}.proto", package=package, syntax="proto3"
    )
    for name, fields in _SCHEMA[package].items():
        message = file.message_type.add(name=name)
        for number, field_name, kind in fields:
            field = message.field.add(name=field_name, number=number)
            field.label = _FIELD.LABEL_REPEATED if kind[-1] == "*" else _FIELD.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _FIELD.TYPE_MESSAGE
                field.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in _SCHEMA[package]
    }


_prometheus = _build("prometheus")
_logproto = _build("logproto")

WriteRequest: Any = _prometheus["WriteRequest"]
PushRequest: Any = _logproto["PushRequest"]

"""What schemathesis has to be told of mailtown: its two media types, and the routes that wait."""

import json

import schemathesis
from hypothesis import strategies as st

FRAME = "application/vnd.mailtown.frame"
BATCH = "application/vnd.mailtown.batch"
# What stands at the head of a route's frames. A description can only say it in prose.
HEADS = {"/v1/messages": "Submission", "/v1/queue/claims/{lease}/settlements": "Settlement"}
MESSAGE = b"Subject: x\r\n\r\nHello\r\n"
# Larger messages are made smaller before they are sent.
LARGEST_OCTETS = 1024
# Of data/config.toml, so that some calls reach somebody.
ACCOUNTS = {"usr1@mail.sustech.edu.cn": "pass1", "usr2@mail.sustech.edu.cn": "pass2"}

somebody = st.sampled_from(sorted(ACCOUNTS)) | st.emails(domains=st.sampled_from(["gmail.com", "far.example"]))
schemathesis.openapi.format("email", somebody)
schemathesis.openapi.format("reverse-path", st.just("<>") | somebody.map("<{}>".format))
schemathesis.openapi.format("mail-domain", st.sampled_from(["gmail.com", "FAR.example", "[127.0.0.1]"]))
schemathesis.openapi.format("original-recipient", somebody.map("rfc822;{}".format))
schemathesis.openapi.format("password", st.sampled_from(sorted(ACCOUNTS.values())) | st.text())


def schema(name):
    return {"$ref": f"#/components/schemas/{name}"}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Has the heads of frames generated, well formed and otherwise; the serializers below make frames of them."""
    for path, operations in raw_schema["paths"].items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            if FRAME in content:
                content[FRAME]["schema"] = schema(HEADS[path])
            if BATCH in content:
                content[BATCH]["schema"] = {"type": "array", "minItems": 1, "items": schema("BatchItem")}


@schemathesis.deserializer("message/rfc822")
def message(context, response):
    return response.content.decode("latin-1")


@schemathesis.serializer(FRAME)
def frame(context, head):
    """Whatever the head: a settlement is without a message unless it has a failure message."""
    settles = isinstance(head, dict) and "outcomes" in head and not head.get("failure_message")
    return json.dumps(head).encode() + b"\n" + (b"" if settles else MESSAGE)


@schemathesis.serializer(BATCH)
def batch(context, items):
    if not isinstance(items, list):
        return json.dumps(items).encode() + b"\n"
    return b"".join(map(batch_item, items))


def batch_item(item):
    octets = item.get("octets") if isinstance(item, dict) else None
    # One beyond the schema's own limit stays: it is to be refused.
    if is_whole_number(octets) and 0 <= octets < 2**63:
        octets = min(int(octets), LARGEST_OCTETS)
        item = item | {"octets": octets}
    else:
        octets = 0
    return json.dumps(item).encode() + b"\n" + b"x" * octets


def is_whole_number(value):
    """Whether JSON Schema calls it an integer."""
    return type(value) is int or (type(value) is float and value.is_integer())


@schemathesis.hook
def before_call(context, case, kwargs):
    """Has nothing wait for a minute, and nothing go wrong here on purpose; it stays as valid as it was."""
    if case.operation.path == "/v1/faults" and isinstance(case.body, dict):
        faults = case.body.get("faults")
        for fault in faults.values() if isinstance(faults, dict) else ():
            if isinstance(fault, dict) and isinstance(fault.setdefault("where", {}), dict):
                fault["where"]["stack"] = "nowhere.test"
        return
    if case.operation.path == "/v1/holds/{holder}" and isinstance(case.body, dict):
        # Nobody else gets on while a store is held.
        seconds = case.body.get("lease_seconds")
        if is_whole_number(seconds) and 1 <= seconds <= 60:
            case.body["lease_seconds"] = 1
        return
    waits = {
        "/v1/queue/claims": (case.body, "wait_seconds"),
        "/v1/events": (case.query, "wait"),
        "/v1/trace": (case.query, "wait"),
    }
    parameters, name = waits.get(case.operation.path, (None, None))
    if not isinstance(parameters, dict):
        return
    seconds = parameters.get(name)
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():
        seconds = int(seconds)
    if is_whole_number(seconds) and 0 < seconds <= 60:
        parameters[name] = 0

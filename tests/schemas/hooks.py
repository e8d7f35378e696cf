"""Rules of the gateway that no schema can say, for schemathesis."""

import json
import os
import unicodedata
from datetime import datetime, timezone
from urllib.parse import parse_qsl, unquote, urlsplit

import schemathesis
from schemathesis.specs.openapi import checks as openapi

accepts = openapi.positive_data_acceptance
rejects = openapi.negative_data_rejection

IGNORABLE = [(0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)]
IGNORABLE += [(0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800), (0x3164, 0x3164)]
IGNORABLE += [(0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3)]
IGNORABLE += [(0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)]


@schemathesis.hook
def before_load_schema(context, raw):
    """With keys, no operation with a verb is open to strangers, but for the page, and no `GET` signs anybody in or out."""
    if not os.environ.get("SCHEMAS_KEYED"):
        return
    for path in ("/api/login/{user}", "/api/logout/{user}"):
        for method in ("get", "head"):
            del raw["paths"][path][method]
    for path, item in raw["paths"].items():
        for operation in item.values():
            if isinstance(operation, dict) and "x-needs" in operation and path != "/users":
                operation["security"] = [one for one in operation["security"] if one]


def size(text):
    return len(text.encode("utf-8", "surrogatepass"))


def is_invisible(char):
    ignorable = any(first <= ord(char) <= last for first, last in IGNORABLE)
    return char.isspace() or ignorable or unicodedata.category(char).startswith("M")


def is_name(text, most=128):
    has_control = any(unicodedata.category(char) == "Cc" for char in text)
    return size(text) <= most and not has_control and not all(map(is_invisible, text))


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def fits(value):
    return size(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) <= 1024 and depth(value) <= 32


def faults_of_statement(fields):
    """The codes for what is said of a member."""
    codes = {f"bad_{name}" for name in ("meta", "info") if not fits(fields.get(name) or {})}
    names = [fields[name] for name in ("user", "sub") if fields.get(name)]
    hold = fields.get("hold")
    if not all(map(is_name, names)) or hold and not is_name(hold, 64):
        codes.add("bad_name")
    # JSON Schema takes 5.0 for an integer, and the gateway takes a number as it is written.
    codes |= {f"bad_{name}" for name in ("ttl", "rank") if isinstance(fields.get(name), float)}
    return codes


def faults_of_body(body):
    codes = faults_of_statement(body)
    for added in body.get("add", []):
        codes |= faults_of_statement(added)
    names = [*body.get("del", []), *body.get("rooms", [])]
    names += [body["room"]] if isinstance(body.get("room"), str) else []
    if not all(map(is_name, names)):
        codes.add("bad_name")
    users = [added["user"] for added in body.get("add", [])] + body.get("del", [])
    if len(users) != len(set(users)):
        codes.add("bad_json")  # a user stands in the batch twice
    if body.get("before"):
        try:
            past = datetime.strptime(body["before"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
            is_past = datetime(1970, 1, 1, tzinfo=timezone.utc) <= past <= datetime.now(timezone.utc)
        except ValueError:
            is_past = False
        if not is_past:
            codes.add("bad_json")
    if size(body.get("jti") or "") > 128:
        codes.add("bad_json")
    return codes


def faults_of_query(case, query, headers):
    codes = set()
    clients = {str(value).lower() for value in (query.get("client"), headers.get("presently-client")) if value}
    if len(clients) > 1:
        codes.add("bad_parameter")  # two clients
    if case.method == "DELETE":
        if sum(map(bool, (clients, query.get("hold"), query.get("reason")))) > 1:
            codes.add("bad_parameter")  # one hold or all, and one reason
        if any(query.get(name) == "" for name in ("client", "hold")):
            codes.add("bad_parameter")
    if query.get("meta") and not query.get("as"):
        codes.add("bad_parameter")
    if query.get("rank") is not None and not query.get("meta"):
        codes.add("bad_rank")
    if query.get("meta") and not fits(json.loads(query["meta"]) if isinstance(query["meta"], str) else query["meta"]):
        codes.add("bad_meta")
    if query.get("order") == "count" and query.get("after"):
        codes.add("bad_parameter")  # the `next` of another order
    after = str(query.get("after") or "")
    names = [query[name] for name in ("as", "user", "room") if query.get(name)]
    names += [after[4:]] if case.path == "/api/revocations" and after.startswith("sub:") else []
    if not all(map(is_name, names)) or not all(is_name(name, 64) for name in [query.get("hold")] if name):
        codes.add("bad_name")
    if query.get("ticket"):
        codes.add("bad_request")  # a ticket beside Authorization
    if size(query.get("prefix") or "") > 128:
        codes.add("bad_name")
    return codes


def unsayable(case):
    """The codes of refusals that a request earns by rules beyond its schemas."""
    query = dict(case.query or {})
    headers = {name.lower(): value for name, value in (case.headers or {}).items()}
    codes = faults_of_query(case, query, headers)
    # Some parameters stand here as in the path.
    names = [str(name) for name in (case.path_parameters or {}).values()]
    if not all(is_name(name) and is_name(unquote(name)) for name in names):
        codes.add("bad_name")
    if isinstance(case.body, dict):
        codes |= faults_of_body(case.body)
    return codes


def code(response):
    try:
        return response.json().get("code")
    except ValueError:
        return None


@schemathesis.check
def valid_is_accepted(ctx, response, case):
    """`positive_data_acceptance`, except for what a schema cannot say."""
    if case.meta is not None and case.meta.generation.mode.is_positive and response.status_code == 400:
        faults = unsayable(case)
        if faults and (case.method == "HEAD" or code(response) in faults):
            return None
    return accepts(ctx, response, case)


@schemathesis.check
def invalid_is_rejected(ctx, response, case):
    """`negative_data_rejection`, except that a parameter without a value counts as absent, and that the page has no `limit`.
    Too many items in a list are refused, too, by 413."""
    query = case.query or {}
    if response.status_code == 413:
        return None
    # As it was sent: a null or an empty list becomes an empty text.
    sent = parse_qsl(urlsplit(response.request.url).query, keep_blank_values=True)
    if any(value == "" for _, value in sent) or case.path == "/users" and "limit" in query:
        return None
    return rejects(ctx, response, case)

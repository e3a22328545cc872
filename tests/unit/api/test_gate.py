"""The gate before every route: hosts, pages, keys, roles, bodies, the trail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune30.api.access_gate import PUBLIC_PATHS, needed_role
from finetune30.api.server import open_listener, require_keys_beyond_loopback
from finetune30.cli.main import app as cli
from finetune30.errors import ConfigError, ServiceUnavailableError, StorageError
from finetune30.settings import Settings
from finetune30.store.access import Role, create_key, revoke_key

KEY = "a-key-of-the-environment"
EVIL = {"Origin": "http://evil.example"}


def routes_of(api):
    """Every route and mount with each of its methods, and words in the place of parameters."""
    found = [("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/nowhere"), ("PUT", "/nowhere")]
    for path, methods in api.get("/openapi.json", headers={"X-API-Key": KEY}).json()["paths"].items():
        found += [(method.upper(), path.replace("{", "").replace("}", "")) for method in methods]
    return found


def test_every_route_is_closed_without_a_key(start):
    api = start(api_keys=KEY)
    for method, path in routes_of(api):
        expected = 200 if path in PUBLIC_PATHS and method == "GET" else 401
        assert api.request(method, path).status_code == expected, (method, path)
        if expected == 401:
            for headers in (
                {"X-API-Key": "wrong"},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {KEY}"},
            ):
                assert api.request(method, path, headers=headers).status_code == 401, (method, path, headers)
    refused = api.get("/experiments")
    assert refused.json()["error"] == "authentication_required"
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}])
def test_key_opens(start, headers):
    assert start(api_keys=KEY).get("/experiments", headers=headers).status_code == 200


def test_every_route_asks_for_its_role(start):
    api = start(api_keys=KEY)
    store = api.app.state.services.store
    secrets = {role: create_key(store, f"of {role}", role)[1] for role in Role}
    api.app.state.keys._loaded_at = -1e9
    for method, path in routes_of(api):
        for role, secret in secrets.items():
            answer = api.request(method, path, headers={"X-API-Key": secret})
            needed = needed_role(method, path)
            allowed = needed is None or role.includes(needed) or path in PUBLIC_PATHS
            assert (answer.status_code != 403) is allowed, (method, path, role, answer.text)


def test_least_roles():
    assert needed_role("GET", "/experiments") is Role.VIEWER
    assert needed_role("POST", "/train") is Role.SUBMITTER
    assert needed_role("GET", "/audit") is Role.ADMIN
    assert needed_role("GET", "/v1/models") is needed_role("GET", "/v1/models/shop@production") is Role.CALLER
    assert needed_role("GET", "/me") is None
    assert needed_role("POST", "/me") is Role.SUBMITTER
    assert needed_role("PATCH", "/anything/new") is Role.ADMIN
    assert needed_role("DELETE", "/anything/new") is Role.ADMIN


def test_what_only_looks_at_a_request_to_train_is_open_to_viewers_and_leaves_no_trail(start):
    api = start(api_keys=KEY)
    viewer = {"X-API-Key": create_key(api.app.state.services.store, "eve", Role.VIEWER)[1]}
    api.app.state.keys._loaded_at = -1e9
    described = api.get("/openapi.json", headers=viewer).json()["paths"]
    asking = [
        path
        for path, methods in described.items()
        if "Request" in json.dumps(methods.get("post", {}).get("requestBody", {}))
        and "200" in methods["post"]["responses"]  # what makes something answers 201 or 202
        and (path.startswith("/config") or path.startswith("/datasets"))
    ]
    reading = {"/datasets/preview", "/datasets/proposal", "/datasets/tokens"}
    assert {"/config/validate", "/config/estimate"} | reading <= set(asking)
    for path in asking:
        answer = api.post(path, json={"config": {"lora": {"rank": 4}}}, headers=viewer)
        assert answer.status_code == 422, (path, answer.text)
    assert api.get("/audit", headers={"X-API-Key": KEY}).json()["entries"] == []


def test_submitters_change_their_own_runs_only(start):
    api = start(api_keys=KEY)
    store = api.app.state.services.store
    anna, ben = ({"X-API-Key": create_key(store, name, Role.SUBMITTER)[1]} for name in ("anna", "ben"))
    api.app.state.keys._loaded_at = -1e9
    run_id = api.post("/train", json={}, headers=anna).json()["task_id"]
    assert api.get(f"/task/{run_id}", headers=ben).json()["submitted_by"] == "anna"
    for method, path in (
        ("POST", f"/task/{run_id}/cancel"),
        ("POST", f"/task/{run_id}/retry"),
        ("DELETE", f"/experiments/{run_id}"),
    ):
        assert api.request(method, path, headers=ben).status_code == 403
    assert api.post(f"/task/{run_id}/cancel", headers=anna).status_code == 200
    assert api.delete(f"/experiments/{run_id}", headers={"X-API-Key": KEY}).status_code == 204
    trail = api.get("/audit", headers={"X-API-Key": KEY}).json()["entries"]
    assert [(entry["actor"], entry["action"], entry["outcome"]) for entry in trail] == [
        ("FT30_API_KEYS[0]", "DELETE /experiments/{experiment_id}", 204),
        ("anna", "POST /task/{task_id}/cancel", 200),
        ("ben", "DELETE /experiments/{experiment_id}", 403),
        ("ben", "POST /task/{task_id}/retry", 403),
        ("ben", "POST /task/{task_id}/cancel", 403),
        ("anna", "POST /train", 202),
    ]
    assert {entry["target"] for entry in trail if entry["outcome"] < 400} == {run_id}


def test_revoked_key_is_refused_and_the_api_stays_closed(start):
    api = start()
    store = api.app.state.services.store
    made, secret = create_key(store, "anna", Role.ADMIN)
    api.app.state.keys._loaded_at = -1e9
    assert api.get("/experiments", headers={"X-API-Key": secret}).status_code == 200
    revoke_key(store, made.id)
    api.app.state.keys._loaded_at = -1e9
    assert api.get("/experiments", headers={"X-API-Key": secret}).status_code == 401
    assert api.get("/experiments").status_code == 401


def test_without_keys_only_this_machine_is_answered(start):
    assert start(client=("127.0.0.1", 1)).get("/experiments").status_code == 200
    assert start(client=("::1", 1)).get("/experiments").status_code == 200
    assert start(client=("192.0.2.7", 1)).get("/experiments").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8000"},
        {"Host": "localhost.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8501"},
        {"Origin": "https://localhost:8000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_every_route_refuses_foreign_hosts_and_pages(start, headers):
    api = start(api_keys=KEY)
    for method, path in routes_of(api):
        answer = api.request(method, path, headers={**headers, "X-API-Key": KEY})
        assert (answer.status_code, answer.json()["error"]) == (403, "host_refused"), (method, path)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8000"},
        {"Host": "LOCALHOST"},
        {"Host": "[::1]:8000"},
        {"Origin": "http://localhost:8000"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_own_hosts_and_pages_are_answered(api, headers):
    assert api.get("/experiments", headers=headers).status_code == 200


def test_configured_host_and_origin_are_answered(start):
    api = start(allowed_hosts="train.example", allowed_origins="https://page.example")
    assert api.get("/version", headers={"Host": "train.example"}).status_code == 200
    answer = api.get("/version", headers={"Origin": "https://page.example"})
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert "access-control-allow-origin" not in start().get("/version").headers


@pytest.mark.parametrize("written", ["[2001:db8::1]:8000", "[2001:db8::1]", "2001:db8::1", "Train.Example:8000"])
def test_a_configured_host_may_have_a_port_and_be_an_address_of_ipv6(start, written):
    api = start(allowed_hosts=written)
    host = "train.example" if "Train" in written else "[2001:db8::1]"
    for named in (host, f"{host}:8000"):
        assert api.get("/version", headers={"Host": named}).status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/xml"],
)
def test_every_route_takes_json_bodies_only(api, kind):
    for method, path in routes_of(api):
        if method in ("GET", "HEAD") or path == "/datasets/files":
            continue
        headers = {"Content-Type": kind} if kind else {}
        answer = api.request(method, path, content=b'{"epochs": 1}', headers=headers)
        assert answer.status_code == 415, (method, path, answer.text)


def test_bodies_beyond_the_limit_are_refused(start):
    api = start(max_body_bytes=1024)
    headers = {"Content-Type": "application/json"}
    assert api.post("/train", content=b" " * 2000, headers=headers).status_code == 413
    assert api.post("/train", content=iter([b" " * 600, b" " * 600]), headers=headers).status_code == 413
    lying = {**headers, "Content-Length": "99999999999999999999999"}
    assert api.post("/train", content=b"{}", headers=lying).status_code == 413


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b"1" * 5000, b'"text"', b"[]", b'{"epochs": NaN}'])
def test_broken_json_is_refused_in_the_one_shape(api, body):
    answer = api.post("/train", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert {"error", "message", "remedy"} <= answer.json().keys()


def test_answers_carry_security_headers(api):
    for path in ("/experiments", "/nowhere"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_unexpected_faults_have_the_one_shape_and_tell_no_secrets(api, monkeypatch):
    def fail():
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(api.app.state.services.store, "stats", fail)
    answer = api.get("/experiments/stats")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert "hunter2" not in answer.text


def test_database_out_of_reach_closes_the_api_but_not_its_health(start, monkeypatch):
    def fail():
        raise StorageError("database is out of reach")

    api = start(api_keys=KEY)
    monkeypatch.setattr(api.app.state.keys, "_load", fail)
    monkeypatch.setattr(api.app.state.services.store, "require_writable", fail)
    api.app.state.keys._loaded_at = -1e9
    assert api.get("/healthz").json() == {"status": "ok"}
    assert (api.get("/readyz").status_code, api.get("/readyz").json()["error"]) == (507, "storage_error")
    assert api.get("/experiments", headers={"X-API-Key": KEY}).status_code == 507


def test_binding_beyond_this_machine_needs_keys(start):
    store = start().app.state.services.store
    with pytest.raises(ConfigError, match="there are no keys"):
        require_keys_beyond_loopback(Settings(api_host="0.0.0.0"), store)  # noqa: S104
    require_keys_beyond_loopback(Settings(api_host="0.0.0.0", api_keys=KEY), store)  # noqa: S104
    require_keys_beyond_loopback(Settings(api_host="127.0.0.1"), store)
    create_key(store, "anna", Role.VIEWER)  # in the database that is served, whichever the settings name
    require_keys_beyond_loopback(Settings(api_host="0.0.0.0"), store)  # noqa: S104


def test_taken_port_is_a_clear_error():
    with (
        open_listener(Settings(api_port=18_472)),
        pytest.raises(ServiceUnavailableError, match=r"cannot listen on 127\.0\.0\.1:18472"),
    ):
        open_listener(Settings(api_port=18_472))


def test_keys_of_the_command_line_are_shown_once_and_kept_as_hashes():
    run = CliRunner().invoke
    made = run(cli, ["keys", "create", "anna", "--role", "viewer"], catch_exceptions=False)
    secret = made.stdout.strip()
    assert secret.startswith("ft30_")
    assert len(secret) > 40
    assert "anna" in run(cli, ["keys", "list"]).stdout
    assert secret not in run(cli, ["keys", "list", "--json"]).stdout
    assert secret.encode() not in b"".join(path.read_bytes() for path in Path("results").glob("experiments.db*"))
    assert "revoked" in run(cli, ["keys", "revoke", "anna"]).stdout
    trail = run(cli, ["audit"]).stdout
    assert "keys create anna" in trail
    assert "keys revoke anna" in trail


def test_changes_that_the_gate_refuses_are_in_the_trail_and_those_without_a_key_are_not(start):
    api = start(api_keys=KEY, max_body_bytes=1024)
    store = api.app.state.services.store
    viewer, submitter = (create_key(store, f"of {role}", role)[1] for role in (Role.VIEWER, Role.SUBMITTER))
    api.app.state.keys._loaded_at = -1e9
    assert api.post("/train", json={}, headers={"X-API-Key": viewer}).status_code == 403
    assert api.post("/train", content=b"x" * 2000, headers={"X-API-Key": submitter}).status_code == 415
    assert api.post("/train", json={"seed": "1" * 2000}, headers={"X-API-Key": submitter}).status_code == 413
    assert api.get("/audit", headers={"X-API-Key": viewer}).status_code == 403  # asks, changes nothing
    assert api.post("/train", json={}, headers={"X-API-Key": "wrong"}).status_code == 401
    entries = api.get("/audit", headers={"X-API-Key": KEY}).json()["entries"]
    assert [(entry["actor"], entry["action"], entry["outcome"]) for entry in reversed(entries)] == [
        ("of viewer", "POST /train", 403),
        ("of submitter", "POST /train", 415),
        ("of submitter", "POST /train", 413),
    ]

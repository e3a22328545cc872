"""Models over HTTP: registered, promoted with If-Match, found, asked by name; by whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from finetune30.store.access import Role, create_key, load_audit
from support.registered import finish_model_run, make_ready, register_ready

Start = Callable[..., TestClient]


def store_of(api: TestClient) -> Any:
    app: Any = api.app
    return app.state.services.store


def register(api: TestClient, name: str = "first", model: str = "reviews", **options: Any) -> dict[str, Any]:
    run = finish_model_run(store_of(api), Path("results"), name, **options)
    made = register_ready(store_of(api), Path("results"), run, model)
    found: dict[str, Any] = api.get(f"/models/{made.model}/versions/{made.number}").json()
    return found


def move(api: TestClient, version: int, seen: object, alias: str = "production", **options: Any) -> Any:
    headers = {} if seen is None else {"If-Match": str(seen)}
    body = {"version": version, "reason": "better"}
    return api.put(f"/models/reviews/aliases/{alias}", json=body, headers={**headers, **options})


def test_a_run_becomes_a_version_once(api: TestClient) -> None:
    run = finish_model_run(store_of(api), Path("results"), "first")
    answer = api.post("/models", json={"name": "reviews", "run": run.id})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["state"], made["certificate"]) == ("reviews:1", "CHECKING", None)
    again = api.post("/models/reviews/versions", json={"run": made["run_id"]})
    assert (again.status_code, again.json()) == (200, made)
    assert api.post("/models/others/versions", json={"run": made["run_id"]}).status_code == 404
    assert api.post("/models", json={"name": "../x", "run": made["run_id"]}).status_code == 400
    assert api.post("/models", json={"name": "reviews", "run": "nothing"}).status_code == 404
    assert api.get("/models/reviews/versions/1").json() == made
    assert api.get("/models/reviews/versions/2").status_code == 404
    (listed,) = api.get("/models", params={"base": "starter", "text": "first"}).json()["models"]
    assert [version["name"] for version in listed["versions"]] == ["reviews:1"]
    assert api.get("/models", params={"problem": "regression"}).json() == {"models": []}


def test_a_move_says_which_generation_it_saw(api: TestClient) -> None:
    register(api, "first", wrong=(0, 1, 2, 3, 4, 5, 6, 7))
    register(api, "second")
    missing = move(api, 1, None)
    assert (missing.status_code, missing.json()["error"]) == (428, "generation_missing")
    assert move(api, 1, "soon").status_code == 400
    moved = move(api, 1, 0)
    assert (moved.status_code, moved.headers["ETag"]) == (200, '"1"')
    stale = move(api, 2, 0)
    assert (stale.status_code, stale.json()["error"]) == (412, "stale_generation")
    assert stale.json()["details"]["alias"]["moved_by"] == "local"
    preview = api.get("/models/reviews/aliases/production/preview", params={"version": 2}).json()
    assert preview["alias"]["number"] == 1
    promoted = move(api, 2, api.get("/models/reviews/aliases/production").headers["ETag"]).json()
    assert promoted["paired"] == preview["paired"]
    assert promoted["paired"]["distinguishable"] is True
    assert api.get("/experiments/reviews@production").json()["name"] == "second"
    back = api.post("/models/reviews/aliases/production/rollback", json={"reason": "no"}, headers={"If-Match": "2"})
    assert (back.json()["alias"]["number"], back.headers["ETag"]) == (1, '"3"')
    events = api.get("/models/reviews/events").json()["events"]
    assert [event["kind"] for event in events][-3:] == ["promoted", "promoted", "rolled_back"]
    assert api.get("/models/reviews/events", params={"after": events[-2]["number"]}).json()["events"] == events[-1:]
    assert move(api, 1, 0, "v1").status_code == 400
    assert move(api, 9, 0, "staging").status_code == 404


def test_what_is_used_cannot_be_retired_or_deleted(api: TestClient) -> None:
    made = register(api)
    move(api, 1, 0)
    refused = api.post("/models/reviews/versions/1/retire", json={"reason": "old"})
    assert refused.status_code == 409
    deleted = api.delete(f"/experiments/{made['run_id']}")
    assert (deleted.status_code, "reviews:1" in deleted.json()["message"]) == (409, True)
    bulk = api.post("/experiments/bulk", json={"action": "delete", "ids": [made["run_id"]]}).json()
    assert (bulk["refused"], "reviews:1" in bulk["runs"][0]["error"]["message"]) == (1, True)
    register(api, "second")
    assert api.post("/models/reviews/versions/2/retire", json={"reason": "old"}).json()["state"] == "RETIRED"
    assert move(api, 2, 1).status_code == 409


def test_cards_and_files_can_be_looked_at(api: TestClient) -> None:
    register(api)
    assert api.get("/models/reviews/versions/1/card").json()["markdown"].startswith("# reviews, version 1\n")
    assert api.get("/models/reviews/versions/1/verify").json()["files"] == 9
    (Path("results") / "registry/reviews/v1/metrics.json").write_bytes(b"{}")
    damaged = api.get("/models/reviews/versions/1/verify")
    assert (damaged.status_code, "metrics.json" in damaged.json()["message"]) == (507, True)


@pytest.mark.parametrize("name", ["..%2f..%2fetc", "%2e%2e", "a%00b"])
def test_names_in_addresses_lead_nowhere_else(api: TestClient, name: str) -> None:
    for path in (f"/models/{name}", f"/models/{name}/versions/1/card", f"/models/reviews/aliases/{name}"):
        assert api.get(path).status_code in (400, 404)


def test_who_may_do_what(start: Start) -> None:
    admin = {"X-API-Key": "secret-of-the-admin"}
    api = start(api_keys="secret-of-the-admin")
    store = store_of(api)
    run = finish_model_run(store, Path("results"))
    keys = {role: {"X-API-Key": create_key(store, f"of {role}", role)[1]} for role in Role}
    app: Any = api.app
    app.state.keys._loaded_at = -1e9
    body = {"name": "reviews", "run": run.id}
    assert api.post("/models", json=body, headers=keys[Role.VIEWER]).status_code == 403
    assert api.post("/models", json=body, headers=keys[Role.SUBMITTER]).status_code == 201
    make_ready(store, "reviews", 1)
    for role in (Role.CALLER, Role.VIEWER, Role.SUBMITTER):
        for alias in ("production", "staging"):
            assert move(api, 1, 0, alias, **keys[role]).status_code == 403, role
        assert (
            api.post("/models/reviews/versions/1/retire", json={"reason": "x"}, headers=keys[role]).status_code == 403
        )
    assert move(api, 1, 0, "candidate", **keys[Role.CALLER]).status_code == 403
    assert move(api, 1, 0, "candidate", **keys[Role.SUBMITTER]).status_code == 200
    assert move(api, 1, 0, "production", **keys[Role.PROMOTER]).status_code == 200
    asked = {"texts": ["a fine film"]}
    assert api.post("/experiments/nothing/predict", json=asked, headers=keys[Role.VIEWER]).status_code == 403
    assert api.post("/experiments/nothing/predict", json=asked, headers=keys[Role.CALLER]).status_code == 404
    for path in ("/experiments", "/models"):
        assert api.get(path, headers=keys[Role.CALLER]).status_code == 403
    for role in Role:
        told = api.get("/me", headers=keys[role]).json()
        asks = [] if role is Role.VIEWER else ["reviews", "reviews@candidate", "reviews@production"]
        assert (told["name"], told["role"], told["asks"]) == (f"of {role}", role, asks)
    entries = [entry for entry in load_audit(store) if entry.action == "PUT /models/{name}/aliases/{alias}"]
    assert [(e.actor, e.target, e.outcome) for e in entries][:2] == [
        ("of promoter", "reviews:1 to production", 200),
        ("of submitter", "reviews:1 to candidate", 200),
    ]
    assert any(entry.actor == "of caller" and entry.outcome == 403 for entry in load_audit(store))
    assert api.get("/models/reviews", headers=admin).json()["aliases"][0]["moved_by"] == "of submitter"


def test_keys_of_roles_that_came_later_are_less_for_releases_before(start: Start) -> None:
    from sqlalchemy import select

    from finetune30.store.access import load_keys
    from finetune30.store.database import reading
    from finetune30.store.tables import api_keys

    store = store_of(start())
    for role in Role:
        create_key(store, str(role), role)
    assert {key.role for key in load_keys(store)} == set(Role)
    with reading(store.engine) as connection:
        seen = {row.name: row.role for row in connection.execute(select(api_keys.c.name, api_keys.c.role))}
    assert seen == {
        "caller": "viewer",
        "viewer": "viewer",
        "submitter": "submitter",
        "promoter": "submitter",
        "admin": "admin",
    }


def test_every_route_about_a_run_takes_a_version_of_a_model(api: TestClient) -> None:
    register(api)
    move(api, 1, 0)
    bodies: dict[str, Any] = {
        "predict": {"texts": ["a film"]},
        "exports": {"as": "zip"},
        "chat": {"messages": [{"role": "user", "content": "a"}]},
    }
    #: What changes a run takes full ids only; a file of questions and the list of suspects name theirs as well.
    seen = 0
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        for method, route in methods.items():
            described = [p for p in route.get("parameters", []) if p["name"] == "experiment_id" and p["in"] == "path"]
            if not described or "NAME@alias" not in described[0].get("description", ""):
                continue
            place = path.replace("{experiment_id}", "reviews@production").replace("{name}", "metrics.json")
            answer = api.request(method, place, json=bodies.get(path.rsplit("/", 1)[-1]))
            missing = api.request(
                method, place.replace("@production", "@staging"), json=bodies.get(path.rsplit("/", 1)[-1])
            )
            assert missing.status_code == 404, (method, path, missing.text)
            assert "reviews@staging" in missing.json()["message"], (method, path)
            assert "there is no 'reviews" not in answer.text, (method, path, answer.text)
            seen += 1
    assert seen >= 15
    compared = api.get("/experiments/compare", params={"ids": "reviews@production,reviews@staging"})
    assert "reviews@staging" in compared.json()["message"]

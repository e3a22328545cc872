"""What the gate says to do is done to the letter, and whoever was refused is let in, and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from finetune30.api.server import open_listener, require_keys_beyond_loopback
from finetune30.errors import ConfigError, ServiceUnavailableError
from finetune30.jobs.redis_server import is_port_taken
from finetune30.settings import load_settings
from finetune30.store import open_store
from support.following import Terminal
from support.services import free_port

ELSEWHERE = ("192.0.2.7", 50_000)


@pytest.fixture
def serve(start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch) -> Callable[..., TestClient]:
    """Return a function that starts an API as the variables of the environment say."""

    def start_with(client: tuple[str, int] = ("127.0.0.1", 50_000), **variables: str) -> TestClient:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        given = load_settings().model_dump(include={name.removeprefix("FT30_").lower() for name in variables})
        return start(client, **given)

    return start_with


@pytest.fixture
def ft30(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def read_keys_again(api: TestClient) -> None:
    """Do what 2 seconds do."""
    app: Any = api.app
    app.state.keys._loaded_at = -1e9


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret.strip()}"}


def test_a_host_is_called_as_localhost_or_named(serve: Callable[..., TestClient]) -> None:
    refused = serve().get("/version", headers={"Host": "gpu-box:8000"}).json()
    assert refused["remedy"] == "call it as localhost, or name the host in FT30_ALLOWED_HOSTS"
    assert serve().get("/version", headers={"Host": "localhost:8000"}).status_code == 200
    for written in ("gpu-box", "gpu-box:8000"):  # as the message shows it, too
        api = serve(FT30_ALLOWED_HOSTS=written)
        assert api.get("/version", headers={"Host": "gpu-box:8000"}).status_code == 200
        assert api.get("/version", headers={"Host": "other-box:8000"}).status_code == 403


def test_pages_of_an_origin_that_is_named_may_call(serve: Callable[..., TestClient]) -> None:
    page = {"Origin": "https://page.example"}
    refused = serve().get("/version", headers=page).json()
    assert refused["remedy"] == "name the origin in FT30_ALLOWED_ORIGINS if they should"
    assert "'https://page.example'" in refused["message"]
    api = serve(FT30_ALLOWED_ORIGINS="https://page.example")
    assert api.get("/version", headers=page).headers["access-control-allow-origin"] == "https://page.example"
    assert api.get("/version", headers={"Origin": "https://page.example.org"}).status_code == 403


def test_a_key_of_the_role_that_is_named_is_let_in(serve: Callable[..., TestClient], ft30: Terminal) -> None:
    viewer = bearer(ft30("keys", "create", "anna", "--role", "viewer").out)
    api = serve()

    def train(key: dict[str, str]) -> Any:
        return api.post("/train", json={}, headers=key)

    def read_trail(key: dict[str, str]) -> Any:
        return api.get("/audit", headers=key)

    for ask, role, done in ((train, "submitter", 202), (read_trail, "admin", 200)):
        refused = ask(viewer)
        assert refused.json()["remedy"] == f"ask an admin for a key: ft30 keys create NAME --role {role}"
        made = ft30.type(f"ft30 keys create NAME --role {role}", NAME=f"ben-{role}")
        read_keys_again(api)
        assert ask(bearer(made.out)).status_code == done
        assert ask(viewer).status_code == 403


def test_the_highest_priorities_are_for_admins(serve: Callable[..., TestClient], ft30: Terminal) -> None:
    submitter = bearer(ft30("keys", "create", "anna", "--role", "submitter").out)
    admin = bearer(ft30("keys", "create", "root", "--role", "admin").out)
    api = serve()
    refused = api.post("/train", json={"priority": 11}, headers=submitter)
    assert refused.status_code == 403
    assert "priority 11 is for keys with the role admin; 'anna' may give -100 to 10" in refused.json()["message"]
    assert refused.json()["remedy"] == "use 10 or less, or ask an admin"
    assert api.post("/train", json={"priority": 10}, headers=submitter).status_code == 202
    assert api.post("/train", json={"priority": 100}, headers=admin).status_code == 202


def test_another_machine_is_answered_with_the_key_that_was_made_for_it(
    serve: Callable[..., TestClient], ft30: Terminal
) -> None:
    api = serve(ELSEWHERE)
    assert api.get("/experiments").json()["remedy"] == "make a key with: ft30 keys create NAME"
    secret = ft30.type("ft30 keys create NAME", NAME="anna").out
    read_keys_again(api)
    refused = api.get("/experiments")
    assert refused.status_code == 401
    assert refused.json()["remedy"] == (
        "send the header Authorization: Bearer KEY; an admin makes keys with: ft30 keys create NAME"
    )
    assert api.get("/experiments", headers=bearer(secret)).status_code == 200
    assert api.post("/train", json={}, headers=bearer(secret)).status_code == 202


def require_keys() -> None:
    settings = load_settings()
    store = open_store(settings.resolved_database_url)
    try:
        require_keys_beyond_loopback(settings, store)
    finally:
        store.close()


@pytest.mark.parametrize("way", ["ft30 keys create NAME --role admin", "FT30_API_KEYS"])
def test_an_api_for_every_machine_opens_once_there_is_a_key(
    serve: Callable[..., TestClient], ft30: Terminal, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("FT30_API_HOST", "0.0.0.0")  # noqa: S104 - what is asked for here
    with pytest.raises(ConfigError) as refused:
        require_keys()
    assert refused.value.remedy == "make one with: ft30 keys create NAME --role admin, or set FT30_API_KEYS"
    if way == "FT30_API_KEYS":
        secret = "a-key-of-the-environment"
        api = serve(ELSEWHERE, FT30_API_KEYS=secret)
    else:
        secret = ft30.type(way, NAME="anna").out
        api = serve(ELSEWHERE)
    require_keys()
    assert api.get("/audit", headers=bearer(secret)).status_code == 200
    assert api.get("/experiments").status_code == 401


def test_a_taken_port_is_freed_or_another_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        taken = str(other.getsockname()[1])
        monkeypatch.setenv("FT30_API_PORT", taken)
        with pytest.raises(ServiceUnavailableError) as refused:
            open_listener(load_settings())
        assert refused.value.remedy == (
            "stop what uses the port, or choose another for the API and its page: FT30_API_PORT=8001"
        )
        another = str(8001 if not is_port_taken("127.0.0.1", 8001) else free_port())
        monkeypatch.setenv("FT30_API_PORT", another)
        with open_listener(load_settings()) as listener:
            assert listener.getsockname()[1] == int(another)
    monkeypatch.setenv("FT30_API_PORT", taken)  # what used it is gone
    with open_listener(load_settings()) as listener:
        assert listener.getsockname()[1] == int(taken)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_beyond_the_limit_is_taken_once_that_is_raised(serve: Callable[..., TestClient], chunked: bool) -> None:
    content = b"text,label\n" + b"".join(b"this is text number %d,%d\n" % (n, n % 2) for n in range(100))

    def upload(api: TestClient) -> Any:
        parts = iter([content[:1000], content[1000:]]) if chunked else content
        headers = {"Content-Type": "application/octet-stream"}
        return api.post("/datasets/files?name=mine.csv", content=parts, headers=headers)

    refused = upload(serve(FT30_MAX_UPLOAD_BYTES="1024"))
    assert (refused.status_code, refused.json()["remedy"]) == (413, "raise FT30_MAX_UPLOAD_BYTES")
    assert upload(serve(FT30_MAX_UPLOAD_BYTES="4096")).json()["rows"] == 100

"""VCR.py, which writes down what is sent: a cassette holds no token and no credential."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import requests
import vcr

from labauth_nb import UnsafeRequest, login, session
from labauth_nb.sandbox import Lab

FILTERED = {"filter_headers": ["authorization"]}


def test_filtered_cassette(lab: Lab, tmp_path: Path) -> None:
    """With filter_headers a cassette holds no token, and replays: the provider sees one request."""
    mine, cassette = login("benchling", tenant="sandbox"), tmp_path / "plates.yaml"
    for _ in range(2):
        with vcr.use_cassette(str(cassette), **FILTERED):
            assert len(session("benchling").get("plates").json()["plates"]) == 50
    assert lab.count("benchling", "/plates") == 1
    text = cassette.read_text()
    assert "plt_sandbox001" in text
    assert mine.token().access_token not in text
    assert "Bearer" not in text


@pytest.mark.parametrize("serializer", ["yaml", "json"])
@pytest.mark.parametrize("plain", [False, True], ids=["session", "requests"])
def test_unfiltered_cassette(lab: Lab, tmp_path: Path, serializer: str, plain: bool) -> None:
    """Without filter_headers nothing is sent or written down: the error names the option to add."""
    mine, cassette = login("benchling", tenant="sandbox"), tmp_path / "plates"
    held, before = mine.session(), lab.count("benchling")
    get = partial(requests.get, auth=held.auth, timeout=10) if plain else held.get
    refused = pytest.raises(UnsafeRequest, match="filter_headers=")
    with vcr.use_cassette(str(cassette), serializer=serializer), refused:
        get(held.url("plates"))
    assert not cassette.exists()
    assert lab.count("benchling") == before


@pytest.mark.parametrize("provider", ["benchling", "foundry"])
def test_sign_in_inside_a_cassette(lab: Lab, tmp_path: Path, provider: str) -> None:
    """A sign-in inside a cassette is refused unsent: no header filter reaches the bodies."""
    cassette = tmp_path / "sign-in.yaml"
    refused = pytest.raises(UnsafeRequest, match="Sign in before")
    with vcr.use_cassette(str(cassette), **FILTERED), refused:
        login(provider, tenant="sandbox")
    assert not cassette.exists()
    assert lab.token_requests(provider) == 0


def test_ignored_host(lab: Lab, tmp_path: Path) -> None:
    """What VCR.py is told to ignore is not recorded, and needs no filter."""
    login("benchling", tenant="sandbox")
    with vcr.use_cassette(str(tmp_path / "none.yaml"), ignore_localhost=True):
        assert session("benchling").get("plates").status_code == 200
    assert not list(tmp_path.glob("*.yaml"))

"""VCR.py, which writes down what is sent: with its filter a cassette holds no token."""

from __future__ import annotations

from pathlib import Path

import vcr

from labauth_nb import login, session
from labauth_nb.sandbox import Lab


def test_filtered_cassette(lab: Lab, tmp_path: Path) -> None:
    """With filter_headers a cassette holds no token, and replays: the provider sees one request."""
    mine, cassette = login("benchling", tenant="sandbox"), tmp_path / "plates.yaml"
    for _ in range(2):
        with vcr.use_cassette(str(cassette), filter_headers=["authorization"]):
            assert len(session("benchling").get("plates").json()["plates"]) == 50
    assert lab.count("benchling", "/plates") == 1
    text = cassette.read_text()
    assert "plt_sandbox001" in text
    assert mine.token().access_token not in text
    assert "Bearer" not in text

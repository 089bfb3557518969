"""What all clients share is held equal to the files that say it."""

from __future__ import annotations

import json
import pathlib

from dashgate import content
from dashgate._settings import service_config

ROOT = pathlib.Path(__file__).parents[3]


def test_the_sniffing_table_is_the_common_one() -> None:
    common = json.loads((ROOT / "tests/conformance/sniffing.json").read_text())
    assert [{"bytes": rule, "mime_type": to} for rule, to in content.MAGIC] == common["magic"]
    assert common["extensions"] == content.EXTENSIONS


def test_the_service_config_is_the_common_one() -> None:
    common = (ROOT / "clients/service-config.json").read_text()
    assert json.loads(service_config()) == json.loads(common)

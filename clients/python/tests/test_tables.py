"""Comparison of tables with the files that all clients share."""

from __future__ import annotations

import json
import pathlib

import pytest

from dashgate import _media_types
from dashgate._endpoint import service_config

ROOT = pathlib.Path(__file__).parents[3]


def test_the_sniffing_table_is_the_common_one() -> None:
    common = json.loads((ROOT / "tests/conformance/sniffing.json").read_text())
    rules = [{"match": rule, "types": types} for rule, types in _media_types.RULES]
    assert rules == common["rules"]
    assert common["extensions"] == _media_types.EXTENSIONS


def test_every_sample_of_the_sniffing_table_is_told() -> None:
    common = json.loads((ROOT / "tests/conformance/sniffing.json").read_text())
    for sample in common["samples"]:
        head = bytes.fromhex(sample["head"])
        found = _media_types.sniff(head, sample["name"], sample["kind"])
        assert found == sample["mime_type"], sample


def test_the_service_config_is_the_common_one() -> None:
    common = json.loads((ROOT / "clients/service-config.json").read_text())
    config = json.loads(service_config())
    *shared, last = config.pop("methodConfig")
    assert {**config, "methodConfig": shared} == common
    assert [name["method"] for name in last.pop("name")] == [
        "CreateConversation",
        "ForkConversation",
    ]
    assert not last


@pytest.mark.parametrize("name", ["LICENSE-MIT", "LICENSE-APACHE"])
def test_the_licences_are_those_of_the_project(name: str) -> None:
    here = pathlib.Path(__file__).parents[1]
    assert (here / name).read_bytes() == (ROOT / name).read_bytes()

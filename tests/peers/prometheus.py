"""Prometheus's own Python parser reads the numbers; a parser of PromQL reads what asks for them."""

import json
import sys

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

page, board, alerts = sys.argv[1:]
with open(page, encoding="utf-8") as file:
    families = list(text_string_to_metric_families(file.read()))
kinds = {family.name: family.type for family in families}
samples = {sample.name for family in families for sample in family.samples}

expressions = []
with open(board, encoding="utf-8") as file:
    for panel in json.load(file)["panels"]:
        expressions += [target["expr"] for target in panel.get("targets", [])]
with open(alerts, encoding="utf-8") as file:
    for group in yaml.safe_load(file)["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
            assert {"summary", "description"} <= set(rule["annotations"]), rule
            expressions.append(rule["expr"])
for expression in expressions:
    plain = expression.replace("$__rate_interval", "5m")
    promql_parser.parse(plain.replace("$job", ".*").replace("$instance", ".*"))

print(json.dumps({"kinds": kinds, "samples": sorted(samples), "expressions": len(expressions)}))

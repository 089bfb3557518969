"""Kubernetes' own schemas judge the manifests; what they hold is printed as JSON, a list for each file."""

import json
import sys

import kubernetes_validate
import yaml

VERSIONS = ("1.33", "1.34", "1.37")


class Strict(yaml.SafeLoader):
    """YAML in which a key may stand once: the second would win in silence."""


def mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=deep) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    assert not twice, f"{twice} twice, {node.start_mark}"
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, lambda l, n: mapping(l, n, True))

files = []
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        documents = [document for document in yaml.load_all(file, Strict) if document]
    for document in documents:
        # Kinds that others bring ("istio.io", "coreos.com") have no schema here.
        group = document["apiVersion"].rpartition("/")[0]
        foreign = "." in group and not group.endswith(".k8s.io") or group.startswith("gateway.")
        for version in () if foreign else VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
    files.append(documents)
print(json.dumps(files))

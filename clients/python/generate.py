"""Generates code from the schema: `python generate.py PROTO FOLDER`."""

import pathlib
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

HEADER = '"""The messages and services of the schema. Made by `./dev generate`: do not edit."""\n\n'


def main(proto: pathlib.Path, folder: pathlib.Path) -> None:
    """Write `dashgate/v1` below the folder."""
    package = folder / "dashgate" / "v1"
    package.mkdir(parents=True, exist_ok=True)
    for old in package.glob("*.py*"):
        old.unlink()
    sources = sorted((proto / "dashgate" / "v1").glob("*.proto"))
    services = [source for source in sources if source.stem.endswith("_service")]
    run_old(proto, sources, f"--python_out={folder}")
    run(proto, sources, f"--mypy_out=quiet:{folder}")
    run(proto, services, f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}")
    (package / "__init__.py").write_text(HEADER + names(proto, sources), encoding="utf-8")


def run(proto: pathlib.Path, sources: list[pathlib.Path], *outputs: str) -> None:
    """Run the compiler of grpcio-tools."""
    if protoc.main(arguments(proto, sources, outputs)) != 0:
        sys.exit("protoc failed")


def run_old(proto: pathlib.Path, sources: list[pathlib.Path], *outputs: str) -> None:
    """Run the compiler whose messages work with protobuf 5, 6 and 7.

    It is the last one without a check that allows a major version and the next only.
    """
    compiler = pathlib.Path(sys.executable).with_name("protoc")
    command = [str(compiler), *arguments(proto, sources, outputs)[1:]]
    subprocess.run(command, check=True)  # noqa: S603 - the compiler of this environment


def arguments(
    proto: pathlib.Path, sources: list[pathlib.Path], outputs: tuple[str, ...]
) -> list[str]:
    """Return the arguments of a compiler, with the include folder of grpcio-tools."""
    include = pathlib.Path(protoc.__file__).parent / "_proto"
    return ["protoc", f"-I{proto}", f"-I{include}", *outputs, *map(str, sources)]


def names(proto: pathlib.Path, sources: list[pathlib.Path]) -> str:
    """Import all messages and enums, so that users do not need to know the files."""
    with tempfile.TemporaryDirectory() as folder:
        described = pathlib.Path(folder, "schema.binpb")
        run(proto, sources, f"--descriptor_set_out={described}")
        schema = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes())
    imports = []
    exported = []
    for file in schema.file:
        found = [message.name for message in file.message_type]
        for enum in file.enum_type:
            found += [enum.name, *(value.name for value in enum.value)]
        if found:
            module = file.name.removesuffix(".proto").replace("/", ".") + "_pb2"
            listed = "".join(f"    {name},\n" for name in sorted(found))
            imports.append(f"from {module} import (\n{listed})\n")
        exported += found
    listed = "".join(f'    "{name}",\n' for name in sorted(exported))
    return "".join(imports) + f"\n__all__ = [\n{listed}]\n"


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve())

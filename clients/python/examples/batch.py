"""Asks about many files, some at once, and shows the progress: `batch.py FILE...`."""

import pathlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import dashgate


# region batch
def ask(client: dashgate.Client, file: pathlib.Path) -> str:
    conversation = dashgate.Conversation("qwen-audio-turbo")
    conversation.user(dashgate.audio(file), "What is said in this audio?")
    return client.converse(conversation, timeout=300).text


def batch(files: Sequence[pathlib.Path], at_once: int = 8) -> dict[pathlib.Path, str]:
    texts: dict[pathlib.Path, str] = {}
    with dashgate.Client(max_retries=10) as client, ThreadPoolExecutor(at_once) as pool:
        pending = {pool.submit(ask, client, file): file for file in files}
        for number, future in enumerate(as_completed(pending), 1):
            file = pending[future]
            try:
                texts[file] = future.result()
            except (dashgate.Error, OSError) as error:
                print(f"{file}: {error}", file=sys.stderr)
            print(f"{number} of {len(files)}", file=sys.stderr)
    return texts


# endregion

if __name__ == "__main__":
    for path, said in batch([pathlib.Path(name) for name in sys.argv[1:]]).items():
        print(f"{path}: {said}")

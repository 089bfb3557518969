#!/usr/bin/env python3
"""Draws an image of `dashgate top` as a terminal shows it, and writes it as SVG.

    deploy/observability/top.py target/release/dashgate docs/top.svg

It starts the embedded DashScope with slow answers, a gateway before it, and callers; then it runs
`dashgate top` on a terminal of its own, lets it look a few times, and draws its last page.
"""

import html
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import fcntl

ROWS, COLUMNS = 24, 118
SECONDS = 8
WORDS = ["The ", "sea ", "is ", "calm ", "tonight, ", "the ", "tide ", "is ", "full, "] * 6
MODELS = ["qwen3-omni-flash", "qwen3-vl-plus", "qwen-audio-turbo"]


def started(command, environment):
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return process, process.stdout.readline().split()[-1]


def end(running):
    """Ends what was started, and what a shell started in its turn."""
    for process in reversed(running):
        if process.args[0] == "sh":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def page_of(program, admin, environment):
    """The last page that top draws."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(program, [program, "top", "--admin", admin], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    seen, end = b"", time.monotonic() + SECONDS
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536)
    os.write(terminal, b"q")
    try:
        while more := os.read(terminal, 65536):
            seen += more
    except OSError:
        pass  # The terminal is gone when its program is.
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("top did not end well")
    text = seen.decode()
    if "\x1b[?1049l" not in text or "\x1b[?25h" not in text:
        sys.exit("top did not give the terminal back")
    pages = text.split("\x1b[?1049l")[0].split("\x1b[1;1H")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", pages[-1]).split("\r\n")


def image(lines):
    width, height = COLUMNS * 8.43 + 32, len(lines) * 18 + 32
    drawn = []
    for at, line in enumerate(lines):
        colour = "#e6b450" if line[:5] == "MODEL" or line.lstrip()[:3] == "AGE" else "#d0d0d0"
        # Not every browser keeps more than one space.
        text = html.escape(line.rstrip()).replace(" ", "\u00a0")
        drawn.append(f'<text x="16" y="{at * 18 + 30}" fill="{colour}">{text}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" font-family="DejaVu Sans Mono, Menlo, Consolas, '
        'monospace" font-size="14">\n'
        '<rect width="100%" height="100%" rx="8" fill="#16191f"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def main():
    program, target = os.path.abspath(sys.argv[1]), sys.argv[2]
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color"}
    script = {"rules": [
        {"name": "now and then DashScope is busy", "match": {"count": 9},
         "reply": {"error": {"status": 429, "code": "Throttling.RateQuota", "message": "later"}}},
        {"name": "slow answers", "reply": {"answer": {"chunks": WORDS}, "delays":
         {"head_ms": 300, "between_ms": 60}}},
    ]}
    running = []
    with tempfile.TemporaryDirectory() as folder:
        environment["HOME"] = folder
        with open(os.path.join(folder, "script.json"), "w", encoding="utf-8") as file:
            json.dump(script, file)
        try:
            emulate = [program, "emulate", "--listen", "127.0.0.1:0", "--script", file.name]
            process, dashscope = started(emulate, environment)
            running.append(process)
            serve = [program, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                     "--upstream", f"http://{dashscope}/api/v1", "--set", "telemetry.rates="
                     "qwen3-omni-flash=1.8|6.9,qwen3-vl-plus=1|10,qwen-audio-turbo=3|3"]
            environment["DASHSCOPE_API_KEY"] = "sk-example"
            process, gateway = started(serve, environment)
            running.append(process)
            admin = process.stdout.readline().split()[-1].removeprefix("http://")
            loop = ('while :; do "$0" ask --server "$1" --model "$2" "How is the sea?"; done')
            for at in range(9):
                caller = ["sh", "-c", loop, program, gateway, MODELS[at % len(MODELS)]]
                running.append(subprocess.Popen(
                    caller, env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                time.sleep(0.35)
            lines = page_of(program, admin, environment)
        finally:
            end(running)
    with open(target, "w", encoding="utf-8") as file:
        file.write(image(lines))


if __name__ == "__main__":
    main()

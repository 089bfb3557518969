#!/usr/bin/env python3
"""Draws the dashboard from a real run, by its own queries, and writes it as SVG.

    deploy/observability/dashboard.py target/release/dashgate prometheus docs/dashboard.svg

It starts the embedded DashScope, which is slow and now and then busy, a gateway before it, callers
with keys of their own, and a Prometheus that reads the gateway each second. After three minutes it
asks Prometheus what Grafana would ask, and draws the panels where they stand in dashboard.json.
"""

import html
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from top import MODELS, WORDS, end, started

SECONDS = 180
PORT = 19090
COLUMN, ROW, GAP = 60, 30, 8
PALETTE = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#9683ec"]
CALLERS = ["web", "support", "research"]
SCRIPT = {"rules": [
    *({"name": f"busy {n}", "match": {"count": 9 * n},
       "reply": {"error": {"status": 429, "code": "Throttling.RateQuota", "message": "later"}}}
      for n in range(1, 60)),
    {"name": "slow", "reply": {"answer": {"chunks": WORDS}, "delays": {"head_ms": 300, "between_ms": 60}}},
]}
# Said in the place of Grafana's variables.
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "15s"}


def asked(expression, kind, **when):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    query = urllib.parse.urlencode({"query": expression, **when})
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v1/{kind}?{query}", timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def legend(form, labels):
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), form).strip() or "value"


def shown(value, unit):
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    ends = {"reqps": " req/s", "bytes": "B", "Bps": "B/s"}.get(unit, "")
    step = 1024 if unit in ("bytes", "Bps") else 1000
    for letter in ["", "k", "M", "G"]:
        if abs(value) < step or letter == "G":
            return f"{value:.3g}" + (f" {letter}{ends.lstrip()}" if letter or ends else "")
        value /= step
    return ""


def text(x, y, words, size=11, colour="#c7ccd4", anchor="start"):
    words = html.escape(str(words)).replace(" ", "\u00a0")
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def stat(panel, box, now):
    x, y, width, height = box
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    values = [shown(float(one["value"][1]), unit)
              for target in panel["targets"] for one in asked(target["expr"], "query", time=now)]
    words = ", ".join(values) or "no data"
    return [text(x + width / 2, y + height / 2 + 22, words, 30, PALETTE[0], "middle")]


def series(panel, box, first, last):
    x, y, width, height = box
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    lines = []
    for target in panel["targets"]:
        for one in asked(target["expr"], "query_range", start=first, end=last, step=2):
            points = [(at, float(value)) for at, value in one["values"]]
            points = [(at, value) for at, value in points if math.isfinite(value)]
            if points:
                lines.append((legend(target.get("legendFormat", ""), one["metric"]), points))
    if not lines:
        return [text(x + width / 2, y + height / 2, "no data", 14, "#6b7280", "middle")]
    most = max(value for _, points in lines for _, value in points) or 1
    left, right, top = x + 62, x + width - 12, y + 34
    shown_lines = lines[:6]
    bottom = y + height - 30 - 13 * ((len(shown_lines) + 1) // 2)
    drawn = []
    for part in range(5):
        level = bottom - (bottom - top) * part / 4
        drawn.append(f'<path d="M{left} {level:.1f}H{right}" stroke="#2c3235"/>')
        drawn.append(text(left - 6, level + 4, shown(most * part / 4, unit), 10, "#8e95a0", "end"))
    for at, (name, points) in enumerate(lines):
        colour = PALETTE[at % len(PALETTE)]
        path = " ".join(
            f"{left + (right - left) * (when - first) / (last - first):.1f},"
            f"{bottom - (bottom - top) * value / most:.1f}" for when, value in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
        if at < len(shown_lines):
            place = (x + 14 + (width - 20) / 2 * (at % 2), bottom + 26 + 13 * (at // 2))
            drawn.append(f'<rect x="{place[0]:.0f}" y="{place[1] - 4:.0f}" width="12" height="3" fill="{colour}"/>')
            drawn.append(text(place[0] + 17, place[1], name[:34], 10))
    drawn.append(text(left, bottom + 12, time.strftime("%H:%M:%S", time.gmtime(first)), 9, "#8e95a0"))
    drawn.append(text(right, bottom + 12, time.strftime("%H:%M:%S", time.gmtime(last)), 9, "#8e95a0", "end"))
    return drawn


def drawn(dashboard, first, last):
    width = 24 * COLUMN + GAP
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"]) * ROW + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} '
        f'{height}" font-family="Inter, Helvetica, Arial, sans-serif">',
        '<rect width="100%" height="100%" fill="#111217"/>']
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        box = (place["x"] * COLUMN + GAP, place["y"] * ROW + GAP,
               place["w"] * COLUMN - GAP, place["h"] * ROW - GAP)
        x, y, wide, high = box
        if panel["type"] == "row":
            parts.append(text(x + 4, y + 17, panel["title"], 15, "#e9edf2"))
            continue
        parts.append(f'<rect x="{x}" y="{y}" width="{wide}" height="{high}" rx="3" fill="#181b1f"/>')
        parts.append(text(x + 10, y + 19, panel["title"], 12.5, "#e9edf2"))
        parts += stat(panel, box, last) if panel["type"] == "stat" else series(panel, box, first, last)
    return "\n".join(parts) + "\n</svg>\n"


def run(program, prometheus, folder, running):
    environment = {"PATH": os.environ["PATH"], "HOME": folder}
    path = lambda name: os.path.join(folder, name)
    with open(path("script.json"), "w", encoding="utf-8") as file:
        json.dump(SCRIPT, file)
    keys = {}
    for caller in CALLERS:
        made = [program, "keys", "new", "--name", caller, "--file", path("keys.toml")]
        said = subprocess.run(made, env=environment, capture_output=True, text=True, check=True).stdout
        keys[caller] = next(word for word in said.split() if word.startswith("dg_"))
    emulate = [program, "emulate", "--listen", "127.0.0.1:0", "--script", path("script.json")]
    process, dashscope = started(emulate, environment)
    running.append(process)
    serve = [program, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
             "--upstream", f"http://{dashscope}/api/v1", "--set", f"callers.keys_file={path('keys.toml')}",
             "--set", "server.max_in_flight=14", "--set", "telemetry.rates="
             "qwen3-omni-flash=1.8|6.9,qwen3-vl-plus=1|10,qwen-audio-turbo=3|3"]
    process, gateway = started(serve, {**environment, "DASHSCOPE_API_KEY": "sk-example",
                                       "DASHGATE_STORE_URL": f"sqlite:{path('state.db')}"})
    running.append(process)
    admin = process.stdout.readline().split()[-1].removeprefix("http://")
    with open(path("prometheus.yml"), "w", encoding="utf-8") as file:
        json.dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [
            {"job_name": "dashgate", "static_configs": [{"targets": [admin]}]}]}, file)
    running.append(subprocess.Popen(
        [prometheus, f"--config.file={path('prometheus.yml')}", f"--storage.tsdb.path={path('data')}",
         f"--web.listen-address=127.0.0.1:{PORT}", "--log.level=error"], stdout=subprocess.DEVNULL))
    video = path("video.mp4")
    with open(video, "wb") as file:
        file.write(b"\0\0\0\x18ftypmp42" + bytes(20 << 20))
    say = 'while :; do "$0" ask --server "$1" --model "$2" "How is the sea?" || sleep 2; done'
    show = 'while :; do "$0" ask --server "$1" --model "$2" --video "$3" "What is this?"; sleep 5; done'
    talk = 'while :; do "$0" live --server "$1" --audio "$2" --realtime; sleep 1; done'
    here = os.path.dirname(os.path.abspath(__file__))
    recording = os.path.join(here, "..", "..", "examples", "sentence-en.wav")
    first = time.time()
    for caller in CALLERS:
        running.append(subprocess.Popen(
            ["sh", "-c", talk, program, gateway, recording],
            env={**environment, "DASHGATE_API_KEY": keys[caller]}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
    for at in range(15):
        caller = {**environment, "DASHGATE_API_KEY": keys[CALLERS[at % 3]]}
        loop = show if at == 4 else say
        running.append(subprocess.Popen(
            ["sh", "-c", loop, program, gateway, MODELS[at // 3 % len(MODELS)], video], env=caller,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True))
        time.sleep(SECONDS / 25)
    time.sleep(max(0, first + SECONDS - time.time()))
    return first


def main():
    program, prometheus, target = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dashboard.json")
    with open(beside, encoding="utf-8") as file:
        dashboard = json.load(file)
    running = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            first = run(program, prometheus, folder, running)
            image = drawn(dashboard, first, time.time())
        finally:
            end(running)
    with open(target, "w", encoding="utf-8") as file:
        file.write(image)


if __name__ == "__main__":
    main()

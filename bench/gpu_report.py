#!/usr/bin/env python3
"""gpu_report.py WORK OUT: what bench/gpu-check left in WORK, as one JSON file; exit status 1 where a step failed.

Figures: `kernels` has a row for each line of stardit-bench kernels; `beside` has stardit's and PyTorch's
seconds for the same shapes and their ratio (below 1: stardit is faster); `steps` has how each step went, with the
end of its output where it failed.
"""
import json
import os
import platform
import re
import subprocess
import sys

KERNEL = re.compile(
    r"^(?P<name>\w+) +(?P<size>.*?) +(?P<error>[\d.e+-]+|inf|nan) +(?P<allowed>[\d.e+-]+) +"
    r"(?P<us>[\d.]+) us +(?P<rate>[\d.]+) (?P<unit>GB/s|TFLOP/s) +(?P<share>[\d.]+)% of "
    r"(?P<of>copy|same GEMM|large GEMM)(?P<wrong> +WRONG)?$"
)
# case, seconds, TFLOP/s, idle
CASE = re.compile(r"^([\w-]+) +([\d.]+) +([\d.]+) +(-?[\d.]+) % ")
CASES = ("block-11k", "block-40k", "step", "vae")
# What the project wants to reach, in percent of the yardstick.
AIMS = {"linear": 90, "linear_residual": 90, "copy": 80, "cudnn": 60, "own": 35}


def read(*path):
    try:
        with open(os.path.join(*path), errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def machine(work):
    found = dict(line.split(" ", 1) for line in read(work, "gpu").splitlines() if " " in line)
    found["host"] = platform.node()
    found["kernel"] = platform.release()
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30)
        found["driver"] = answer.stdout.splitlines()[0].strip()
    except (OSError, subprocess.TimeoutExpired, IndexError):
        found["driver"] = "unknown"
    return found


def aim_of(kernel):
    """The wanted share of a kernel's yardstick, or None."""
    if kernel["name"] in AIMS:
        return AIMS[kernel["name"]]
    if kernel["of"] == "copy":
        return AIMS["copy"]
    if kernel["name"] == "attention" and kernel["size"].startswith("16384 tokens, 24 heads x 128"):
        return AIMS["own" if kernel["size"].endswith("own") else "cudnn"]
    return None


def kernels(text):
    rows = []
    for line in text.splitlines():
        match = KERNEL.match(line)
        if not match:
            continue
        row = match.groupdict()
        for key in ("error", "allowed", "us", "rate", "share"):
            row[key] = float(row[key])
        row["wrong"] = bool(row["wrong"])
        aim = aim_of(row)
        if aim is not None:
            row["aim"], row["reached"] = aim, row["share"] >= aim
        rows.append(row)
    return rows


def beside(work, name):
    row = {}
    for line in read(work, "steps", f"stardit-{name}.out").splitlines():
        match = CASE.match(line)
        if match and match[1] == name:
            row["stardit_seconds"] = float(match[2])
            row["tflops"] = float(match[3])
            row["idle_percent"] = float(match[4])
    try:
        row["pytorch"] = json.loads(read(work, "steps", f"pytorch-{name}.out").splitlines()[-1])
    except (IndexError, ValueError):
        pass
    if "stardit_seconds" in row and "pytorch" in row:
        row["ratio"] = row["stardit_seconds"] / row["pytorch"]["seconds"]
    return row


def steps(work):
    rows = []
    for name in read(work, "order").split():
        status = read(work, "steps", name + ".status").split()
        row = {"name": name}
        if status == ["skipped"]:
            row["result"] = "skipped: no time left"
        else:
            code, seconds, limit = map(int, status)
            row["seconds"] = seconds
            row["result"] = {0: "passed", 77: "skipped", 124: f"stopped after {limit} s",
                             137: f"stopped after {limit} s"}.get(code, f"exit {code}")
            if code != 0:
                text = read(work, "steps", name + ".out") + read(work, "steps", name + ".err")
                row["output"] = text.splitlines()[-40:]
        rows.append(row)
    return rows


def main(work, out):
    report = {
        "machine": machine(work),
        "steps": steps(work),
        "kernels": kernels(read(work, "steps", "bench-kernels.out")),
        "yardsticks": [
            line for line in read(work, "steps", "bench-kernels.out").splitlines()
            if line.startswith(("device copy", "cuDNN"))
        ],
        "beside": {name: beside(work, name) for name in CASES},
        "golden": read(work, "steps", "golden.out").splitlines(),
        "video": read(work, "steps", "video.out").splitlines(),
    }
    failed = [s["name"] for s in report["steps"]
              if s["result"] != "passed" and not s["result"].startswith("skipped")]
    report["failed"] = failed
    with open(out + ".new", "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    os.replace(out + ".new", out)
    for name, row in report["beside"].items():
        if "ratio" in row:
            print(f"{name}: stardit {row['stardit_seconds']:.4f} s, PyTorch "
                  f"{row['pytorch']['seconds']:.4f} s, ratio {row['ratio']:.2f}, "
                  f"idle {row['idle_percent']:.1f} %")
    for row in report["kernels"]:
        if row.get("reached") is False:
            print(f"{row['name']} {row['size']}: {row['share']:.0f}% of {row['of']}, "
                  f"aim {row['aim']}%")
    print(f"{out}: {len(report['steps'])} steps, failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1], sys.argv[2]))

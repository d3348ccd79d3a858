#!/usr/bin/env python3
"""gpu_report.py FOLDER: what bench/gpu-check has left in FOLDER by now, as FOLDER/gpu-check.json; exit status 1 where
a step failed.

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


def machine(folder):
    found = dict(line.split(" ", 1) for line in read(folder, "gpu.txt").splitlines() if " " in line)
    found["host"] = platform.node()
    found["kernel"] = platform.release()
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30)
        found["driver"] = answer.stdout.splitlines()[0].strip()
    except (OSError, subprocess.TimeoutExpired, IndexError):
        found["driver"] = "unknown"
    return found


def size_of(kernel):
    """A row's size without the way that ran it."""
    return kernel["size"].rsplit(", ", 1)[0]


def aim_of(kernel, refused):
    """The wanted share of a kernel's yardstick, or None. refused: cuDNN was asked, and an own kernel
    took its place."""
    if kernel["name"] in AIMS:
        return AIMS[kernel["name"]]
    if kernel["of"] == "copy":
        return AIMS["copy"]
    if kernel["name"] == "attention" and kernel["size"].startswith("16384 tokens, 24 heads x 128"):
        return AIMS["own" if kernel["size"].endswith("own") and not refused else "cudnn"]
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
        rows.append(row)
    # Where cuDNN is there, each size has a row for it, and then one for the own kernel.
    rest = [(row["name"], size_of(row)) for row in rows]
    for i, row in enumerate(rows):
        aim = aim_of(row, refused=rest[i] in rest[i + 1 :])
        if aim is not None:
            row["aim"], row["reached"] = aim, row["share"] >= aim
    return rows


def beside(folder, name):
    row = {}
    for line in read(folder, f"stardit-{name}.out").splitlines():
        match = CASE.match(line)
        if match and match[1] == name:
            row["stardit_seconds"] = float(match[2])
            row["tflops"] = float(match[3])
            row["idle_percent"] = float(match[4])
    try:
        row["pytorch"] = json.loads(read(folder, f"pytorch-{name}.out").splitlines()[-1])
    except (IndexError, ValueError):
        pass
    if "stardit_seconds" in row and "pytorch" in row:
        row["ratio"] = row["stardit_seconds"] / row["pytorch"]["seconds"]
    return row


def steps(folder):
    """In the order in which they began. A step that began and has not ended ran when the call ended."""
    rows = {}
    for line in read(folder, "steps.txt").splitlines():
        name, how, *rest = line.split(" ", 3)
        row = rows.setdefault(name, {"name": name})
        row["result"] = "running" if how == "began" else how
        if rest:
            row["seconds"] = int(rest[0])
            if rest[1:] and rest[1]:
                row["why"] = rest[1]
    for row in rows.values():
        if row["result"] not in ("passed", "skipped"):
            text = read(folder, row["name"] + ".out") + read(folder, row["name"] + ".err")
            row["output"] = text.splitlines()[-40:]
    return list(rows.values())


def main(folder):
    out = os.path.join(folder, "gpu-check.json")
    report = {
        "machine": machine(folder),
        "steps": steps(folder),
        "kernels": kernels(read(folder, "bench-kernels.out")),
        "yardsticks": [
            line for line in read(folder, "bench-kernels.out").splitlines()
            if line.startswith(("device copy", "cuDNN"))
        ],
        "beside": {name: beside(folder, name) for name in CASES},
        "golden": read(folder, "golden.out").splitlines(),
        "video": read(folder, "video.out").splitlines(),
    }
    failed = [s["name"] for s in report["steps"] if s["result"] not in ("passed", "skipped")]
    report["failed"] = failed
    whole = f"{out}.{os.getpid()}"  # steps side by side report side by side
    with open(whole, "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    os.replace(whole, out)
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
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))

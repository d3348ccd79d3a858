"""compare.py BUILD MODELS DEMO [CASE...]: runs both sides of each case in turn and prints ratios of medians."""

import json
import os
import statistics
import subprocess
import sys
import tempfile

build, models, demo = sys.argv[1:4]
CASES = ["dit256", "dit1024", "dit4096", "half256", "vae1", "vae5", "vae17", "umt5_120", "umt5_512",
         "demo"]
cases = sys.argv[4:] or [c for c in CASES if c != "vae17"]
ROUNDS = int(os.environ.get("PEER_ROUNDS", "3"))
SIZES = {"256": (256, 256, 1), "1024": (512, 512, 1), "4096": (512, 512, 13)}
here = os.path.dirname(os.path.abspath(__file__))


def run(command):
    """Standard output and the peak resident megabytes of a process and what it started."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f"{' '.join(command)}: failed")
        out.seek(0)
        return out.read().decode(), usage.ru_maxrss / 1024


def step_seconds(trace):
    """From the end of a step's last task to that of the next one's."""
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"] if isinstance(trace, dict) else [
        e for e in trace if e["ph"] == "X"]
    end = {}
    for e in events:
        step = e["args"]["step"]
        end[step] = max(end.get(step, 0), e["ts"] + e["dur"])
    steps = sorted(k for k in end if k >= 0)
    return [(end[b] - end[a]) * 1e-6 for a, b in zip(steps, steps[1:])]


def stardit(case):
    with tempfile.TemporaryDirectory() as folder:
        common = ["--output", folder + "/v.safetensors", "--stats", folder + "/s.json", "--trace",
                  folder + "/t.json", "--quiet"]
        embeds = ["--prompt-embeds", models + "/embeds.safetensors", "--guidance-scale", "1"]
        if case.startswith("dit") or case.startswith("half"):
            height, width, frames = SIZES[case.lstrip("dithalf")]
            model = "half" if case.startswith("half") else "dit"
            args = ["--model", f"{models}/{model}", *embeds, "--height", str(height), "--width",
                    str(width), "--num-frames", str(frames), "--num-inference-steps", "3"]
        elif case.startswith("vae"):
            frames = int(case[3:])
            args = ["--model", models + "/wide", "--height", "240", "--width", "416",
                    "--num-frames", str(frames), "--num-inference-steps", "0", "--latents",
                    f"{models}/latent{(frames + 3) // 4}.safetensors"]
        elif case.startswith("umt5"):
            ids = ",".join(str(2 + i % 900) for i in range(int(case[5:])))
            args = ["--model", models + "/dit", "--token-ids", ids, "--height", "32", "--width", "32",
                    "--num-frames", "1", "--num-inference-steps", "1", "--guidance-scale", "1"]
        else:
            args = ["--model", demo, "--prompt", "a red circle"]
        _, peak = run([build + "/stardit-generate", *args, *common])
        seconds = json.load(open(folder + "/s.json"))["seconds"]
        if case.startswith("dit") or case.startswith("half"):
            return step_seconds(json.load(open(folder + "/t.json"))), peak
        if case.startswith("vae"):
            return [seconds["decode"]], peak
        if case.startswith("umt5"):
            return [seconds["text"]], peak
        return [seconds["text"] + seconds["denoise"] + seconds["decode"]], peak


def torch(case):
    out, peak = run([sys.executable, here + "/torch_side.py", case, models, demo])
    return json.loads(out.strip().splitlines()[-1]), peak


print(f"{'case':10} {'stardit':>19} {'PyTorch':>19} {'ratio':>6} {'stardit':>9} {'PyTorch':>9} {'ratio':>6}")
for case in cases:
    if case not in CASES:
        sys.exit(f"no case is called {case}; there are {' '.join(CASES)}")
    ours, theirs, our_peak, their_peak = [], [], [], []
    for _ in range(ROUNDS):
        seconds, peak = stardit(case)
        ours += seconds
        our_peak.append(peak)
        seconds, peak = torch(case)
        theirs += seconds
        their_peak.append(peak)
    a, b = statistics.median(ours), statistics.median(theirs)
    p, q = statistics.median(our_peak), statistics.median(their_peak)
    text = lambda x, m: f"{m:.2f} s ({min(x):.2f}-{max(x):.2f})"
    print(f"{case:10} {text(ours, a):>19} {text(theirs, b):>19} {a / b:6.2f} {p:6.0f} MB {q:6.0f} MB "
          f"{p / q:6.2f}", flush=True)

"""Many jobs and clients: URL PID JOBS GENERATE MODEL FOLDER."""
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time

url, pid, jobs, generate, model, folder = sys.argv[1:]
host = url.removeprefix("http://")
jobs = int(jobs)
ROUNDS = 3
STEPS = 200


def call(connection, method, path, body=None):
    headers = {"Content-Type": "application/json"} if body else {}
    text = json.dumps(body) if body else None
    try:
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
    except http.client.RemoteDisconnected:  # idle for long, as after a pause of all: once more
        connection.close()
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, (answer.status, content)
    return content


def connect():
    return http.client.HTTPConnection(host, timeout=120)


def waiting(connection):
    text = call(connection, "GET", "/metrics").decode()
    return sum(int(line.split()[1]) for line in text.splitlines()
               if line.startswith(('stardit_jobs{status="queued"}', 'stardit_jobs{status="in_progress"}')))


def busy(connection):
    """Seconds of tasks on devices, and how many workers these have."""
    sums = {"stardit_device_busy_seconds_total": 0.0, "stardit_device_workers": 0.0}
    for line in call(connection, "GET", "/metrics").decode().splitlines():
        name = line.split("{")[0]
        if name in sums and 'device="host"' not in line:
            sums[name] += float(line.split()[1])
    return sums["stardit_device_busy_seconds_total"], sums["stardit_device_workers"]


def drain(connection):
    while waiting(connection):
        time.sleep(0.1)


def memory():
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024


def submit(connection, prompt, steps, frames=17):
    answer = call(connection, "POST", "/v1/videos",
                  {"prompt": prompt, "num_frames": frames, "num_inference_steps": steps})
    return json.loads(answer)["id"]


def quantiles(times):
    times = sorted(times)
    return "median %.1f ms, p99 %.1f ms" % (
        1e3 * times[len(times) // 2], 1e3 * times[int(0.99 * (len(times) - 1))])


# The same prompts by stardit-generate and by the server, by turns.
main = connect()
ids, alone, served, busy_alone, busy_served = [], [], [], [], []
for turn in range(ROUNDS):
    prompts = [f"a red circle, number {turn}.{n}" for n in range(jobs // ROUNDS)]
    with open(folder + "/prompts", "w", encoding="utf-8") as file:
        file.write("\n".join(prompts))
    begin = time.monotonic()
    subprocess.run([generate, "--model", model, "--quiet", "--force", "--prompt-file", folder + "/prompts",
                    "--num-frames", "17", "--num-inference-steps", str(STEPS), "--output", folder + "/%d.mp4",
                    "--stats", folder + "/stats.json"], check=True, stdin=subprocess.DEVNULL)
    alone.append(time.monotonic() - begin)
    stats = json.load(open(folder + "/stats.json", encoding="utf-8"))
    before, workers = busy(main)
    busy_alone.append(sum(d["busy_seconds"] for d in stats["device"]) / stats["seconds"]["total"] / workers)
    begin = time.monotonic()
    ids += [submit(main, prompt, STEPS) for prompt in prompts]
    drain(main)
    served.append(time.monotonic() - begin)
    busy_served.append((busy(main)[0] - before) / served[-1] / workers)
print(f"load: {jobs // ROUNDS} jobs of {STEPS} steps take {statistics.median(served):.1f} s, stardit-generate "
      f"{statistics.median(alone):.1f} s, its start included: ratio of medians of {ROUNDS} "
      f"{statistics.median(alone) / statistics.median(served):.2f}")
print(f"load: devices are busy for {100 * statistics.median(busy_served):.1f} % of the time, those of stardit-generate for "
      f"{100 * statistics.median(busy_alone):.1f} %: ratio {statistics.median(busy_served) / statistics.median(busy_alone):.2f}")
first = memory()

# 500 more with 20 clients that look at one job or at the list, ten times a second each.
stop = threading.Event()
looks, posts, errors = [], [], []


def poll(number):
    connection = connect()
    while not stop.is_set():
        path = "/v1/videos/" + ids[number % len(ids)] if number % 2 else "/v1/videos?limit=20"
        try:
            begin = time.monotonic()
            call(connection, "GET", path)
            looks.append(time.monotonic() - begin)
        except Exception as error:  # told at the end
            errors.append(repr(error))
            connection = connect()
        time.sleep(0.1)


clients = [threading.Thread(target=poll, args=(n,)) for n in range(20)]
for client in clients:
    client.start()
for n in range(500):
    begin = time.monotonic()
    submit(main, f"number {n}", 5, 5)
    posts.append(time.monotonic() - begin)
drain(main)
stop.set()
for client in clients:
    client.join()
last = memory()
print(f"load: 20 clients, 500 jobs: {len(looks)} looks, {quantiles(looks)}; 500 submissions, {quantiles(posts)}")
print(f"load: memory {first:.0f} MB after {jobs} jobs, {last:.0f} MB after {jobs + 500}")
assert not errors, errors[:3]
assert last - first < 20, "memory grows"

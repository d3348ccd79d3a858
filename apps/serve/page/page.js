// The page of stardit-serve: makes requests, and looks every second how far they are. It has what the calls of
// docs/serving.md give, and nothing else. Texts go into the page as texts, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
const fields = ["prompt", "negative_prompt", "model", "width", "height", "num_frames", "num_inference_steps",
    "guidance_scale", "seed", "deadline_seconds"];
const shown = new Map(); // a job's row by its id
let defaults = new Map(); // of each model
let known = false; // the models have been asked for

byId("token").value = sessionStorage.getItem("token") || "";

async function call(path, options = {}) {
    const headers = { ...options.headers };
    const token = byId("token").value.trim();
    if (token)
        headers.Authorization = "Bearer " + token;
    const response = await fetch(path, { ...options, headers });
    if (response.ok)
        return response;
    const error = new Error("HTTP " + response.status);
    try {
        Object.assign(error, (await response.json()).error);
    } catch { /* no JSON: the number says it */ }
    error.http = response.status;
    throw error;
}

function say(text, field) {
    byId("message").textContent = text;
    for (const name of fields)
        byId(name).setAttribute("aria-invalid", name === field);
    if (field && byId(field))
        byId(field).focus();
}

// What the form says; numbers as they were typed, for the server to judge.
function request() {
    const body = {};
    for (const name of fields) {
        const value = byId(name).value;
        if (value.trim() !== "")
            body[name] = value;
    }
    return body;
}

function hint() {
    const model = defaults.get(byId("model").value) || {};
    for (const name of fields)
        if (name in model)
            byId(name).placeholder = model[name];
}

async function askModels() {
    const models = (await (await call("v1/models")).json()).data;
    defaults = new Map(models.map((model) => [model.id, model.defaults]));
    byId("model").replaceChildren(...models.map((model) => new Option(model.id, model.id)));
    known = true;
    hint();
}

function duration(seconds) {
    if (seconds < 1)
        return "less than 1 s";
    if (seconds < 120)
        return "about " + Math.round(seconds) + " s";
    return "about " + (seconds < 7200 ? Math.round(seconds / 60) + " min" : (seconds / 3600).toFixed(1) + " h");
}

function state(job) {
    if (job.status === "failed")
        return (job.error.code === "cancelled" ? "cancelled" : "failed: " + job.error.message);
    if (job.status === "completed")
        return "completed, " + Math.ceil(job.bytes / 1024) + " KB";
    const left = ", " + duration(job.seconds_left) + " of its own left";
    if (job.status === "queued")
        return (job.queue_position ? "number " + job.queue_position + " of those that wait" : "waits") +
            (job.step > 0 ? ", step " + job.step + " of " + job.steps + " done" : "") + left;
    return "step " + job.step + " of " + job.steps + left;
}

async function show(id, row) {
    const blob = await (await call("v1/videos/" + id + "/content")).blob();
    const video = row.querySelector("video"), save = row.querySelector(".save");
    row.url = URL.createObjectURL(blob);
    video.src = save.href = row.url;
    save.download = id + ".mp4";
    video.hidden = save.hidden = false;
    row.querySelector(".show").hidden = true;
    video.play().catch(() => {}); // a browser may want a click first
}

function megabytes(bytes) {
    return (bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 0) + " MB";
}

// What the plan says, a line each.
function planned(plan) {
    const lines = [
        plan.tokens + " tokens in " + plan.tiles + (plan.tiles === 1 ? " tile" : " tiles"),
        plan.steps.length + " steps of up to " + plan.forwards_per_step + " forwards",
        (plan.total_flops / 1e9).toFixed(2) + " GFLOP: text " + (plan.text_flops / 1e9).toFixed(2) + ", a step up to " +
            (plan.step_flops / 1e9).toFixed(2) + ", decode " + (plan.vae_flops / 1e9).toFixed(2),
        "takes " + duration(plan.seconds) + " alone, at " + (plan.flops_per_second / 1e9).toFixed(1) + " GFLOP/s a worker",
        megabytes(plan.weight_bytes) + " of weights",
        megabytes(plan.exchanged_bytes) + " between devices in all steps",
    ];
    plan.device_peak_bytes.forEach((bytes, device) => {
        const phase = plan.device_phase_bytes[device];
        lines.push("device " + device + ": " + megabytes(bytes) + " (text " + megabytes(phase.text) + ", denoise " +
            megabytes(phase.denoise) + ", decode " + megabytes(phase.decode) + ")");
    });
    return lines.join("\n");
}

async function showPlan(id, row) {
    const text = row.querySelector(".planned");
    if (text.hidden) {
        text.textContent = planned(await (await call("v1/videos/" + id + "/plan")).json());
    }
    text.hidden = !text.hidden;
    row.querySelector(".plan").setAttribute("aria-expanded", String(!text.hidden));
}

// For Perfetto; by a link of its own, since the call may need the token.
async function saveTrace(id) {
    const blob = await (await call("v1/videos/" + id + "/trace")).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = id + ".trace.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function add(job) {
    const row = byId("job").content.firstElementChild.cloneNode(true);
    const name = job.prompt.slice(0, 60);
    const act = (selector, label, what) => {
        const button = row.querySelector(selector);
        button.setAttribute("aria-label", label + ": " + name);
        button.addEventListener("click", () => what().then(look).catch((error) => say(error.message)));
    };
    row.querySelector(".prompt").textContent = job.prompt;
    row.querySelector(".facts").textContent = job.size + ", " + job.num_frames + " frames, " + job.steps +
        " steps, seed " + job.seed + ", " + job.model + "; alone in " +
        duration(job.predicted_seconds.text + job.steps * job.predicted_seconds.step + job.predicted_seconds.decode);
    row.querySelector("progress").setAttribute("aria-label", "Progress: " + name);
    act(".show", "Show", () => show(job.id, row));
    act(".plan", "Plan", () => showPlan(job.id, row));
    act(".trace", "Trace", () => saveTrace(job.id));
    act(".cancel", "Cancel", () => call("v1/videos/" + job.id + "/cancel", { method: "POST" }));
    act(".delete", "Delete", () => call("v1/videos/" + job.id, { method: "DELETE" }));
    return row;
}

function update(row, job) {
    const open = job.status === "queued" || job.status === "in_progress";
    row.className = job.status;
    row.querySelector("progress").value = job.progress;
    row.querySelector("progress").hidden = !open;
    row.querySelector(".state").textContent = state(job);
    row.querySelector(".cancel").hidden = !open;
    row.querySelector(".trace").hidden = !job.trace;
    row.querySelector(".show").hidden = job.status !== "completed" || Boolean(row.url);
}

function forget(id, row) {
    if (row.url)
        URL.revokeObjectURL(row.url);
    row.remove();
    shown.delete(id);
}

// One look at the server; rows stay where they are, so that a player or a focused button does too.
async function look() {
    if (!known)
        await askModels();
    const jobs = (await (await call("v1/videos?limit=100")).json()).data;
    const list = byId("jobs");
    const there = new Set(jobs.map((job) => job.id));
    for (const [id, row] of shown)
        if (!there.has(id))
            forget(id, row);
    for (const job of [...jobs].reverse()) {
        if (!shown.has(job.id)) {
            shown.set(job.id, add(job));
            list.prepend(shown.get(job.id));
        }
        update(shown.get(job.id), job);
    }
    byId("none").hidden = jobs.length > 0;
    const waiting = jobs.filter((job) => job.status === "queued").length;
    const running = jobs.filter((job) => job.status === "in_progress").length;
    byId("server").textContent = running + " at work, " + waiting + " waiting";
}

async function keepLooking() {
    try {
        if (!document.hidden)
            await look();
    } catch (error) {
        byId("token-row").hidden = error.http !== 401 && byId("token-row").hidden;
        byId("server").textContent = error.http ? error.message : "the server does not answer";
    }
    setTimeout(keepLooking, 1000);
}

byId("token").addEventListener("change", () => sessionStorage.setItem("token", byId("token").value.trim()));
byId("model").addEventListener("change", hint);

byId("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
        await call("v1/videos", {
            method: "POST",
            headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.getRandomValues(
                new Uint32Array(4)).join("-") },
            body: JSON.stringify(request()),
        });
        say("");
        await look();
    } catch (error) {
        say(error.message, error.param);
    }
});

byId("curl").addEventListener("click", async () => {
    const quote = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
    const text = "curl " + location.origin + "/v1/videos" + (byId("token").value ?
        " -H \"Authorization: Bearer $(cat TOKEN-FILE)\"" : "") + " -H 'Content-Type: application/json' -d " +
        quote(JSON.stringify(request()));
    try {
        await navigator.clipboard.writeText(text);
        say("Copied.");
    } catch {
        say(text); // without a clipboard, to be copied by hand
    }
});

keepLooking();

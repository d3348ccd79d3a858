"""What the openai client does with videos, against stardit-serve: URL TOKEN FILE."""
import sys

import openai

url, token, path = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key=token, max_retries=0)
options = {"num_frames": 5, "num_inference_steps": 5, "seed": 7, "negative_prompt": "night"}

video = client.videos.create(
    prompt="a red circle, été", model="stardit-demo", size="64x64", extra_body=options
)
assert video.object == "video" and video.status == "queued", video
assert video.size == "64x64" and video.model == "stardit-demo" and video.error is None, video
video = client.videos.poll(video.id, poll_interval_ms=50)
assert video.status == "completed" and video.progress == 100, video
assert video.completed_at and video.expires_at > video.completed_at, video
with open(path, "wb") as file:
    file.write(client.videos.download_content(video.id).read())
assert client.videos.download_content(video.id, variant="thumbnail").read()[1:4] == b"PNG"

other = client.videos.create_and_poll(
    prompt="other", seconds="4", poll_interval_ms=50, extra_body={"fps": 1, "num_inference_steps": 1}
)
assert other.status == "completed" and other.seconds == "5", other
listed = client.videos.list(limit=1)
assert [v.id for v in listed] == [other.id, video.id], listed
assert client.models.list().data[0].id == "stardit-demo"


def refused(kind, code, param, call, **arguments):
    try:
        call(**arguments)
    except kind as error:
        assert (error.code, error.param) == (code, param), (error.code, error.param)
        return
    raise AssertionError(f"{code}: not refused")


create = client.videos.create
refused(openai.BadRequestError, "unknown_field", "foo", create, prompt="x", extra_body={"foo": 1})
refused(openai.BadRequestError, "unsupported_field", "input_reference", create, prompt="x",
        input_reference=("a.png", b"\x89PNG" + b"x" * 100000, "image/png"))
refused(openai.NotFoundError, "video_not_found", None, client.videos.retrieve, video_id="video_no")
refused(openai.InternalServerError, "not_supported", None, client.videos.remix, video_id=video.id, prompt="x")
refused(openai.AuthenticationError, "invalid_token", None,
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).videos.list)
for n in range(4):
    create(prompt=f"long {n}", extra_body={"num_frames": 5, "num_inference_steps": 1000})
refused(openai.RateLimitError, "queue_full", None, create, prompt="one more")

for v in client.videos.list(limit=100):
    deleted = client.videos.delete(v.id)
    assert deleted.deleted and deleted.object == "video.deleted" and deleted.id == v.id, deleted
assert not list(client.videos.list())
refused(openai.NotFoundError, "deleted", None, client.videos.retrieve, video_id=video.id)
print("serve: openai", openai.__version__, "creates, polls, lists, downloads, deletes, and hears refusals")

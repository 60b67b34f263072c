"""huggingface_hub: text classification against a TEI-shaped URL."""

from __future__ import annotations

from helper import raised, read_task, tell
from huggingface_hub import InferenceClient

task = read_task()
client = InferenceClient(model=task["url"], token=task["key"])


def score(text, **options):
    found = client.text_classification(text, **options)
    return (found[0] if isinstance(found, list) else found).score


tell(
    scores=[score(text) for text in task["rendered"]],
    raw=[score(text, function_to_apply="none") for text in task["rendered"]],
    error=raised(lambda: score(task["too_long"])),
)

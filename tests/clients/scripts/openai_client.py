"""openai: the models, the reward as a chat completion, the rewards as embeddings."""

from __future__ import annotations

from helper import raised, read_task, tell
from openai import OpenAI

task = read_task()
client = OpenAI(base_url=task["url"] + "/v1", api_key=task["key"], max_retries=0)
messages = [{"role": "user", "content": task["query"]}, {"role": "assistant", "content": task["documents"][0]}]
(choice,) = client.chat.completions.create(model="any", messages=messages).choices
embeddings = {
    encoding: [
        item.embedding
        for item in client.embeddings.create(
            model="any", input=task["rendered"], **({"encoding_format": encoding} if encoding else {})
        ).data
    ]
    for encoding in ("", "float", "base64")
}
tell(
    models=[model.id for model in client.models.list()],
    content=choice.message.content,
    logprobs={entry.token: entry.logprob for entry in choice.logprobs.content},
    embeddings=embeddings[""],
    embeddings_float=embeddings["float"],
    error=raised(
        lambda: client.chat.completions.create(
            model="any", messages=[messages[0], {"role": "assistant", "content": task["too_long"]}]
        )
    ),
    stream_error=raised(lambda: client.chat.completions.create(model="any", messages=messages, stream=True)),
)

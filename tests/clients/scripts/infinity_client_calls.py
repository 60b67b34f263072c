"""infinity-client: classify, rerank, models, health."""

from __future__ import annotations

from helper import raised, read_task, tell
from infinity_client import AuthenticatedClient
from infinity_client.api.default import classify, health, models, rerank
from infinity_client.models import ClassifyInput, RerankInput

task = read_task()
client = AuthenticatedClient(base_url=task["url"] + "/infinity", token=task["key"], raise_on_unexpected_status=True)


def classified(**options):
    reply = classify.sync(client=client, body=ClassifyInput(input_=task["rendered"], model="any", **options))
    return [item[0].score for item in reply.data]


def ranked(**options):
    body = RerankInput(query=task["query"], documents=task["documents"], model="any", **options)
    return [[result.index, result.relevance_score] for result in rerank.sync(client=client, body=body).results]


too_long = RerankInput(query=task["query"], documents=[task["too_long"]])
tell(
    classified=classified(),
    classified_raw=classified(raw_scores=True),
    ranked=ranked(),
    ranked_raw=ranked(raw_scores=True, top_n=2),
    models=[model.id for model in models.sync(client=client).data],
    is_up=health.sync(client=client)["unix"] > 0,
    error=raised(lambda: rerank.sync(client=client, body=too_long)),
)

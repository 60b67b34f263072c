"""llama-index-postprocessor-tei-rerank: nodes, reordered."""

from __future__ import annotations

from helper import raised, read_task, tell
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

task = read_task()


def postprocess(texts, top_n):
    authorization = f"Bearer {task['key']}"
    reranker = TextEmbeddingInference(base_url=task["url"], top_n=top_n, auth_token=authorization)
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in texts]
    found = reranker.postprocess_nodes(nodes, query_bundle=QueryBundle(task["query"]))
    return [[node.node.get_content(), node.score] for node in found]


tell(
    ranked=postprocess(task["documents"], len(task["documents"])),
    top_2=postprocess(task["documents"], 2),
    error=raised(lambda: postprocess([task["too_long"]], 1)),
)

"""langchain-cohere: the reranker on its own, and as a document compressor."""

from __future__ import annotations

from helper import raised, read_task, tell
from langchain_cohere import CohereRerank
from langchain_core.documents import Document

task = read_task()
reranker = CohereRerank(base_url=task["url"], cohere_api_key=task["key"], model="any", top_n=2)
documents = [Document(text) for text in task["documents"]]
kept = reranker.compress_documents(documents, task["query"])
tell(
    ranked=[
        [result["index"], result["relevance_score"]]
        for result in reranker.rerank(task["documents"], task["query"], top_n=None)
    ],
    compressed=[[document.page_content, document.metadata["relevance_score"]] for document in kept],
    error=raised(lambda: reranker.rerank([task["too_long"]], task["query"])),
)

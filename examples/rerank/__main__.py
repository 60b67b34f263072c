"""Best of n with the Python client, and a search reranked through LangChain's Cohere client, in numbers.

`make -C examples/rerank` is the one command; see README.md there for what came of it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_cohere import CohereRerank
from langchain_core.documents import Document

from examples.demo_server import demo_server
from examples.rerank.questions import Answer, Question, WordSearch, questions
from reward_client import Client
from reward_client.adapters import best_of_n

NS = (1, 2, 4, 7)
NUM_FOUND = 20
"""Documents that the first stage hands to the reranker."""


def main() -> None:
    """Runs both parts and writes the tables."""
    parser = argparse.ArgumentParser(prog="python -m examples.rerank", description=__doc__)
    parser.add_argument(
        "--url", help="a reward-server that runs already; without it, one is started with the demo model"
    )
    parser.add_argument("--server-python", default=".venv/bin/python", help="an interpreter that can run the server")
    parser.add_argument("--out", type=Path, default=Path("runs/rerank"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=200)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    asked = questions(arguments.seed, arguments.questions)
    with demo_server(arguments.url, arguments.server_python) as url:
        with Client(url) as client:
            tables = {"best_of_n": best_of(client, asked)}
        tables["search"] = search(url, asked)
    (arguments.out / "report.json").write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")
    for name, rows in tables.items():
        print(name)
        for row in rows:
            print("  ", row)


def best_of(client: Client, asked: list[Question]) -> list[dict[str, Any]]:
    """The answer that is chosen among the first n of each question: how often it is sound, and how bad on average."""
    rows = []
    for n in NS:
        chosen = []
        for question in asked:
            # Any sampler will do; here one that deals out prepared answers.
            dealt: Iterator[Answer] = iter(question.answers)
            best = best_of_n(
                lambda prompt, count, dealt=dealt: [next(dealt).text for _ in range(count)],
                n,
                prompt=question.text,
                client=client,
            )
            chosen.append(question.answers[best.ranking.results[0].index])
        rows.append({"n": n, **_share_and_weight(chosen)})
    return rows


def search(url: str, asked: list[Question]) -> list[dict[str, Any]]:
    """Every answer of all questions is a document; each question is searched for, then reranked."""
    library = [answer for question in asked for answer in question.answers]
    first_stage = WordSearch([answer.text for answer in library])
    reranker = CohereRerank(base_url=url, model="demo", cohere_api_key="not needed", top_n=NUM_FOUND)
    found, reranked = [], []
    for question in asked:
        places = first_stage.best(question.text, NUM_FOUND)
        documents = [Document(library[place].text, metadata={"place": place}) for place in places]
        found.append([library[place] for place in places])
        best_first = reranker.compress_documents(documents, question.text)
        reranked.append([library[document.metadata["place"]] for document in best_first])
    return [{"order": "by words (BM25)", **_hits(found)}, {"order": "reranked by the server", **_hits(reranked)}]


def _share_and_weight(chosen: list[Answer]) -> dict[str, Any]:
    return {
        "sound": round(sum(answer.weight == 0 for answer in chosen) / len(chosen), 3),
        "mean_defect": round(sum(answer.weight for answer in chosen) / len(chosen), 2),
        "chosen": dict(Counter(answer.defect for answer in chosen).most_common()),
    }


def _hits(found: list[list[Answer]]) -> dict[str, Any]:
    """How often the first document, or one of the first three, is a sound answer to the question."""
    good = [[answer.is_good_for(index) for answer in answers] for index, answers in enumerate(found)]
    ranks = [places.index(True) + 1 if True in places else None for places in good]
    return {
        "hit_at_1": round(sum(places[0] for places in good) / len(good), 3),
        "hit_at_3": round(sum(any(places[:3]) for places in good) / len(good), 3),
        "mrr": round(sum(1 / rank for rank in ranks if rank) / len(ranks), 3),
        "found_at_all": round(sum(rank is not None for rank in ranks) / len(ranks), 3),
    }


if __name__ == "__main__":
    main()

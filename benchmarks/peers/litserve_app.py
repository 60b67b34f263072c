"""LitServe around transformers, as its documentation builds a batched server: batches of 8, or what came in 20 ms.

Runs in an environment of its own that holds litserve and transformers and not this project: `python … FOLDER PORT
THREADS`.
"""

from __future__ import annotations

import sys

import litserve
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

MAX_BATCH_SIZE = 8
BATCH_TIMEOUT_S = 0.02


class Scores(litserve.LitAPI):  # type: ignore[misc]  # not installed here
    """One text in, one score out."""

    def setup(self, device: str) -> None:
        """Loads the checkpoint in the worker process."""
        torch.set_num_threads(int(sys.argv[3]))
        self.tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
        self.model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], dtype=torch.float32).eval()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # an annotation becomes a field of the query
        """The text of a request."""
        return str(request["text"])

    def predict(self, texts: list[str]) -> list[float]:
        """Scores of a padded batch."""
        batch = self.tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return [float(score) for score in logits[:, 0]]

    def encode_response(self, score):  # type: ignore[no-untyped-def]  # as above
        """The reply."""
        return {"score": score}


if __name__ == "__main__":
    api = Scores(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_S)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning"
    )

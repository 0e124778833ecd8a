"""A transformer behind FastAPI, as Detoxify is: all-MiniLM-L6-v2 by PyTorch, a linear head, one comment a call."""

import json
import os
import pathlib

import torch
from fastapi import FastAPI
from pydantic import BaseModel
from safetensors.torch import load_file
from tokenizers import Tokenizer

folder = pathlib.Path(os.environ["BASE"])
config = json.loads((folder / "config.json").read_text())
weights = load_file(folder / "model.safetensors")
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.enable_truncation(128)
torch.set_num_threads(1)
hidden, heads, layers = (config[name] for name in ["hidden_size", "num_attention_heads", "num_hidden_layers"])
head = torch.zeros(hidden)


def affine(name, x):
    return torch.nn.functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def norm(name, x):
    return torch.nn.functional.layer_norm(x, (hidden,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)


@torch.inference_mode()
def score(text):
    ids = torch.tensor(tokenizer.encode(text).ids)
    n = len(ids)
    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][:n]
    x = norm("embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        q, k, v = (
            affine(f"{layer}.attention.self.{part}", x).view(n, heads, -1).transpose(0, 1)
            for part in ["query", "key", "value"]
        )
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(n, hidden)
        x = norm(f"{layer}.attention.output.LayerNorm", x + affine(f"{layer}.attention.output.dense", mixed))
        wide = torch.nn.functional.gelu(affine(f"{layer}.intermediate.dense", x))
        x = norm(f"{layer}.output.LayerNorm", x + affine(f"{layer}.output.dense", wide))
    return float(torch.sigmoid(x.mean(0) @ head))


app = FastAPI()


class Comment(BaseModel):
    text: str


@app.post("/predict")
def predict(comment: Comment):
    probability = score(comment.text)
    return {"label": "threat" if probability >= 0.5 else "harmless", "probability": probability}

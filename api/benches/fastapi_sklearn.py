"""The usual way to serve such a model in Python: FastAPI and a scikit-learn pipeline, trained on the same corpus."""

import os

from fastapi import FastAPI
from pydantic import BaseModel
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC


def corpus():
    with open(os.environ["CORPUS"], encoding="utf-8", errors="replace") as file:
        for line in file:
            label, tab, text = line.rstrip("\n").partition("\t")
            if tab and label in ("0", "1"):
                yield text, int(label)


texts, labels = zip(*corpus())
words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
pipeline = make_pipeline(make_union(words, characters), CalibratedClassifierCV(LinearSVC(C=0.2), cv=3))
pipeline.fit(texts, labels)
app = FastAPI()


class Comment(BaseModel):
    text: str


@app.post("/predict")
def predict(comment: Comment):
    probability = float(pipeline.predict_proba([comment.text])[0, 1])
    return {"label": "threat" if probability >= 0.5 else "harmless", "probability": probability}

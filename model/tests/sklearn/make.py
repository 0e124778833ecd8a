"""Makes expected.json: what scikit-learn's defaults say of the sample corpus.

    python model/tests/sklearn/make.py      (needs scikit-learn)

CountVectorizer() and MultinomialNB() are fitted on every sentence of model/data/sample.txt; the file then holds the
probability of a threat of each of those sentences, in order, and of some sentences that are not in the corpus.
"""

import json
import pathlib
import re

import sklearn
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

HERE = pathlib.Path(__file__).parent
UNSEEN = [
    "",
    "I will find you and I will kill you",
    "KILL kill Kill the BOSS!!!",
    "Überraschung im Café: naïve Straße, ÇA VA?",
    "words zqxj that nobody qqqq has said",
    "a b c d e",
    "don't you'd he'll it's",
    "Привет мир 你好 😀 tab\tand newline\n2026-11-23",
]


def main():
    text, threat = [], []
    for line in (HERE / "../../data/sample.txt").read_text(encoding="utf-8").split("\n"):
        if row := re.match(r"([0-3])\t(.*)", line):
            threat.append(int(row[1] == "1"))
            text.append(row[2])
    vectorizer = CountVectorizer()
    model = MultinomialNB().fit(vectorizer.fit_transform(text), threat)

    def probabilities(sentences):
        return model.predict_proba(vectorizer.transform(sentences))[:, 1].tolist()

    out = {
        "made_with": f"scikit-learn {sklearn.__version__}",
        "features": len(vectorizer.vocabulary_),
        "corpus": probabilities(text),
        "unseen": [{"text": t, "probability": p} for t, p in zip(UNSEEN, probabilities(UNSEEN))],
    }
    (HERE / "expected.json").write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


main()

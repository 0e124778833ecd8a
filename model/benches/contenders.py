"""Other programs, measured as benches/measure.rs measures ours: one measurement a process, one line of JSON.

compare.py runs this in an environment that has scikit-learn, fastText and Vowpal Wabbit:

    convert NAME FILE           writes FILE in the program's own format beside it, if it has one
    fit NAME TRAIN              from a file to a model in memory, reading included
    predict NAME TRAIN TEST     texts in memory to scores, best of up to five passes
    latency NAME TRAIN TEST     one sentence at a time
    scores NAME TRAIN TEST      one score a line, in TEST's order; higher is more likely a threat

Imports and the interpreter's start are never in the time, but they are in the process's memory. fastText and Vowpal
Wabbit read formats of their own: these files are made beforehand by `convert`, lower case and without punctuation, so
that the other measurements are spared that work. scikit-learn reads the same JSONL as our code, one line at a time
where it can.
"""

import json
import os
import re
import sys
import tempfile
import time

PASSES = 5
PATIENCE = 10  # seconds after which a prediction is not repeated
LATENCY_SENTENCES = 10_000


def rows(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["text"], row["label"] == 1


class ScikitLearn:
    extension = None

    def __init__(self, build):
        self.model = build()

    def fit(self, train):
        threat = []

        def texts():
            for text, is_threat in rows(train):
                threat.append(is_threat)
                yield text

        vectorizer, classifier = self.model.steps[0][1], self.model.steps[1][1]
        # A union of vectorizers reads the texts more than once; a single one can have them from the file.
        once = texts() if hasattr(vectorizer, "ngram_range") else list(texts())
        features = vectorizer.fit_transform(once)
        classifier.fit(features, threat)
        return len(threat)

    def texts(self, test):
        return [text for text, _ in rows(test)]

    def score(self, texts):
        features, classifier = self.model[:-1].transform(texts), self.model[-1]
        if hasattr(classifier, "decision_function"):
            return classifier.decision_function(features)
        # The log-odds: probabilities of naive Bayes are soon 0 or 1 and no longer order anything.
        joint = classifier.predict_joint_log_proba(features)
        return joint[:, 1] - joint[:, 0]

    def score_one(self, text):
        return self.score([text])


def unigram_nb():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    return make_pipeline(CountVectorizer(), MultinomialNB())


def bigram_nb():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    return make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB(alpha=0.1))


def word_tfidf():
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)


def word_svc():
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    return make_pipeline(word_tfidf(), LinearSVC(C=0.3))


def char_svc():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
    return make_pipeline(make_union(word_tfidf(), chars), LinearSVC(C=0.2))


class FastText:
    extension = ".fasttext"

    def __init__(self, **options):
        import fasttext

        self.library, self.options, self.model = fasttext, options, None

    @staticmethod
    def line(words, is_threat):
        return f"__label__{'threat' if is_threat else 'other'} {words}\n"

    def fit(self, train):
        path = train + self.extension
        self.model = self.library.train_supervised(input=path, thread=1, verbose=0, **self.options)

    def texts(self, test):
        with open(test + self.extension, encoding="utf-8") as lines:
            return [line.rstrip("\n").partition(" ")[2] for line in lines]

    def score(self, texts):
        answers = zip(*self.model.predict(texts, k=2))
        return [dict(zip(labels, p)).get("__label__threat", 0.0) for labels, p in answers]

    def score_one(self, text):
        return self.model.predict(text, k=2)


class VowpalWabbit:
    """Driven by its own loop over files; only single sentences go through Python."""

    extension = ".vw"

    def __init__(self, *options):
        import vowpalwabbit

        self.library = vowpalwabbit
        self.scratch = tempfile.TemporaryDirectory(prefix="vw-")
        self.model, cache = self.file("model"), self.file("cache")
        self.options = ["--loss_function", "logistic", "--ngram", "w2", *options]
        if "--passes" in options:
            self.options += ["--holdout_off", "--kill_cache", "--cache_file", cache]
        self.workspace = None

    def file(self, name):
        return os.path.join(self.scratch.name, name)

    def run(self, *arguments):
        return self.library.Workspace(arg_list=["--quiet", *arguments])

    @staticmethod
    def line(words, is_threat):
        return f"{1 if is_threat else -1} |w {words}\n"

    def fit(self, train):
        self.workspace = self.run("--data", train + self.extension, *self.options)

    def texts(self, test):
        self.workspace.save(self.model)
        return test + self.extension

    def score(self, path):
        """Scores without writing them down, which costs it several times as much. It reads the model each time."""
        self.run("--testonly", "--initial_regressor", self.model, "--data", path).finish()

    def written_scores(self, path):
        out = self.file("scores")
        self.run("--testonly", "--initial_regressor", self.model, "--data", path, "--raw_predictions", out).finish()
        with open(out, encoding="utf-8") as lines:
            return [float(line.split()[0]) for line in lines]

    def score_one(self, line):
        return self.workspace.predict(line)


CONTENDERS = {
    "sklearn_unigram_nb": lambda: ScikitLearn(unigram_nb),
    "sklearn_bigram_nb": lambda: ScikitLearn(bigram_nb),
    "sklearn_word_svc": lambda: ScikitLearn(word_svc),
    "sklearn_char_svc": lambda: ScikitLearn(char_svc),
    "fasttext": lambda: FastText(),
    "fasttext_subwords": lambda: FastText(wordNgrams=2, minn=3, maxn=5, epoch=10),
    "vw_one_pass": lambda: VowpalWabbit(),
    "vw_three_passes": lambda: VowpalWabbit("--passes", "3", "--bit_precision", "22"),
}


def sentences_of(path):
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def convert(contender, path):
    sentences, started = 0, time.perf_counter()
    if contender.extension:
        with open(path + contender.extension, "w", encoding="utf-8") as out:
            for text, is_threat in rows(path):
                out.write(contender.line(" ".join(re.findall(r"\w+", text.lower())), is_threat))
                sentences += 1
    return {"sentences": sentences, "seconds": time.perf_counter() - started}


def fit(contender, train):
    started = time.perf_counter()
    contender.fit(train)
    return {"sentences": sentences_of(train), "seconds": time.perf_counter() - started}


def predict(contender, train, test):
    contender.fit(train)
    texts = contender.texts(test)
    times = []
    while len(times) < PASSES and sum(times) < PATIENCE:
        started = time.perf_counter()
        contender.score(texts)
        times.append(time.perf_counter() - started)
    return {"sentences": sentences_of(test), "seconds": min(times), "passes": len(times)}


def latency(contender, train, test):
    contender.fit(train)
    texts = contender.texts(test)
    if isinstance(texts, str):
        with open(texts, encoding="utf-8") as lines:
            texts = [line.rstrip("\n").partition(" ")[2] for line in lines]
    times = []
    for text in texts[:LATENCY_SENTENCES]:
        started = time.perf_counter_ns()
        contender.score_one(text)
        times.append(time.perf_counter_ns() - started)
    times.sort()
    return {"p50_ns": times[len(times) // 2], "p99_ns": times[len(times) * 99 // 100]}


def scores(contender, train, test):
    contender.fit(train)
    score = getattr(contender, "written_scores", contender.score)
    for value in score(contender.texts(test)):
        print(float(value))


def main():
    command, name, *paths = sys.argv[1:]
    measure = {"convert": convert, "fit": fit, "predict": predict, "latency": latency, "scores": scores}[command]
    answer = measure(CONTENDERS[name](), *paths)
    if answer is not None:
        print(json.dumps({"model": name, **answer}))


main()

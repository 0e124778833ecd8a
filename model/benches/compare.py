"""Measures our models beside scikit-learn, fastText and Vowpal Wabbit: same files, same run, one core.

    python3 model/benches/compare.py [CORPUS] [--rounds 3] [--sentences 1000000] [--only WORD ...]

CORPUS is a file as `threatwatch dataset import` reads it; without one the sample corpus is used, whose sentences are
invented: its speeds mean something, its quality does not. Linux only; needs cargo and Python 3 with venv and pip. The
others are installed as wheels, pinned in requirements.txt beside this file, into target/bench-venv; one that cannot be
installed is left out and named. Prints tables in Markdown, and writes every single measurement to target/bench.json.
Ctrl-C ends it early, with what there is by then.

How it is measured: every measurement is a process of its own, on one CPU, with one thread, and the contenders take
turns: all of them once, then all of them again. The tables show the best of the rounds, and in brackets how many times
as much the program takes as the first of its group. What took over a minute is measured once; what takes more than
--timeout seconds is ended, and the table says so. Peak memory is the kernel's figure for that one process, interpreter
and libraries included. Quality comes from five folds by commenter, computed here in the same way from everybody's
scores. Keep the machine otherwise idle: the last lines say how far the rounds were apart.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SAMPLE = HERE.parent / "data" / "sample.txt"
VENV = ROOT / "target" / "bench-venv"
REPORT = ROOT / "target" / "bench.json"
REQUIREMENTS = HERE / "requirements.txt"

FOLDS = 5
LONG = 60  # seconds after which a measurement is not repeated
POLL = 0.002
ONE_THREAD = dict.fromkeys(
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "RAYON_NUM_THREADS"], "1"
)
OURS = "ours"

# Like stands next to like; the first of a group is what the others are compared with.
# (name of the model, who has it, what it is)
GROUPS = {
    "Words": [
        ("unigram_nb", OURS, "threatwatch: naive Bayes as scikit-learn's defaults"),
        ("sklearn_unigram_nb", "scikit-learn", "scikit-learn: CountVectorizer, MultinomialNB"),
    ],
    "Words and word pairs": [
        ("bigram_nb", OURS, "threatwatch: `multinomial_nb`"),
        ("sklearn_bigram_nb", "scikit-learn", "scikit-learn: CountVectorizer 1-2, MultinomialNB(alpha=0.1)"),
        ("sklearn_word_svc", "scikit-learn", "scikit-learn: TfidfVectorizer 1-2, LinearSVC"),
        ("vw_one_pass", "vowpalwabbit", "Vowpal Wabbit: logistic, word pairs, one pass"),
        ("vw_three_passes", "vowpalwabbit", "Vowpal Wabbit: the same, three passes, 22 bits"),
        ("fasttext", "fasttext-community", "fastText: its defaults (words only)"),
    ],
    "Words, word pairs and characters": [
        ("linear_svc", OURS, "threatwatch: `linear_svc`"),
        ("stacked", OURS, "threatwatch: `stacked`"),
        ("sklearn_char_svc", "scikit-learn", "scikit-learn: tf-idf of words 1-2 and characters 2-5, LinearSVC"),
        ("fasttext_subwords", "fasttext-community", "fastText: word pairs, characters 3-5, 10 epochs"),
    ],
}
MEASUREMENTS = {
    "fit_corpus": ("fit", "all.jsonl"),
    "predict_corpus": ("predict", "all.jsonl", "all.jsonl"),
    "latency": ("latency", "all.jsonl", "all.jsonl"),
    "fit_many": ("fit", "many.jsonl"),
    "predict_many": ("predict", "all.jsonl", "many.jsonl"),
}
PACKAGES = ["scikit-learn", "fasttext-community", "vowpalwabbit"]
# Programs that read a format of their own, as their models' names begin.
CONVERTED = ["fasttext", "vw"]


class NotRun(Exception):
    """A measurement that gave nothing, and why."""


def say(message):
    print(message, file=sys.stderr, flush=True)


# --- one process, one measurement ---


def peak_of(pid):
    """The highest resident size so far of a process's own memory, in KiB; 0 once it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def run(command, cpu, timeout):
    """Standard output of a command on one CPU, and its peak memory in bytes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            env={**os.environ, **ONE_THREAD},
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )
        deadline, peak, ended = time.monotonic() + timeout, 0, 0
        try:
            while not ended:
                peak = max(peak, peak_of(child.pid))
                if time.monotonic() > deadline:
                    raise NotRun(f"over {timeout} s")
                time.sleep(POLL)
                ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        finally:
            if not ended:
                os.kill(child.pid, signal.SIGKILL)
                _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        # A child starts with its parent's peak in its account. Above that the kernel's figure is the child's own and
        # exact; below it the figure is what was last seen of the child's memory.
        if usage.ru_maxrss > peak_of("self"):
            peak = usage.ru_maxrss
        out.seek(0)
        errors.seek(0)
        if child.returncode != 0:
            last = errors.read().decode(errors="replace").strip().split("\n")[-1]
            raise NotRun(f"failed ({child.returncode}): {last[:200]}")
        return out.read().decode(), peak * 1024


# --- what there is to run ---


def our_program():
    """The executable of benches/measure.rs, built if need be."""
    say("building our side")
    build = ["cargo", "bench", "-p", "model", "--bench", "measure", "--no-run", "--message-format=json"]
    built = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=1800)
    if built.returncode != 0:
        raise SystemExit("cargo cannot build `measure`")
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "measure":
            if message.get("executable"):
                return message["executable"]
    raise SystemExit("cargo built no `measure`")


def installed():
    """Makes the environment; the packages in it with their versions, and those that cannot be had."""
    done, wanted = VENV / "installed.json", REQUIREMENTS.read_text(encoding="utf-8")
    if done.exists():
        known = json.loads(done.read_text(encoding="utf-8"))
        if known["requirements"] == wanted and not known["missing"]:
            return known["versions"], []
    say("installing the others")
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True, timeout=300)
    pip, missing = [VENV / "bin" / "pip", "--disable-pip-version-check"], []
    for package in PACKAGES:
        install = [*pip, "install", "--quiet", "--only-binary", ":all:", "--constraint", REQUIREMENTS, package]
        try:
            subprocess.run(install, check=True, timeout=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            say(f"{package} cannot be installed here: its measurements are left out")
            missing.append(package)
    listed = subprocess.run([*pip, "list", "--format", "json"], check=True, capture_output=True, timeout=60).stdout
    versions = {package["name"]: package["version"] for package in json.loads(listed)}
    done.write_text(json.dumps({"requirements": wanted, "versions": versions, "missing": missing}), encoding="utf-8")
    return versions, missing


class Bench:
    def __init__(self, arguments, directory):
        cpus = sorted(os.sched_getaffinity(0))
        self.cpu, self.timeout, self.rounds = cpus[-1], arguments.timeout, arguments.rounds
        if len(cpus) > 1:
            os.sched_setaffinity(0, cpus[:-1])
        self.directory = directory
        # A copy: the build may be replaced while this runs.
        self.ours = shutil.copy(our_program(), directory / "measure")
        self.versions, missing = installed()
        self.names, self.problems = [], [f"{package} could not be installed here." for package in missing]
        for contenders in GROUPS.values():
            for name, package, _ in contenders:
                chosen = not arguments.only or any(word in name for word in arguments.only)
                if chosen and package not in missing:
                    self.names.append(name)
        self.is_ours = {name: who == OURS for group in GROUPS.values() for name, who, _ in group}
        self.results = {name: {} for name in self.names}

    def file(self, name):
        return str(self.directory / name)

    def command(self, measurement, name, *paths):
        contenders = [str(VENV / "bin" / "python"), str(HERE / "contenders.py")]
        program = [self.ours] if self.is_ours.get(name, False) else contenders
        return [*program, measurement, name, *paths]

    def prepare(self, corpus, sentences):
        """Writes the files that everybody reads, and those in formats that only one program reads."""
        say("writing the files")
        try:
            run([self.ours, "split", str(corpus), str(self.directory)], self.cpu, self.timeout)
            run([self.ours, "perturb", str(corpus), str(sentences), self.file("many.jsonl")], self.cpu, self.timeout)
        except NotRun as why:
            raise SystemExit(f"the corpus cannot be prepared: {why}") from None
        folds = [f"fold-{k}-{side}.jsonl" for k in range(FOLDS) for side in ("train", "test")]
        for program in CONVERTED:
            names = [name for name in self.names if name.startswith(program)]
            seconds = {}
            try:
                for file in ["all.jsonl", "many.jsonl", *folds] if names else []:
                    out, _ = run(self.command("convert", names[0], self.file(file)), self.cpu, self.timeout)
                    seconds[file] = json.loads(out)["seconds"]
            except NotRun as why:
                self.problems.append(f"{program} is left out, its files cannot be written: {why}")
                self.names = [name for name in self.names if name not in names]
            for name in names:
                for key, file in (("convert_corpus", "all.jsonl"), ("convert_many", "many.jsonl")):
                    self.results[name][key] = seconds.get(file)

    def rows(self, file):
        with open(self.file(file), encoding="utf-8") as lines:
            return [json.loads(line)["label"] == 1 for line in lines]

    def quality(self, name):
        pairs = []
        for k in range(FOLDS):
            train, test = f"fold-{k}-train.jsonl", f"fold-{k}-test.jsonl"
            out, _ = run(self.command("scores", name, self.file(train), self.file(test)), self.cpu, self.timeout)
            scores, threats = [float(line) for line in out.split()], self.rows(test)
            if len(scores) != len(threats):
                raise NotRun(f"{len(scores)} scores for {len(threats)} sentences")
            pairs += zip(scores, threats)
        return quality_of(pairs)

    def measure(self):
        for name in self.names:
            say(f"quality: {name}")
            try:
                self.results[name]["quality"] = self.quality(name)
            except NotRun as why:
                self.results[name]["quality"] = {"not_run": str(why)}
        for number in range(self.rounds):
            for key, (measurement, *files) in MEASUREMENTS.items():
                paths = [self.file(file) for file in files]
                for name in self.names:
                    entry = self.results[name].setdefault(key, {"runs": []})
                    if "not_run" in entry or entry.get("long"):
                        continue
                    started = time.monotonic()
                    try:
                        out, peak = run(self.command(measurement, name, *paths), self.cpu, self.timeout)
                        answer = json.loads(out)
                        entry["runs"].append({**answer, "peak_bytes": peak})
                        entry["long"] = time.monotonic() - started > LONG
                        shown = answer.get("seconds") or answer["p50_ns"] / 1e9
                        say(f"round {number + 1}, {key}, {name}: {shown:.3g} s, {peak / 1e6:.0f} MB")
                    except NotRun as why:
                        entry["not_run"] = str(why)
                        say(f"round {number + 1}, {key}, {name}: not run: {why}")


# --- what the scores are worth ---


def quality_of(pairs):
    """Average precision, recall at 5% false positives and the best F1; equal scores stand or fall together."""
    pairs = sorted(pairs, key=lambda pair: -pair[0])
    positives = sum(is_threat for _, is_threat in pairs)
    negatives = len(pairs) - positives
    true, false, precision, recall, f1, at = 0, 0, 0.0, 0.0, 0.0, 0
    while at < len(pairs):
        score, hits, size = pairs[at][0], 0, 0
        while at < len(pairs) and pairs[at][0] == score:
            hits, size, at = hits + pairs[at][1], size + 1, at + 1
        true, false = true + hits, false + size - hits
        precision += hits / positives * true / (true + false)
        f1 = max(f1, 2 * true / (positives + true + false))
        if false <= 0.05 * negatives:
            recall = true / positives
    return {"pr_auc": precision, "recall_at_5_percent_fpr": recall, "best_f1": f1, "sentences": len(pairs)}


# --- what is printed ---


def best(results, key, field):
    """The best of the rounds, or nothing."""
    runs = results.get(key, {}).get("runs", [])
    return min((run[field] for run in runs), default=None)


def duration(seconds):
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            break
    return f"{three(seconds * factor)} {unit}"


def three(number):
    """Three digits at most, or as many as stand before the point."""
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}"


def rate(per_second):
    return f"{three(per_second / 1e6)}M/s" if per_second >= 1e6 else f"{three(per_second / 1e3)}k/s"


def memory(size):
    return f"{three(size / 1e6)} MB"


def cell(results, reference, key, field, show):
    """A figure and how many times the reference's it is."""
    value, base = best(results, key, field), best(reference, key, field)
    if value is None:
        return results.get(key, {}).get("not_run", "not run")
    shown = show(results[key]["runs"][0]["sentences"] / value) if show is rate else show(value)
    return shown if results is reference or base is None else f"{shown} ({three(value / base)}x)"


def fit_cell(results, reference, which):
    """Fitting, and for a program with a format of its own also with the making of that format."""
    shown = cell(results, reference, f"fit_{which}", "seconds", duration)
    value, base = best(results, f"fit_{which}", "seconds"), best(reference, f"fit_{which}", "seconds")
    making = results.get(f"convert_{which}")
    if value is None or base is None or making is None:
        return shown
    return f"{shown}; {duration(value + making)} ({three((value + making) / base)}x)"


def quality_cells(results):
    quality = results.get("quality", {})
    if "pr_auc" not in quality:
        return [quality.get("not_run", "not run"), "", ""]
    return [f"{quality[field]:.3f}" for field in ("pr_auc", "recall_at_5_percent_fpr", "best_f1")]


def table(bench, columns, cells):
    print("| program | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for group, contenders in GROUPS.items():
        present = [(name, what) for name, _, what in contenders if name in bench.results]
        if present:
            print(f"| **{group}** |" + " |" * len(columns))
        reference = bench.results[present[0][0]] if present else {}
        for name, what in present:
            print(f"| {what} | " + " | ".join(cells(bench.results[name], reference)) + " |")
    print()


def spread(bench):
    """The measurement whose rounds were furthest apart, slowest by fastest."""
    widest = (1.0, "nothing was repeated")
    for name, results in bench.results.items():
        for key in MEASUREMENTS:
            runs = results.get(key, {}).get("runs", [])
            times = [run.get("seconds") or run["p50_ns"] for run in runs]
            if len(times) > 1:
                widest = max(widest, (max(times) / min(times), f"{name}, {key}"))
    return f"{three(widest[0])} ({widest[1]})"


def report(bench, about):
    size, many = about["corpus"]["sentences"], about["many"]

    def corpus_cells(own, first):
        return [
            *quality_cells(own),
            fit_cell(own, first, "corpus"),
            cell(own, first, "predict_corpus", "seconds", rate),
            cell(own, first, "latency", "p50_ns", lambda ns: duration(ns / 1e9)),
            cell(own, first, "latency", "p99_ns", lambda ns: duration(ns / 1e9)),
        ]

    def many_cells(own, first):
        return [
            fit_cell(own, first, "many"),
            cell(own, first, "fit_many", "peak_bytes", memory),
            cell(own, first, "predict_many", "seconds", rate),
            cell(own, first, "predict_many", "peak_bytes", memory),
        ]

    print(f"The corpus, {size:,} sentences, {about['corpus']['threats']:,} threats:\n")
    quality = ["PR-AUC", "recall at 5% FPR", "best F1"]
    table(bench, [*quality, "fit", "predict", "one sentence, p50", "p99"], corpus_cells)
    print(f"{many:,} perturbed sentences; the model that predicts is the corpus's:\n")
    table(bench, ["fit", "peak memory", "predict", "peak memory"], many_cells)
    for problem in bench.problems:
        print(f"- {problem}")
    print("- fastText and Vowpal Wabbit read formats of their own: lower case, no punctuation. Making them, in Python,")
    print("  is in the second of their two figures for fit and in no other figure of theirs.")
    print("- Vowpal Wabbit reads model and sentences from files when it predicts, and does not write its scores.")
    print("- Our quality, but for the first, counts the scores of neighbouring sentences; our speed does not.")
    print(f"- {about['processor']}, one core; load {about['load'][0]:.1f} before, {about['load'][1]:.1f} after.")
    print(f"- Best of {bench.rounds} rounds; the slowest was at most {spread(bench)} times the fastest.")
    print("- " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()) + ".")


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", nargs="?", type=pathlib.Path, default=SAMPLE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=1_000_000, help="in the big file")
    parser.add_argument("--timeout", type=int, default=300, help="seconds for one measurement")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only models with one of these in their names")
    arguments = parser.parse_args()
    if not arguments.corpus.is_file():
        parser.error(f"there is no file {arguments.corpus}")
    with tempfile.TemporaryDirectory(prefix="threatwatch-compare-") as directory:
        bench = Bench(arguments, pathlib.Path(directory))
        bench.prepare(arguments.corpus.resolve(), arguments.sentences)
        before = os.getloadavg()[0]
        try:
            bench.measure()
        except KeyboardInterrupt:
            bench.problems.append("Stopped before its end: some of it was measured less often, or not at all.")
        threats = bench.rows("all.jsonl")
        about = {
            "corpus": {"name": arguments.corpus.name, "sentences": len(threats), "threats": sum(threats)},
            "many": arguments.sentences,
            "rounds": arguments.rounds,
            "timeout_seconds": arguments.timeout,
            "processor": processor(),
            "load": [before, os.getloadavg()[0]],
            "versions": {"Python": platform.python_version(), **{p: bench.versions.get(p) for p in PACKAGES}},
        }
        REPORT.write_text(json.dumps({**about, "results": bench.results}, indent=1) + "\n", encoding="utf-8")
        report(bench, about)


main()

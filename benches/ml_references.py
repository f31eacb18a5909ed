#!/usr/bin/env python3
"""Compares Fluvial's learners with scikit-learn and river on the same data and settings.

    pip install scikit-learn river
    cargo build --release
    python3 benches/ml_references.py [--fluvial target/release/fluvial] [--speed] [--stored]

Prints, for each learner, the figure of both sides and how far apart they are; exits with 1 if one is out of tolerance. The data
are made here, seeded. With --speed also records a second of both sides, one thread each. With --stored nothing is compared: the
answers of scikit-learn and river are printed as ml/tests/references.rs has them, on data that the test makes too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import ElasticNet, LogisticRegression, SGDClassifier
from sklearn.svm import LinearSVC

TOLERANCE = 1e-3


def classes(records, width, seed):
    random = np.random.default_rng(seed)
    y = np.where(random.random(records) < 0.4, 1, -1)
    x = random.normal(size=(records, width)) + 0.3 * y[:, None] * random.random(width)
    return x, y


def write(path, x, y=None):
    columns = [f"x{i}" for i in range(x.shape[1])] + (["y"] if y is not None else [])
    table = x if y is None else np.column_stack([x, y])
    np.savetxt(path, table, delimiter=",", header=",".join(columns), comments="", fmt="%.17g")


class Compare:
    def __init__(self, fluvial, folder):
        self.fluvial, self.folder, self.failed = fluvial, folder, False

    def run(self, *args):
        report = self.folder / "report.json"
        subprocess.run([self.fluvial, "ml", *map(str, args), "--report", report], check=True, stdout=subprocess.DEVNULL)
        return json.loads(report.read_text())

    def say(self, name, ours, theirs, tolerance=TOLERANCE):
        apart = abs(ours - theirs) / max(abs(theirs), 1e-12)
        wrong = apart > tolerance
        self.failed |= wrong
        print(f"{name:34} fluvial {ours:14.8g}   reference {theirs:14.8g}   apart {apart:.1e}{'   OUT OF TOLERANCE' if wrong else ''}")


def svm(compare, path, x, y):
    report = compare.run("train", "svm", path, "--label", "y", "--model", compare.folder / "m", "--set", "tolerance=1e-4")
    # The intercept is part of the penalty on both sides.
    model = LinearSVC(C=1.0, loss="hinge", tol=1e-6, max_iter=1_000_000, intercept_scaling=1.0).fit(x, y)
    w, b = model.coef_[0], model.intercept_[0]
    objective = (w @ w + b * b) / 2 + np.maximum(0, 1 - y * (x @ w + b)).sum()
    compare.say("svm, objective", report["learner"]["objective"], objective)
    compare.say("svm, accuracy", report["train"]["accuracy"], model.score(x, y), 5e-3)


def logistic(compare, path, x, y):
    for name, ratio in [("l2", 0.0), ("elastic net", 0.5), ("l1", 1.0)]:
        penalty = 0.01
        report = compare.run(
            "train", "logistic", path, "--label", "y", "--model", compare.folder / "m", "--set", f"penalty={penalty}",
            "--set", f"l1_ratio={ratio}", "--set", "tolerance=1e-8", "--set", "rounds=3000",
        )
        model = LogisticRegression(
            penalty="elasticnet", solver="saga", l1_ratio=ratio, C=1 / (penalty * len(y)), tol=1e-10, max_iter=50_000
        ).fit(x, y)
        w, b = model.coef_[0], model.intercept_[0]
        loss = np.logaddexp(0, -y * (x @ w + b)).mean()
        objective = loss + penalty * (ratio * np.abs(w).sum() + (1 - ratio) / 2 * (w @ w))
        compare.say(f"logistic, {name}, objective", report["learner"]["objective"], objective, 1e-5)


def linear(compare, path, x, y):
    penalty, ratio = 0.05, 0.5
    report = compare.run(
        "train", "linear", path, "--label", "y", "--model", compare.folder / "m", "--set", f"penalty={penalty}",
        "--set", f"l1_ratio={ratio}", "--set", "tolerance=1e-8", "--set", "rounds=3000",
    )
    model = ElasticNet(alpha=penalty, l1_ratio=ratio, tol=1e-12, max_iter=1_000_000).fit(x, y)
    w = model.coef_
    objective = ((y - model.predict(x)) ** 2).mean() / 2 + penalty * (ratio * np.abs(w).sum() + (1 - ratio) / 2 * (w @ w))
    compare.say("linear, elastic net, objective", report["learner"]["objective"], objective, 1e-5)
    compare.say("linear, r2", report["train"]["r2"], model.score(x, y), 1e-5)


def kmeans(compare, folder):
    random = np.random.default_rng(3)
    x = random.normal(size=(5000, 4)) + random.integers(0, 5, size=(5000, 1)) * 8
    path = folder / "points.csv"
    write(path, x)
    report = compare.run("train", "kmeans", path, "--model", folder / "m", "--set", "k=5", "--set", "tolerance=0")
    compare.say("kmeans, sse", report["train"]["sse"], KMeans(5, n_init=10, random_state=1, tol=0).fit(x).inertia_)


def prequential(model, x, y):
    right = 0
    for row, label in zip(x, y):
        features = dict(enumerate(row))
        right += (model.predict_one(features) or False) == (label > 0)
        model.learn_one(features, label > 0)
    return right / len(y)


def passive_aggressive():
    from river import linear_model

    return linear_model.PAClassifier(C=1.0, mode=1, learn_intercept=False)


def ftrl():
    """Its weights follow a record when the next one comes, so they are not those of the published rule; what is right is close."""
    from river import linear_model, optim

    return linear_model.LogisticRegression(optim.FTRLProximal(alpha=0.1, beta=1.0, l1=0.0, l2=0.0), intercept_lr=0.0)


def online(compare, x, y):
    # The intercept of river's passive-aggressive rule is no part of a record's norm, and that of its logistic regression follows
    # another rule than the weights. On both sides it is the weight of a feature that is always 1.
    x = np.column_stack([x, np.ones(len(y))])
    path = compare.folder / "with_one.csv"
    write(path, x, y)
    for name, model in [("pa", passive_aggressive()), ("ftrl", ftrl())]:
        report = compare.run("online", name, path, "--label", "y", "--set", "intercept=false")
        compare.say(f"online {name}, accuracy", report["accuracy"], prequential(model, x, y))


def stored_data(records=400, width=5):
    """Uniform numbers of SplitMix64, and labels by a linear rule with noise: as ml/tests/references.rs makes them."""
    state, mask = 42, (1 << 64) - 1

    def unit():
        nonlocal state
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return ((z ^ (z >> 31)) >> 11) / (1 << 53)

    x, number = np.empty((records, width)), np.empty(records)
    for i in range(records):
        x[i] = [2 * unit() - 1 for _ in range(width)]
        number[i] = 1.5 * x[i, 0] - x[i, 1] + 0.5 * x[i, 2] + 0.25 + 0.8 * (unit() + unit() - 1)
    return x, number, np.where(number > 0, 1, -1)


def stored():
    x, number, y = stored_data()
    n = len(y)
    model = LinearSVC(C=1.0, loss="hinge", tol=1e-10, max_iter=100_000_000, intercept_scaling=1.0).fit(x, y)
    w, b = model.coef_[0], model.intercept_[0]
    print("SVM_OBJECTIVE", repr((w @ w + b * b) / 2 + np.maximum(0, 1 - y * (x @ w + b)).sum()))
    for ratio in [0.0, 0.5, 1.0]:
        penalty = 0.01
        model = LogisticRegression(
            penalty="elasticnet", solver="saga", l1_ratio=ratio, C=1 / (penalty * n), tol=1e-13, max_iter=1_000_000
        ).fit(x, y)
        print("LOGISTIC", ratio, [float(v) for v in (*model.coef_[0], model.intercept_[0])])
        model = ElasticNet(alpha=penalty, l1_ratio=ratio, tol=1e-15, max_iter=1_000_000).fit(x, number)
        print("LINEAR", ratio, [float(v) for v in (*model.coef_, model.intercept_)])
    model = KMeans(4, init=x[:4], n_init=1, tol=0, max_iter=1000).fit(x)
    print("KMEANS", [float(v) for v in model.cluster_centers_.ravel()])
    sgd = SGDClassifier(loss="hinge", alpha=1e-3, learning_rate="constant", eta0=0.1, average=False, shuffle=False)
    for row, label in zip(x, y):
        sgd.partial_fit(row[None], [label], [-1, 1])
    print("SGD", [float(v) for v in (*sgd.coef_[0], sgd.intercept_[0])])
    x = np.column_stack([x, np.ones(n)])
    model = passive_aggressive()
    print("PA", prequential(model, x, y), [float(model.weights[i]) for i in range(x.shape[1])])


def speed(compare, folder):
    x, y = classes(200_000, 20, 9)
    path = folder / "speed.csv"
    write(path, x, y)
    for algorithm in ["svm", "pa", "ftrl", "sgd", "kmeans"]:
        report = compare.run("online", algorithm, path, *([] if algorithm == "kmeans" else ["--label", "y"]))
        print(f"fluvial online {algorithm}: {report['records_per_second']:.0f} records/s with reading CSV, {report['p50_ns']} ns a record")
    model, started = SGDClassifier(), time.time()
    for first in range(0, len(y), 1000):
        model.partial_fit(x[first : first + 1000], y[first : first + 1000], [-1, 1])
    print(f"scikit-learn SGDClassifier by 1000: {len(y) / (time.time() - started):.0f} records/s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fluvial", default="target/release/fluvial")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--stored", action="store_true")
    args = parser.parse_args()
    if args.stored:
        stored()
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare = Compare(args.fluvial, folder)
        x, y = classes(3000, 10, 1)
        path = folder / "classes.csv"
        write(path, x, y)
        svm(compare, path, x, y)
        logistic(compare, path, x, y)
        linear(compare, path, x, y)
        kmeans(compare, folder)
        online(compare, x, y)
        if args.speed:
            speed(compare, folder)
    sys.exit(1 if compare.failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares Fluvial's learners with scikit-learn and river on the same data and settings.

    pip install scikit-learn river
    cargo build --release
    python3 benches/ml_references.py [--fluvial target/release/fluvial] [--speed]

Prints, for each learner, the figure of both sides and how far apart they are; exits with 1 if one is out of tolerance. The data
are made here, seeded. With --speed also records a second of both sides, one thread each.
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


def online(compare, path, x, y):
    from river import linear_model, optim

    def prequential(model):
        right = 0
        for row, label in zip(x, y):
            features = dict(enumerate(row))
            right += (model.predict_one(features) or False) == (label > 0)
            model.learn_one(features, label > 0)
        return right / len(y)

    report = compare.run("online", "pa", path, "--label", "y")
    # There the intercept is no part of a record's norm: steps differ a little.
    compare.say("online pa, accuracy", report["accuracy"], prequential(linear_model.PAClassifier(C=1.0, mode=1)), 5e-3)
    report = compare.run("online", "ftrl", path, "--label", "y")
    compare.say(
        "online ftrl, accuracy", report["accuracy"], prequential(linear_model.LogisticRegression(optim.FTRLProximal(alpha=0.1, beta=1.0, l1=0, l2=0))), 1e-2
    )


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
    args = parser.parse_args()
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
        online(compare, path, x, y)
        if args.speed:
            speed(compare, folder)
    sys.exit(1 if compare.failed else 0)


if __name__ == "__main__":
    main()

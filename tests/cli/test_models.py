"""fit, predict, summary: numbers against the estimators, and one clear line for every broken file."""

import csv
import io
import re

import numpy as np
import pytest

import moestat as ms


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two lines and a useless column of text."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-2, 2, 120)
    y = np.where(rng.random(120) < 1 / (1 + np.exp(-3 * x)), 1 + 2 * x, -1 - x) + 0.2 * rng.standard_normal(120)
    path = tmp_path_factory.mktemp("data") / "lines.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["dose", "group", "effect"])
        writer.writerows(
            [repr(float(a)), "ab"[i % 2], repr(float(b))] for i, (a, b) in enumerate(zip(x, y, strict=True))
        )
    return path, x, y


def test_fit_predict_summary(moestat, data, tmp_path):
    path, x, y = data
    model = tmp_path / "model.json"
    code, out, err = moestat("fit", path, "--target", "effect", "--experts", 2, "--features", "dose", "-o", model)
    assert code == 0, err
    reference = ms.GaussianMoERegressor(2, random_state=0).fit(x[:, None], y)
    assert float(re.search(r"log-likelihood +(\S+)", out)[1]) == pytest.approx(reference.loglik_, abs=1e-5)
    assert float(re.search(r"^AIC +(\S+)", out, re.MULTILINE)[1]) == pytest.approx(
        reference.aic(x[:, None], y), abs=1e-3
    )
    assert float(re.search(r"^BIC +(\S+)", out, re.MULTILINE)[1]) == pytest.approx(
        reference.bic(x[:, None], y), abs=1e-3
    )
    assert "certificate     certified" in out
    assert "std err" in out
    assert re.search(r"gate\[1\]:dose", out)
    assert "lines.csv: 120 rows, target effect, experts of dose, gate of dose" in out

    code, out, _ = moestat("summary", model)
    assert code == 0
    assert f"log-likelihood  {reference.loglik_:.6f}" in out
    assert "expert[2]:dose" in out
    assert "log_scale" not in out
    scales = [float(found) for found in re.findall(r"expert\[\d\]:scale +(\S+)", out)]
    np.testing.assert_allclose(scales, reference.expert_scale_, rtol=1e-4)
    assert float(re.search(r"^AIC +(\S+)", out, re.MULTILINE)[1]) == pytest.approx(
        reference.aic(x[:, None], y), abs=1e-3
    )
    assert "information rank 8 of 8" in out

    code, out, _ = moestat("predict", model, path)
    assert code == 0
    rows = np.array([[float(v) for v in row] for row in list(csv.reader(io.StringIO(out)))[1:]])
    np.testing.assert_allclose(rows[:, 0], reference.predict(x[:, None]), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(rows[:, 2:], reference.predict_interval(x[:, None], level=0.9), rtol=1e-5, atol=1e-6)
    assert np.all(rows[:, 2] < rows[:, 3])
    code, out, _ = moestat("predict", model, path, "-o", tmp_path / "out.csv")
    assert code == 0
    assert out == ""
    assert len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == 121


def test_polynomial_experts_and_constant_gate(moestat, data):
    path, x, y = data
    code, out, err = moestat(
        "fit", path, "--target", "effect", "--experts", 2, "--features", "dose", "--degree", 2, "--gate", "constant"
    )
    assert code == 0, err
    reference = ms.PolynomialMoERegressor(2, degree=2, gate="constant", random_state=0).fit(x[:, None], y)
    assert float(re.search(r"log-likelihood +(\S+)", out)[1]) == pytest.approx(reference.loglik_, abs=1e-4)


CSV = "x,z,y\n" + "".join(f"{i / 7},{i % 3},{i % 5}\n" for i in range(30))


@pytest.mark.parametrize(
    ("content", "args", "message"),
    [
        (None, (), "there is no file"),
        ("", (), "is empty"),
        ("x,z,y\n", (), "a header and no rows"),
        (CSV[:-3], (), "line 31 has 2 values, the header has 3 (is the file cut short?)"),
        (CSV + '1.5,"2,3\n', (), "is the file cut short?"),
        (CSV, ("--target", "w"), "no column 'w' for --target; its columns are x, z, y"),
        (CSV, ("--features", "x,q"), "no column 'q' for --features"),
        (CSV, ("--features", "x,y"), "the target 'y' cannot be a feature"),
        (CSV.replace("\n1.0,", "\n,"), (), "line 9: column 'x' is empty or NaN"),
        (CSV.replace(",4\n", ",high\n"), (), "line 6: column 'y' is not a number, got 'high'"),
        (
            "x,y\n" + "a,1\nb,2\n" * 9,
            (),
            "no numeric column besides the target 'y'; others: 'x' (line 2: 'a' is not a number)",
        ),
        (CSV.replace(",", ";"), (), "the header 'x;z;y' is one column; separate it with --sep ';'"),
        (CSV.replace(",", "\t"), (), "separate it with --sep tab"),
        (CSV, ("--sep", "::"), "give one character, or tab, got '::'"),
        (CSV, ("--gate", "constant", "--gate-features", "z"), "a constant gate has no features, got --gate-features z"),
        (CSV.replace(",4\n", ",inf\n"), (), "line 6: column 'y' is infinite"),
        (CSV.replace("z", "x"), (), "more than one column named 'x'"),
        (CSV, ("-o", "model.pkl"), "written as .json or .npz"),
        (CSV, ("-o", "no-such-folder/model.json"), "there is no folder no-such-folder to write model.json into"),
        (CSV, ("--experts", "0"), "--experts"),
    ],
)
def test_broken_input(moestat, tmp_path, content, args, message):
    path = tmp_path / "data.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    options = {"--target": "y", "--experts": "2"} | dict(zip(args[::2], args[1::2], strict=True))
    code, out, err = moestat("fit", path, *[part for pair in options.items() for part in pair])
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("Error")]) == 1


@pytest.fixture(scope="module")
def indexed(data):
    """The lines with a written index, a column of truth values, and a text cut at its end."""
    path, x, y = data
    lines = path.read_text(encoding="utf-8").split()
    rows = [f"{i},{line},{'true' if x[i] > 0.5 else 'False'}" for i, line in enumerate(lines[1:])]
    full = path.with_name("indexed.csv")
    full.write_text("\n".join(["," + lines[0] + ",high", *rows]), encoding="utf-8")
    return full, np.column_stack([x, x > 0.5]), y


def test_default_columns_are_the_named_numeric_ones(moestat, indexed, tmp_path):
    path, X, y = indexed
    model = tmp_path / "m.json"
    code, out, err = moestat("fit", path, "--target", "effect", "--experts", 2, "--starts", 4, "-o", model)
    assert code == 0, err
    assert "experts of dose, high, gate of dose, high" in out
    assert "left out 'Unnamed: 0' (a column without a name), 'group' (line 2: 'a' is not a number)" in err
    assert "indexed.csv does not end with a newline" in err
    reference = ms.GaussianMoERegressor(2, random_state=0, n_init=4).fit(X, y)
    assert float(re.search(r"log-likelihood +(\S+)", out)[1]) == pytest.approx(reference.loglik_, abs=1e-4)
    code, out, err = moestat("predict", model, path)
    assert code == 0, err
    first = [float(row.split(",")[0]) for row in out.splitlines()[1:]]
    np.testing.assert_allclose(first, reference.predict(X), atol=1e-4)


def test_an_unnamed_column_can_be_asked_for(moestat, indexed):
    code, out, err = moestat(
        "fit", indexed[0], "--target", "effect", "--experts", 1, "--features", "Unnamed: 0,dose", "--starts", 1
    )
    assert code == 0, err
    assert "experts of Unnamed: 0, dose" in out
    assert "left out" not in err


@pytest.mark.parametrize(("sep", "option"), [(";", ";"), ("\t", "tab")])
def test_other_separators(moestat, data, tmp_path, sep, option):
    other = tmp_path / "other.csv"
    other.write_text(data[0].read_text(encoding="utf-8").replace(",", sep), encoding="utf-8")
    model = tmp_path / "m.json"
    fitted = [
        moestat("fit", path, "--target", "effect", "--experts", 2, "--features", "dose", "--starts", 3, *more)
        for path, more in ((data[0], ()), (other, ("--sep", option, "-o", model)))
    ]
    assert [code for code, _, _ in fitted] == [0, 0]
    assert fitted[1][1].splitlines()[2:-1] == fitted[0][1].splitlines()[2:]
    code, out, _ = moestat("predict", model, other, "--sep", option)
    assert code == 0
    assert len(out.splitlines()) == 121
    code, _, err = moestat("predict", model, other, "-o", tmp_path / "none" / "p.csv")
    assert code == 2
    assert "there is no folder" in err


def test_broken_models(moestat, data, tmp_path):
    assert moestat("summary", tmp_path / "none.json")[2].startswith("Error: there is no file")
    bad = tmp_path / "bad.json"
    bad.write_text("{}", encoding="utf-8")
    code, _, err = moestat("predict", bad, data[0])
    assert code == 2
    assert "is not a saved model" in err

"""Commands around fitted models: fit, predict, summary."""

from __future__ import annotations

import csv
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .app import Trouble

if TYPE_CHECKING:
    import pandas as pd

    from .csvfile import Table

_FILE = click.Path(path_type=Path, dir_okay=False)


def _separator(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """One character; ``tab`` and ``\\t`` are understood."""
    found = "\t" if value.lower() in ("tab", "\\t") else value
    if len(found) != 1 or found in '"\r\n':
        raise click.BadParameter(f"give one character, or tab, got {value!r}")
    return found


_SEP = click.option(
    "--sep", default=",", show_default=True, callback=_separator, metavar="CHAR",
    help="What separates the values of DATA: a character, or tab.",
)  # fmt: skip


def _note(text: str) -> None:
    click.echo(f"note: {text}", err=True)


def _read(path: Path, sep: str) -> Table:
    """The table, with a note if it may have been cut."""
    from .csvfile import read_csv

    table = read_csv(path, sep)
    if not table.ends:
        _note(f"{table.name} does not end with a newline; if it was cut short, its last value is not whole")
    return table


def _check_folder(out: Path) -> None:
    """Raise `Trouble` before the work if its result could not be written."""
    if not out.parent.is_dir():
        raise Trouble(f"there is no folder {out.parent} to write {out.name} into")
    if not os.access(out.parent, os.W_OK):
        raise Trouble(f"the folder {out.parent} cannot be written to")


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """Comma-separated column names."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise click.BadParameter("give at least one column name")
    return list(dict.fromkeys(names))


@click.command("fit")
@click.argument("data", type=_FILE)
@click.option("--target", required=True, help="Column of the response.")
@click.option("--experts", "n_experts", type=click.IntRange(min=1), required=True, help="Number of experts K.")
@click.option(
    "--degree", type=click.IntRange(min=0), default=1, show_default=True, help="Degree of the polynomial experts."
)
@click.option(
    "--gate",
    default="softmax",
    show_default=True,
    metavar="NAME",
    help="softmax, constant, normalized_sigmoid, laplace, gaussian, quadratic, hierarchical, topk, ...",
)
@click.option(
    "--family",
    default="gaussian",
    show_default=True,
    metavar="NAME",
    help="Family of the experts: gaussian, student_t, poisson, negative_binomial, gamma, beta, ...; multinomial for classes.",
)
@click.option(
    "--offset", metavar="COLUMN", help="Column added to the experts' first predictor, as the log of an exposure."
)
@click.option("--exposure", metavar="COLUMN", help="Column whose logarithm is the offset.")
@click.option(
    "--features",
    metavar="A,B,...",
    callback=_names,
    help="Columns for the experts; default: all numeric columns but the target (true and false are 1 and 0).",
)
@click.option(
    "--gate-features", metavar="A,B,...", callback=_names, help="Columns for the gate; default: those of the experts."
)
@click.option("--random-state", type=int, default=0, show_default=True, help="Seed of the starts.")
@click.option("--starts", type=click.IntRange(min=1), default=10, show_default=True, help="Number of starts.")
@_SEP
@click.option("-o", "--out", type=_FILE, help="Write the fitted model here (.json or .npz).")
def fit_command(
    data: Path, target: str, n_experts: int, degree: int, gate: str, family: str, offset: str | None, exposure: str | None,
    features: list[str] | None, gate_features: list[str] | None, random_state: int, starts: int, sep: str, out: Path | None,
) -> None:  # fmt: skip
    """Fit a mixture of experts to the CSV file DATA and print parameters with standard errors."""
    if out is not None:
        if out.suffix not in (".json", ".npz"):
            raise Trouble(f"the model is written as .json or .npz, got {out.name!r}")
        _check_folder(out)
    if gate == "constant" and gate_features:
        raise Trouble(f"a constant gate has no features, got --gate-features {','.join(gate_features)}; leave it out")
    _known_names(gate, family)
    table = _read(data, sep)
    table.require([target], "--target")
    shift = _offset(table, offset, exposure)
    apart = [name for name in (offset, exposure) if name]
    expert_columns = features or [name for name in _numeric_features(table, target) if name not in apart]
    gate_columns = gate_features or expert_columns
    table.require(expert_columns, "--features")
    table.require(gate_columns, "--gate-features")
    if target in expert_columns or target in gate_columns:
        raise Trouble(f"the target {target!r} cannot be a feature")
    names = list(dict.fromkeys([*expert_columns, *gate_columns]))
    X = _frame(table.numbers(names), names)
    options: dict[str, Any] = {"gate": gate, "n_init": starts, "random_state": random_state}
    if expert_columns != names:
        options["expert_features"] = expert_columns
    if gate_columns != names:
        options["gate_features"] = gate_columns
    model = _estimator(family, n_experts, degree, options)
    y: Any = table.columns[target] if family == "multinomial" else table.numbers([target])[:, 0]
    if family == "multinomial":
        empty = [line for line, entry in zip(table.lines, y, strict=True) if not entry.strip()]
        if empty:
            raise Trouble(f"{table.name} line {empty[0]}: column {target!r} is empty; remove or fill such rows")
    y = _series(y, target)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(X, y, offset=shift)
            results = model.inference(X, y, offset=shift)
        except ValueError as error:
            raise Trouble(str(error)) from error
        click.echo(
            f"{table.name}: {len(X)} rows, target {target}, experts of {', '.join(expert_columns)}, "
            + ("constant gate\n" if gate == "constant" else f"gate of {', '.join(gate_columns)}\n")
        )
        click.echo(str(results.summary()))
    click.echo("\n" + _quality(model, len(X)))
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        click.echo(f"warning: {text}", err=True)
    if out is not None:
        model.save(out)
        click.echo(f"model    {out}")


def _known_names(gate: str, family: str) -> None:
    """Raise `Trouble` for a gate or a family that is not in the registry."""
    from ..registry import EXPERTS, GATES

    for option, name, table in (("--gate", gate, GATES), ("--family", family, EXPERTS)):
        if name not in table:
            raise Trouble(f"{option} {name} is not known; give one of {', '.join(sorted(table))}")


def _offset(table: Table, offset: str | None, exposure: str | None) -> Any:
    """The offset of the rows, or None."""
    import numpy as np

    if offset and exposure:
        raise Trouble("--offset and --exposure say the same thing in two ways; give one of them")
    if not (offset or exposure):
        return None
    name = offset or exposure or ""
    table.require([name], "--offset" if offset else "--exposure")
    values = table.numbers([name])[:, 0]
    if offset:
        return values
    if not (values > 0).all():
        line = table.lines[int(np.flatnonzero(~(values > 0))[0])]
        raise Trouble(f"{table.name} line {line}: the exposure {name!r} must be positive")
    return np.log(values)


def _estimator(family: str, n_experts: int, degree: int, options: dict[str, Any]) -> Any:
    from .. import GaussianMoERegressor, MoEClassifier, MoERegressor, PolynomialMoERegressor

    if family == "multinomial":
        return MoEClassifier(n_experts, degree=degree, **options)
    if family != "gaussian":
        return MoERegressor(n_experts, expert=family, degree=degree, **options)
    return (GaussianMoERegressor if degree == 1 else PolynomialMoERegressor)(n_experts, degree=degree, **options)


def _series(values: Any, name: str) -> Any:
    import pandas as pd

    return pd.Series(values, name=name)


def _numeric_features(table: Table, target: str) -> list[str]:
    kept, left_out = table.features(target)
    if not kept:
        others = ", ".join(left_out) or "none"
        raise Trouble(f"{table.name} has no numeric column besides the target {target!r}; others: {others}")
    if left_out:
        _note(f"{table.name}: left out {', '.join(left_out)}; --features names the columns to use")
    return kept


def _frame(values: Any, names: list[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(values, columns=names)


def _quality(model: Any, n: int | None = None) -> str:
    """Log-likelihood, criteria (BIC needs the number of rows) and certificate of a fitted model."""
    from ..inference.criteria import aic, bic
    from .tables import text_table

    certificate = model.result_.certificate
    rows = [
        ["log-likelihood", f"{model.loglik_:.6f}"],
        ["AIC", f"{aic(model.loglik_, model.n_parameters_):.4f}"],
        *([["BIC", f"{bic(model.loglik_, model.n_parameters_, n):.4f}"]] if n else []),
        ["certificate", f"{model.result_.status.name.lower()}: {certificate.decrement:.2e} nats still to be gained"],
        ["", f"{certificate.n_agree} of {certificate.n_followed} followed starts agree ({certificate.n_starts} tried), "
             f"information rank {certificate.rank} of {certificate.n_params}"],
    ]  # fmt: skip
    lines = text_table(["", ""], rows, left=2).splitlines()[1:]
    if not model.converged_:
        lines.append(model.result_.status.value)
    return "\n".join(lines)


def _load(path: Path) -> Any:
    from .. import load

    try:
        return load(path)
    except FileNotFoundError:
        raise Trouble(f"there is no file {path}") from None
    except (ValueError, KeyError, OSError) as error:
        raise Trouble(f"{path.name} is not a saved model: {error}") from error


@click.command("predict")
@click.argument("model", type=_FILE)
@click.argument("data", type=_FILE)
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default="-",
              help="CSV file; default: stdout.")  # fmt: skip
@click.option("--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.9, show_default=True,
              help="Level of the interval.")  # fmt: skip
@click.option("--offset", metavar="COLUMN", help="Column added to the experts' first predictor.")
@click.option("--exposure", metavar="COLUMN", help="Column whose logarithm is the offset.")
@_SEP
def predict_command(
    model: Path, data: Path, out: Path, level: float, offset: str | None, exposure: str | None, sep: str
) -> None:
    """Predict the rows of the CSV file DATA: mean, standard deviation, and an interval of the fitted mixture; or classes."""
    if str(out) != "-":
        _check_folder(out)
    fitted = _load(model)
    table = _read(data, sep)
    names = [str(name) for name in getattr(fitted, "feature_names_in_", [])]
    if not names:
        names = table.features(target="")[0][: fitted.n_features_in_]
        if len(names) < fitted.n_features_in_:
            raise Trouble(f"the model needs {fitted.n_features_in_} numeric columns, {data.name} has {len(names)}")
    table.require(names, "the model")
    values = table.numbers(names)
    X = _frame(values, names) if hasattr(fitted, "feature_names_in_") else values
    shift = _offset(table, offset, exposure)
    header, columns = _predictions(fitted, X, level, shift)
    with click.open_file(str(out), "w", encoding="utf-8", atomic=str(out) != "-") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([value if isinstance(value, str) else repr(float(value)) for value in row] for row in columns)


def _predictions(fitted: Any, X: Any, level: float, offset: Any) -> tuple[list[str], Any]:
    """Header and rows: class and probabilities, or mean, standard deviation and interval where the response is one number."""
    if hasattr(fitted, "predict_proba"):
        labels = [str(label) for label in fitted.predict(X, offset)]
        header = ["class", *(f"P({label})" for label in fitted.classes_)]
        return header, ([label, *row] for label, row in zip(labels, fitted.predict_proba(X, offset), strict=True))
    columns = [fitted.predict(X, offset), fitted.predict_std(X, offset)]
    interval = fitted.predict_interval(X, level=level, offset=offset)
    return ["mean", "std", "lower", "upper"], zip(*columns, interval[:, 0], interval[:, 1], strict=True)


@click.command("summary")
@click.argument("model", type=_FILE)
def summary_command(model: Path) -> None:
    """Show the parameters of a fitted model and the certificate of its fit."""
    from ..inference.reported import reported
    from .tables import text_table

    fitted = _load(model)
    mixture = fitted.model_
    shown = reported(tuple(mixture.free_names()), mixture.free_vector(), tuple(mixture.free_links()))
    rows = [
        [f"{key.part}[{key.expert}]:{key.term}" if key.expert else f"{key.part}:{key.term}", f"{value:.6g}"]
        for key, value in zip(shown.keys, shown.back(shown.values), strict=True)
    ]
    click.echo(
        f"{type(fitted).__name__}, {mixture.n_experts} experts, {mixture.n_features} features, "
        f"{fitted.n_parameters_} free parameters\n"
    )
    click.echo(text_table(["parameter", "value"], rows))
    click.echo("\n" + _quality(fitted))

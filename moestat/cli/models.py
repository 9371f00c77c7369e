"""Commands around fitted models: fit, predict, summary."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .app import Trouble

if TYPE_CHECKING:
    import pandas as pd

_FILE = click.Path(path_type=Path, dir_okay=False)


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
@click.option("--gate", type=click.Choice(["softmax", "constant"]), default="softmax", show_default=True)
@click.option(
    "--features",
    metavar="A,B,...",
    callback=_names,
    help="Columns for the experts; default: all numeric columns but the target.",
)
@click.option(
    "--gate-features", metavar="A,B,...", callback=_names, help="Columns for the gate; default: those of the experts."
)
@click.option("--random-state", type=int, default=0, show_default=True, help="Seed of the starts.")
@click.option("--starts", type=click.IntRange(min=1), default=10, show_default=True, help="Number of starts.")
@click.option("-o", "--out", type=_FILE, help="Write the fitted model here (.json or .npz).")
def fit_command(
    data: Path, target: str, n_experts: int, degree: int, gate: str, features: list[str] | None,
    gate_features: list[str] | None, random_state: int, starts: int, out: Path | None,
) -> None:  # fmt: skip
    """Fit a mixture of experts to the CSV file DATA and print parameters with standard errors."""
    from .csvfile import read_csv

    if out is not None and out.suffix not in (".json", ".npz"):
        raise Trouble(f"the model is written as .json or .npz, got {out.name!r}")
    table = read_csv(data)
    table.require([target], "--target")
    expert_columns = features or _numeric_features(table, target)
    gate_columns = gate_features or expert_columns
    table.require(expert_columns, "--features")
    table.require(gate_columns, "--gate-features")
    if target in expert_columns or target in gate_columns:
        raise Trouble(f"the target {target!r} cannot be a feature")
    names = list(dict.fromkeys([*expert_columns, *gate_columns]))
    X = _frame(table.numbers(names), names)
    y = _frame(table.numbers([target]), [target])[target]

    from .. import GaussianMoERegressor, PolynomialMoERegressor

    options: dict[str, Any] = {"gate": gate, "n_init": starts, "random_state": random_state}
    if expert_columns != names:
        options["expert_features"] = expert_columns
    if gate_columns != names:
        options["gate_features"] = gate_columns
    estimator = GaussianMoERegressor if degree == 1 else PolynomialMoERegressor
    model = estimator(n_experts, degree=degree, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(X, y)
            results = model.inference(X, y)
        except ValueError as error:
            raise Trouble(str(error)) from error
        click.echo(
            f"{table.name}: {len(X)} rows, target {target}, experts of {', '.join(expert_columns)}, "
            f"gate of {', '.join(gate_columns)}\n"
        )
        click.echo(str(results.summary()))
    click.echo("\n" + _quality(model, X, y))
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        click.echo(f"warning: {text}", err=True)
    if out is not None:
        model.save(out)
        click.echo(f"model    {out}")


def _numeric_features(table: Any, target: str) -> list[str]:
    others = [name for name in table.columns if name != target]
    if not others:
        raise Trouble(f"{table.name} has no column besides the target {target!r}")
    text = [name for name in others if not table.is_numeric(name)]
    if text:
        raise Trouble(
            f"{table.name}: not numeric: {', '.join(map(repr, text))}; name the columns to use with --features, "
            f"for example --features {','.join(name for name in others if name not in text) or 'x'}"
        )
    return others


def _frame(values: Any, names: list[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(values, columns=names)


def _quality(model: Any, X: Any, y: Any) -> str:
    from .tables import text_table

    certificate = model.result_.certificate
    rows = [
        ["log-likelihood", f"{model.loglik_:.6f}"],
        ["AIC", f"{model.aic(X, y):.4f}"],
        ["BIC", f"{model.bic(X, y):.4f}"],
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
@click.option(
    "-o", "--out", type=click.File("w", atomic=True, encoding="utf-8"), default="-", help="CSV file; default: stdout."
)
@click.option("--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.9, show_default=True,
              help="Level of the interval.")  # fmt: skip
def predict_command(model: Path, data: Path, out: Any, level: float) -> None:
    """Predict the rows of the CSV file DATA: mean, standard deviation, and an interval of the fitted mixture."""
    from .csvfile import read_csv

    fitted = _load(model)
    table = read_csv(data)
    names = [str(name) for name in getattr(fitted, "feature_names_in_", [])]
    if not names:
        names = [name for name in table.columns if table.is_numeric(name)][: fitted.n_features_in_]
        if len(names) < fitted.n_features_in_:
            raise Trouble(f"the model needs {fitted.n_features_in_} numeric columns, {data.name} has {len(names)}")
    table.require(names, "the model")
    values = table.numbers(names)
    X = _frame(values, names) if hasattr(fitted, "feature_names_in_") else values
    interval = fitted.predict_interval(X, level=level)
    columns = zip(fitted.predict(X), fitted.predict_std(X), interval[:, 0], interval[:, 1], strict=True)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["mean", "std", "lower", "upper"])
    writer.writerows([repr(float(value)) for value in row] for row in columns)


@click.command("summary")
@click.argument("model", type=_FILE)
def summary_command(model: Path) -> None:
    """Show the parameters of a fitted model and the certificate of its fit."""
    from .tables import text_table

    fitted = _load(model)
    mixture = fitted.model_
    rows = [[name, f"{value:.6g}"] for name, value in zip(mixture.free_names(), mixture.free_vector(), strict=True)]
    click.echo(f"{type(fitted).__name__}, {mixture.n_experts} experts, {mixture.n_features} features\n")
    click.echo(text_table(["parameter", "value"], rows))
    certificate = fitted.result_.certificate
    click.echo(
        f"\nlog-likelihood  {fitted.loglik_:.6f}\n"
        f"certificate     {fitted.result_.status.name.lower()}: {certificate.decrement:.2e} nats still to be gained, "
        f"{certificate.n_agree} of {certificate.n_followed} followed starts agree ({certificate.n_starts} tried)"
    )

"""Mendes and Jiang: how many experts, and how complex ones? KL divergence of polynomial experts to a target with two derivatives.

Top: KL against the number m of experts of degree k, one curve for each n; filled circles at the smallest mean. Bottom: KL against
n at the best m, or at the m(n) that the theorem asks for, with the bound on its exponent.
"""

SOURCES = ("polynomial-mendes-jiang",)
DEGREES = (0, 1, 2, 3)


def draw(sources):
    from moestat.plot import plot_rate, plot_u_curves, style
    from moestat.plot.look import new_figure
    from moestat.plot.papers import fit_narrow, letter

    source = sources[SOURCES[0]]
    curves = source.curves
    rates = {label: rate for label, rate in source.rates.items() if label.startswith("kl@")}
    with style():
        figure = new_figure(figsize=(6.9, 4.6))
        top, bottom = figure.subfigures(2, 1)
        shown = curves[(curves["loss"] == "kl") & curves["fit"].isin([f"k{degree}" for degree in DEGREES])]["mean"]
        for i, (ax, degree) in enumerate(zip(top.subplots(1, 4), DEGREES)):
            plot_u_curves(curves, f"k{degree}", ax, limits=(shown.min() / 1.4, shown.max() * 1.4))
            fit_narrow(ax)
            ax.set_title(f"{letter(i)}  Degree k = {degree}")
            ax.label_outer()
            ax.tick_params(labelleft=i == 0)
        for i, (ax, label) in enumerate(zip(bottom.subplots(1, 3), ("kl@m(n):k0", "kl@best-m", "kl@best-m:k3"))):
            plot_rate(rates[label], ax)
            fit_narrow(ax)
            where = "m(n)" if "m(n)" in label else "the best m"
            ax.set_title(f"{letter(4 + i)}  k = {rates[label].fit[1:]}, at {where}")
    return figure


if __name__ == "__main__":
    from moestat.cli.figures import main

    main(__file__)

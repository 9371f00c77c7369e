"""The printed summary: its structure, its digits, and its other formats."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from moestat.inference import UnidentifiedDirection, infer
from moestat.mixture import ConditionalMixture

from .plain_mixture import maximise, two_lines

GOLDEN = """\
                                     Mixture of experts
===========================================================================================
Response:                              y     No. observations:                          400
No. experts:                           2       No. parameters:                            8
Gate:                            softmax     Information rank:                       8 of 8
Experts:                        gaussian       Log-likelihood: #
Covariance:         observed information                  AIC: #
                                                          BIC: #
===========================================================================================
                          estimate     std err         z    P>|z|       [0.025       0.975]
-------------------------------------------------------------------------------------------
Gate
  gate[1]:Intercept       #
  gate[1]:x1              #
Expert 1
  expert[1]:Intercept     #
  expert[1]:x1            #
  expert[1]:scale         #
Expert 2
  expert[2]:Intercept     #
  expert[2]:x1            #
  expert[2]:scale         #
===========================================================================================

Gate: log-odds against expert 2, whose gate coefficients are zero.
Scales are standard deviations; their limits are exponentials of limits on the log scale."""


@pytest.fixture(scope="module")
def fitted():
    return two_lines(np.random.default_rng(8))


def _mask(text):
    """Numbers of the estimates replaced, so that layout and words are compared."""
    masked = []
    for line in text.splitlines():
        if re.match(r"\s+(gate|expert)\[", line):
            masked.append(line[:26] + "#")
        elif "Log-likelihood" in line or "AIC" in line or "BIC" in line:
            masked.append(re.sub(r" +-?[\d.]+$", " #", line))
        else:
            masked.append(line)
    return "\n".join(masked)


def test_layout(fitted):
    X, y, mixture = fitted
    assert _mask(infer(mixture.moestat(), X, y).summary().as_text()) == GOLDEN


def test_rows_hold_the_numbers(fitted):
    X, y, mixture = fitted
    results = infer(mixture.moestat(), X, y)
    line = next(line for line in str(results.summary(alpha=0.1)).splitlines() if "expert[2]:x1" in line)
    shown = [float(word) for word in line.split()[1:]]
    name = "expert[2]:x1"
    limits = results.conf_int(alpha=0.1).loc[name]
    expected = [results.params[name], results.bse[name], results.tvalues[name], results.pvalues[name], *limits]
    np.testing.assert_allclose(shown, expected, atol=6e-3)
    assert "[0.05" in str(results.summary(alpha=0.1))
    scale = next(line for line in str(results.summary()).splitlines() if "expert[2]:scale" in line)
    assert len(scale.split()) == 5  # name, estimate, error, two limits: no test of a zero scale


def test_other_magnitudes_keep_significant_digits(fitted):
    X, y, mixture = fitted
    params = {key: np.array(value) for key, value in mixture.moestat().params.items()}
    for key in ("expert_coef", "expert_intercept", "expert_scale"):
        params[key] = params[key] * 1e-7
    text = infer(ConditionalMixture(params=params), X, y * 1e-7).summary().as_text()
    line = next(line for line in text.splitlines() if "expert[1]:x1" in line)
    assert len(re.findall(r"\d\.\d+e-0[789]", line)) == 4
    assert len({len(line) for line in text.splitlines() if line.startswith("=")}) == 1


def test_html_escapes_names_and_latex_has_tables(fitted):
    X, y, mixture = fitted
    results = infer(mixture.moestat(), X, y, feature_names=["<b>&_50%^2"], response_name="a<b")
    page = results.summary().as_html()
    assert page == results.summary()._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;_50%^2" in page
    opened = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("br",):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert tag == "br" or opened.pop() == tag

    Check().feed(page)
    assert opened == []
    latex = results.summary().as_latex()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") >= 1
    assert r"\_50\%" in latex
    assert r"\%\textasciicircum{}2" in latex
    assert not re.search(r"(?<!\\)[%_#^<]", latex.replace("%\\caption", ""))
    assert "gate[1]:<b>&_50%^2" in results.summary().as_csv()


def test_certificate_line(fitted):
    class Certificate:
        certified, n_agree, n_followed = False, 2, 9

    X, y, mixture = fitted
    text = infer(mixture.moestat(), X, y, certificate=Certificate()).summary().as_text()
    assert re.search(r"Maximum: +NOT certified \(2 of 9 runs\)", text)


def test_clusters_are_counted(fitted):
    X, y, mixture = fitted
    text = infer(mixture.moestat(), X, y, cov_type="cluster", groups=np.arange(400) % 50).summary().as_text()
    assert re.search(r"No\. groups: +50", text)
    assert "sandwich, clustered" in text


def test_weighted_observations(fitted):
    X, y, mixture = fitted
    weights = np.full(400, 2.5)
    weighted = maximise(mixture, X, y, weights)
    text = infer(weighted.moestat(), X, y, sample_weight=weights).summary().as_text()
    assert re.search(r"No\. observations: +1000\b", text)


def test_long_directions_are_cut():
    six = UnidentifiedDirection(0.0, {f"expert[1]:x{j}": 1.0 / j for j in range(1, 7)})
    assert (
        str(six)
        == "expert[1]:x1 + 0.5 expert[1]:x2 + 0.333 expert[1]:x3 + 0.25 expert[1]:x4 + 0.2 expert[1]:x5 and 1 more"
    )
    assert "more" not in str(UnidentifiedDirection(0.0, dict(list(six.coefficients.items())[:5])))

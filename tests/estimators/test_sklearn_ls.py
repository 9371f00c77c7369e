import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
import moestat as ms
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::moestat.exceptions.{name}")
    for name in ("DegeneracyWarning", "SeparationWarning", "CollinearityWarning")
]
@parametrize_with_checks([ms.MoERegressor(objective="least_squares"), ms.SigmoidMoERegressor()])
def test_estimator_check(estimator, check):
    check(estimator)

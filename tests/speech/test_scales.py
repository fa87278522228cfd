"""Scales of frequency against published values, and what a normalisation must not depend on."""

import numpy as np
import pytest

from genome.errors import Error
from genome.speech.scales import bark, erb, lobanov, nearey

MEN = np.array([[270, 2290, 3010], [660, 1720, 2410], [730, 1090, 2440], [300, 870, 2240]], float)
"""The vowels of heed, had, hod and who'd: Peterson & Barney 1952, table II."""


def test_bark_are_critical_bands():
    """Zwicker 1961, JASA 33: edges of critical bands; Traunmüller says that his formula keeps to 0.05 Bark."""
    edges_hz = {2: 200, 5: 510, 8: 920, 12: 1720, 16: 3150, 20: 6400}
    np.testing.assert_allclose(bark(list(edges_hz.values())), list(edges_hz), atol=0.05)
    assert (np.diff(bark(np.arange(0, 16000))) > 0).all()


def test_an_erb_is_as_wide_as_its_formula_says():
    """Glasberg & Moore 1990: 24.7 (4.37 F + 1) Hz with F in kHz; a step as wide as that adds one."""
    f_hz = np.array([100, 500, 1000, 4000])
    wide_hz = 24.7 * (4.37 * f_hz / 1000 + 1)
    np.testing.assert_allclose(erb(f_hz + wide_hz / 2) - erb(f_hz - wide_hz / 2), 1, rtol=0.01)
    assert erb(0) == 0


def test_normalised_vowels_do_not_depend_on_the_tract():
    for normalised in (lobanov, nearey, lambda f: nearey(f, shared=False)):
        np.testing.assert_allclose(normalised(MEN), normalised(1.17 * MEN), atol=1e-12)
    np.testing.assert_allclose(lobanov(MEN).mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(lobanov(MEN).std(0), 1)
    np.testing.assert_allclose(lobanov(MEN + np.array([100, 200, 300])), lobanov(MEN), atol=1e-12)
    assert abs(nearey(MEN).mean()) < 1e-12
    np.testing.assert_allclose(nearey(MEN, shared=False).mean(0), 0, atol=1e-12)


def test_what_cannot_be_normalised():
    with pytest.raises(Error, match="do not differ"):
        lobanov([[500, 1500], [500, 1500]])
    with pytest.raises(Error, match=r"shape \(vowels, formants\), got shape \(2,\)"):
        nearey([500, 1500])
    with pytest.raises(Error, match="above 0 Hz"):
        nearey([[0, 1500]])
    with pytest.raises(Error, match="finite"):
        lobanov([[np.nan, 1500]])

"""CD4: the published training loop and its augmentation."""

from __future__ import annotations

from tests.parity.cd_models import CdModels
from tests.parity.references import Case
from tests.parity.report import Figure


def training_figures(case: Case, models: CdModels) -> list[Figure]:
    return []


def augment_figures(case: Case) -> list[Figure]:
    return []

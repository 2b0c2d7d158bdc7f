"""Exchange of networks with other frameworks through NIR."""

from spikegpt_neuro.exchange.nir_check import check_nir
from spikegpt_neuro.exchange.nir_export import export_nir
from spikegpt_neuro.exchange.nir_import import import_nir, import_nir_with_report

__all__ = ["check_nir", "export_nir", "import_nir", "import_nir_with_report"]

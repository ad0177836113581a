"""What Prometheus reads: the samples of an exposition."""

import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """One answer of /metrics.

    Attributes:
        text: as it came. samples: values by name and labels.
    """

    text: str
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def value(self, name: str, **labels: str) -> float:
        """Of the one sample of that name with these labels among its own; 0 where there is none."""
        wanted = set(labels.items())
        found = [v for (each, has), v in self.samples.items() if each == name and wanted <= has]
        assert len(found) < 2, f"{name} {labels} is not one sample"
        return found[0] if found else 0.0

    @property
    def names(self) -> set[str]:
        """Of all samples."""
        return {name for name, _ in self.samples}


def scrape(address: str) -> Scrape:
    """What http://ADDRESS/metrics answers."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode("utf-8")
    families = text_string_to_metric_families(text)
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    return Scrape(text, samples)

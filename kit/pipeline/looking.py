"""Looks through a dataset before anything is judged, as far as a profile asks for it."""

from dataclasses import replace

from kit.quality.copies import joined_clusters
from kit.quality.look import look_through
from kit.records import DataRecord
from kit.spec.types import Dataset, Metric, Profile

DECIDED_BY_PROFILE: tuple[Metric, ...] = ("data.missing", "data.wrong", "data.duplicates", "data.leaked")
"""Faults that refuse a dataset, unless the profile limits them and so decides itself."""

COPIES = "distinct input"
"""What a cluster is where rows have none but their copies."""


def tolerated(profile: Profile) -> tuple[Metric, ...]:
    """Faults that `load_dataset` lets in for this profile: those that it limits."""
    asked = {requirement.metric for requirement in profile.requirements}
    return tuple(metric for metric in DECIDED_BY_PROFILE if metric in asked)


def asks_for_data(profile: Profile) -> bool:
    """Whether a requirement is about the data, so that it has to be looked through."""
    return any(requirement.metric.startswith("data.") for requirement in profile.requirements)


def look(dataset: Dataset, profile: Profile) -> DataRecord:
    """Every fault found in the dataset as loaded (before `with_joined_clusters`), by the profile's seed."""
    return look_through(dataset, profile.measure.seed)


def with_joined_clusters(dataset: Dataset, profile: Profile) -> Dataset:
    """The dataset for judging: where copies across clusters are tolerated, clusters that share one count as one.

    Otherwise copies would count as independent rows, and bounds would be too narrow. Rows that had no clusters are then
    clusters of `COPIES`, unless no two are alike. The digest of the data stays that
    of the part as it is.
    """
    if "data.duplicates" not in tolerated(profile):
        return dataset
    record = dataset.test.record
    cluster = joined_clusters(dataset.test.inputs, record.cluster)
    column = record.cluster_column or (COPIES if (cluster != record.cluster).any() else None)
    joined = replace(record, cluster=cluster, cluster_column=column)
    return replace(dataset, test=replace(dataset.test, record=joined))

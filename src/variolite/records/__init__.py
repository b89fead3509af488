"""Tabular data: schema, reading, reversible transforms, masked records, grouped splits."""

from variolite.records.delimited import DataWarning
from variolite.records.extraction import group_spellings, groups_of, usable_rows
from variolite.records.fitted import FittedSchema
from variolite.records.propose import Proposal, Remark, propose_schema
from variolite.records.records import MISSING, UNSEEN, ApplyReport, Records
from variolite.records.schema import Column, Schema
from variolite.records.splits import Split, leave_one_group_out, repeated_splits, split_groups
from variolite.records.tables import read_table, units_of
from variolite.records.transforms import TRANSFORMS, FittedChain, TransformSpec, fit_transform_chain
from variolite.records.writing import (
    require_writable,
    write_bytes_atomic,
    write_table,
    write_text_atomic,
)

__all__ = [
    "MISSING",
    "TRANSFORMS",
    "UNSEEN",
    "ApplyReport",
    "Column",
    "DataWarning",
    "FittedChain",
    "FittedSchema",
    "Proposal",
    "Records",
    "Remark",
    "Schema",
    "Split",
    "TransformSpec",
    "fit_transform_chain",
    "group_spellings",
    "groups_of",
    "leave_one_group_out",
    "propose_schema",
    "read_table",
    "repeated_splits",
    "require_writable",
    "split_groups",
    "units_of",
    "usable_rows",
    "write_bytes_atomic",
    "write_table",
    "write_text_atomic",
]

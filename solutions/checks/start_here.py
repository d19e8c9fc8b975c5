"""The first lesson's exercise: one, trivial, to see how an exercise works."""

import torch

from solutions import quadratic
from solutions.checks.exercise import Case, Exercise


def row_after_row(values):
    total = torch.zeros_like(values[0])
    for row in values:
        total = total + row
    return total / len(values)


def halved_with_each(values):
    mean = values[0]
    for row in values[1:]:
        mean = (mean + row) / 2
    return mean


def collected_in_float32(values):
    total = torch.zeros(values.shape[1])
    for row in values:
        total = total + row.float()
    return total / len(values)


EXERCISES = (
    Exercise(
        title="equal attention",
        section="How a lesson works",
        difficulty=1,
        minutes=3,
        reference=quadratic.uniform_attention,
        hints=(
            "If n words share the attention equally, how large is the share of each?",
            "Add the n rows and divide by n. The result has one entry per column, shape (d,).",
            "values.mean(...) does both. Rows are dimension 0.",
        ),
        cases=(
            Case("the rows (1, 0) and (3, 2)", lambda normal: (torch.tensor([[1.0, 0.0], [3.0, 2.0]]),)),
            Case("5 rows of 3 numbers", lambda normal: (normal(5, 3),)),
            Case("one row", lambda normal: (normal(1, 4),)),
            Case("6 rows, two of them alike", lambda normal: (normal(5, 3)[[0, 1, 2, 0, 3, 4]],)),
            Case("float64", lambda normal: (normal(7, 2),), dtype=torch.float64),
            Case("a transposed matrix", lambda normal: (normal(3, 6).T,)),
            Case("5 rows, some of them 0", lambda normal: (normal(5, 4) * torch.tensor([1, 0, 1, 1, 0])[:, None],)),
            Case(
                "5 rows, none of them 0, with numbers that are",
                lambda normal: (normal(5, 3).clamp(min=0) + torch.tensor([0, 0, 1]),),
            ),
        ),
        right_answers=(
            lambda values: values.sum(0) / values.shape[0],
            lambda values: torch.full((len(values),), 1 / len(values), dtype=values.dtype) @ values,
            row_after_row,
        ),
        mistakes={
            "the rows are added but not divided by their number": lambda values: values.sum(0),
            "the mean is taken along each row, over its columns": lambda values: values.mean(1),
            "the sum is divided by the number of columns, not of rows": lambda values: values.sum(0) / values.shape[1],
            "the mean is taken over the whole matrix": lambda values: values.mean(),
            "the largest entry of each column is taken, not the mean": lambda values: values.amax(0),
            "the mean keeps its row dimension, shape (1, d) for (d,)": lambda values: values.mean(0, keepdim=True),
            "every row is replaced by the mean, shape (n, d) for (d,)": lambda values: values.mean(0).expand_as(values),
            "the rows are divided by their number but not added": lambda values: values / len(values),
            "the values are returned as they are": lambda values: values,
            "the mean is taken of the different rows, and a row that comes twice counts once": lambda values: (
                values.unique(dim=0).mean(0)
            ),
            "the sum is divided by n + 1": lambda values: values.sum(0) / (len(values) + 1),
            "the sum is divided by n - 1": lambda values: values.sum(0) / (len(values) - 1),
            "the first row is taken, not the mean of all": lambda values: values[0],
            "the last row is taken, not the mean of all": lambda values: values[-1],
            "the last row is left out": lambda values: values[:-1].sum(0) / max(1, len(values) - 1),
            "each row becomes the mean of the rows up to it, shape (n, d) for (d,)": lambda values: (
                values.cumsum(0) / torch.arange(1, len(values) + 1)[:, None]
            ),
            "the median of each column is taken, not the mean": lambda values: values.median(0).values,
            "the middle between the smallest and the largest entry of each column is taken": lambda values: (
                (values.amin(0) + values.amax(0)) / 2
            ),
            "the first and the last row are averaged, and those between are left out": lambda values: (
                (values[0] + values[-1]) / 2
            ),
            "each row is averaged with the mean so far, and the last row has half of the weight": halved_with_each,
            "the mean over the whole matrix is taken, once for every column": lambda values: values.mean().expand(
                values.shape[1]
            ),
            "the sum is halved, however many rows there are": lambda values: values.sum(0) / 2,
            "the sum is divided by the root of the number of rows": lambda values: values.sum(0) / len(values) ** 0.5,
            "the sum is divided without its fraction (// for /)": lambda values: values.sum(0) // len(values),
            "row i counts i + 1 times, so that later rows weigh more": lambda values: (
                (weights := torch.arange(1, len(values) + 1, dtype=values.dtype)) @ values / weights.sum()
            ),
            "entries of 0 are not counted among the rows": lambda values: (
                values.sum(0) / (values != 0).sum(0).clamp(min=1)
            ),
            "rows of nothing but 0 are not counted": lambda values: (
                values.sum(0) / (values != 0).any(1).sum().clamp(min=1)
            ),
            "each column has a softmax of its own for weights, where all weights are equal": lambda values: (
                values.softmax(0) * values
            ).sum(0),
            "the rows attend to each other by their products before the mean is taken": lambda values: (
                (values @ values.T).softmax(-1) @ values
            ).mean(0),
            "the mean is float32, where it has the dtype of the values": collected_in_float32,
        },
    ),
)

"""What a score is, which variant a run takes, and how variants compare: numbers in and out."""

from celery_defer.scoring.compare import compare_rows
from celery_defer.scoring.comparison import Comparison, Difference, VariantRow
from celery_defer.scoring.experiments import compare
from celery_defer.scoring.readers import Scores, scores
from celery_defer.scoring.score import Score
from celery_defer.scoring.scorer import scorer
from celery_defer.scoring.select import Choice, Selector, bucket, chosen, fixed, weighted
from celery_defer.scoring.statistics import Interval, Summary, interval, mean_of
from celery_defer.scoring.write import score, write_rows

__all__ = [
    "Choice",
    "Comparison",
    "Difference",
    "Interval",
    "Score",
    "Scores",
    "Selector",
    "Summary",
    "VariantRow",
    "bucket",
    "chosen",
    "compare",
    "compare_rows",
    "fixed",
    "interval",
    "mean_of",
    "score",
    "scorer",
    "scores",
    "weighted",
    "write_rows",
]

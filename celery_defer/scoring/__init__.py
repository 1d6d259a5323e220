"""What a score is, which variant a run takes, and how variants compare: numbers in and out."""

from celery_defer.scoring.score import Score
from celery_defer.scoring.select import Choice, Selector, bucket, chosen, fixed, weighted

__all__ = [
    "Choice",
    "Score",
    "Selector",
    "bucket",
    "chosen",
    "fixed",
    "weighted",
]

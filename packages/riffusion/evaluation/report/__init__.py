"""The report of an evaluation.

scores            dataclasses of all scores, as in report.json, and the images behind them
score_table       the main scores as a Markdown table: scores.md
page              the report as a Markdown page: report.md
plots             plots of the scores
contact_sheets    sheets of images
files             writes all of these into a folder
"""

"""Benchmarks as they lie on disk: checked by count and by name, and a selection of their videos.

__main__.py         `eval select`: the command
select.py           its work: a choice from what lies there
given.py            its work where a selection is given: taken over
readers.py          the benchmarks that there are
catalogue.py        what a reader finds: entries, counts, findings
ucf101.py msrvtt.py motion_control.py folder.py    the readers
choice.py           which entries, in which order, with which captions
cutting.py          windows and condition images, in processes that may be killed
integrity.py        damage, doubles, and the report
selection.py        selection.csv and items.csv
"""

"""A user study: blind pages for people, and what their answers say of the methods.

prepare.py   `eval study`: one randomised page a participant, and the key that stays at home
scoring.py   `eval study-score`: answers into preference shares, win rates, agreement
"""

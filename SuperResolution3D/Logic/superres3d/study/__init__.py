"""A reader study: cases from scans, sides that nobody knows, answers that cannot be lost, and what they show.

Nothing here but :mod:`.analyse` and what it calls needs packages of the extra ``study``.  :mod:`.sheet`, :mod:`.answers` and
:mod:`.session` are what a reader's machine runs: they know no method.
"""

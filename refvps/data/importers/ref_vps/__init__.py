"""Ref-VPS as others may lay it out: found out what it is, joined to its sentences, and read into one form.

The authors have not published their layout. Four are plausible, because the field uses them; the same masks give the
same digest from each (see :mod:`refvps.data.importers.ref_vps.layout`).
"""

"""Annotations from what segmentation tools write, checked, with a record of who made them, when and with what.

:func:`refvps.annotate.importing.import_clip` brings one clip into a data set in the form of Ref-VPS;
:func:`refvps.annotate.checks.dataset.check_folder` looks at a whole one.
"""

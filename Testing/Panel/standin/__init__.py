"""A thin stand-in for what only the Slicer application has, so that the real panel runs in real Qt and real MRML.

Real here: Qt itself (PySide6), the .ui file, MRML, VTK and ``slicer.util`` (slicer-core), the
module, the child process.  Stood in for, after the measurements of PythonQt in a running
Slicer: PythonQt's manners (``pythonqt.py``), the qMRML and ctk widgets that the panel uses
(``widgets.py``), the parameter node wrapper (``parameternode.py``), the base classes of a
scripted module (``scriptedmodule.py``) and the application object (``application.py``), which
has no layout manager: views are MRML nodes here, nothing is drawn.  What passes here can
still fail in Slicer.
"""

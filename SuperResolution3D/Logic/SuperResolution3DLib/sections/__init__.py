"""The sections of the panel, an object each.

A section gets its collaborators through its constructor: the form's widgets, what the sections share (:class:`.state.PanelState`),
and what it calls. It connects its widgets itself, and ``refresh`` shows what follows from the choices. No section knows another
by name; :mod:`SuperResolution3DLib.panel` puts them together.
"""

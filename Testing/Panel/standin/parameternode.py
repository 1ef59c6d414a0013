"""The part of ``slicer.parameterNodeWrapper`` that the module uses: strict typed access, and the panel's widgets bound to it.

Types: MRML nodes (as references), enumerations (by member name), str, bool, and float within a range.
"""

from __future__ import annotations

import enum
import typing

import slicer
import slicer.util
import vtk


class WithinRange:
    """Annotation of a number: its least and its largest value."""

    def __init__(self, minimum: float, maximum: float):
        self.minimum, self.maximum = minimum, maximum


def parameterNodeWrapper(kind: type) -> type:
    """Class decorator."""
    hints = typing.get_type_hints(kind, include_extras=True)
    defaults = {name: getattr(kind, name, None) for name in hints}
    for name in hints:
        setattr(kind, name, property(lambda self, n=name: self._read(n), lambda self, value, n=name: self._write(n, value)))
    for key, value in vars(_Behaviour).items():
        if not key.startswith("__") or key == "__init__":
            setattr(kind, key, value)
    kind._hints, kind._defaults = hints, defaults
    return kind


class _Behaviour:
    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis = {}
        self._updating = False
        for name, default in self._defaults.items():
            if default is not None and not parameterNode.HasParameter(name):
                self._write(name, default)

    def _base(self, name):
        hint = self._hints[name]
        return (hint.__origin__, hint.__metadata__) if hasattr(hint, "__metadata__") else (hint, ())

    def _read(self, name):
        kind, _notes = self._base(name)
        if issubclass(kind, slicer.vtkMRMLNode):
            return self.parameterNode.GetNodeReference(name)
        text = self.parameterNode.GetParameter(name)
        if issubclass(kind, enum.Enum):
            return kind[text]
        return text == "True" if kind is bool else kind(text)

    def _write(self, name, value):
        kind, notes = self._base(name)
        if issubclass(kind, slicer.vtkMRMLNode):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, is {value}")
            self.parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
            raise TypeError(f"Value must be of type '{kind}', is type '{type(value)}' value '{value}'")
        for note in notes:
            if not note.minimum <= value <= note.maximum:
                raise ValueError(f"Value must be within range [{note.minimum}, {note.maximum}], is {value}")
        self.parameterNode.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def connectGui(self, gui):
        bound = [_Binding(w, w.property("SlicerParameterName"), self) for w in vars(gui).values() if w.property("SlicerParameterName")]
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show(bound))
        self._guis[tag] = bound
        return tag

    def disconnectGui(self, tag):
        self.RemoveObserver(tag)
        for binding in self._guis.pop(tag):
            binding.release()

    def _show(self, bound):
        if self._updating:
            return
        self._updating = True
        try:
            for binding in bound:
                binding.show()
        finally:
            self._updating = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, was):
        return self.parameterNode.EndModify(was)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)


class _Binding:
    """One widget and one parameter."""

    def __init__(self, widget, name, owner):
        self.widget, self.name, self.owner = widget, name, owner
        kind, notes = owner._base(name)
        self.kind = kind
        signals = {"QComboBox": "currentIndexChanged", "QCheckBox": "stateChanged", "QDoubleSpinBox": "valueChanged", "qMRMLNodeComboBox": "currentNodeChanged"}
        if widget.className() not in signals:
            raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{widget.className()}'.")
        if widget.className() == "QComboBox":
            widget.clear()
            for member in kind:
                widget.addItem(member.label())
        elif widget.className() == "QDoubleSpinBox":
            widget.minimum, widget.maximum = notes[0].minimum, notes[0].maximum
        elif widget.className() == "qMRMLNodeComboBox":
            widget.nodeTypes = [kind.__name__]
        self.show()
        self.signal = getattr(widget, signals[widget.className()])
        self.signal.connect(self.changed)

    def release(self):
        self.signal.disconnect(self.changed)

    def changed(self):
        with slicer.util.NodeModify(self.owner):
            if not self.owner._updating:
                setattr(self.owner, self.name, self.value())

    def value(self):
        widget = self.widget
        if self.kind is bool:
            return widget.checked
        if self.kind is float:
            return widget.value
        return list(self.kind)[widget.currentIndex] if issubclass(self.kind, enum.Enum) else widget.currentNode()

    def show(self):
        value, widget = getattr(self.owner, self.name), self.widget
        if self.kind is bool:
            widget.checked = value
        elif self.kind is float:
            widget.value = value
        elif issubclass(self.kind, enum.Enum):
            widget.currentIndex = list(self.kind).index(value)
        else:
            widget.setCurrentNode(value)

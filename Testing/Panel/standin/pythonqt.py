"""PythonQt's manners over PySide6.

Properties are attributes; slots are calls; unknown names raise, also on assignment;
``connect("signal(type)", f)`` returns True or False and passes as many arguments as ``f``
takes; lists come back as tuples; enumerations are integers; exceptions in slots are printed
and the program goes on (here they are also kept in ``slot_errors``, so that tests see them).
"""

from __future__ import annotations

import enum
import inspect
import traceback
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from shiboken6 import Shiboken

slot_errors: list[BaseException] = []
_NAMESPACES = (QtCore, QtGui, QtWidgets, QtUiTools)
_classes: dict[type, type] = {}
_objects: dict[int, Wrapped] = {}
_connections: dict[tuple[int, str, Any], Any] = {}


class EnumInt(int):
    """An enumeration value: an int that remembers what PySide6 wants back."""

    def __new__(cls, value: enum.Enum):
        made = super().__new__(cls, value.value)
        made.original = value
        return made


class QtClass(type):
    """Class attributes of a wrapped class: enumerations and static functions."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(cls._qt, name)
        return _wrap_callable(found) if callable(found) and not isinstance(found, type) else wrap(found)

    def __call__(cls, *args, **kwargs):
        if kwargs:
            raise ValueError(f"Called {cls.__name__} with keyword arguments, but called slot does not support kwargs.")
        return wrap(_made_by(cls)(*[unwrap(a) for a in args]))


def _made_by(cls: type) -> type:
    """PySide6's class; with the event filter of a class that brings one."""
    if "eventFilter" not in vars(cls):
        return cls._qt

    def event_filter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        return bool(cls.eventFilter(self, wrap(watched), wrap(event)))

    return type(cls.__name__, (cls._qt,), {"eventFilter": event_filter})


class Wrapped(metaclass=QtClass):
    """An object of Qt as PythonQt shows it."""

    _qt: type = object

    def __getattr__(self, name: str) -> Any:
        qt_object = object.__getattribute__(self, "_object")
        if isinstance(qt_object, QtCore.QObject):
            name = "objectName" if name == "name" else name
            if _is_property(qt_object, name):
                return wrap(qt_object.property(name))
        if name == "connect" and isinstance(qt_object, QtCore.QObject):
            return lambda signal, receiver: _connect(qt_object, signal, receiver)
        if name == "disconnect" and isinstance(qt_object, QtCore.QObject):
            return lambda signal, receiver=None: _disconnect(qt_object, signal, receiver)
        if name == "className":
            return lambda: qt_object.metaObject().className()
        found = getattr(qt_object, "exec" if name == "exec_" else name, None)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        if isinstance(found, QtCore.SignalInstance):
            return _Signal(qt_object, name)
        return _wrap_callable(found)

    def __setattr__(self, name: str, value: Any) -> None:
        qt_object = object.__getattribute__(self, "_object")
        name = "objectName" if name == "name" else name
        if not isinstance(qt_object, QtCore.QObject) or not _is_property(qt_object, name):
            raise AttributeError(f"'{name}' does not exist on {type(self).__name__} and creating new attributes on C++ objects is not allowed")
        index = qt_object.metaObject().indexOfProperty(name)
        if index >= 0:
            described = qt_object.metaObject().property(index)
            if not described.isWritable():
                raise AttributeError(f"Property '{name}' of {type(self).__name__} object is not writable")
            if described.typeName() == "QString":
                value = str(value)  # PythonQt turns None into "None"
            elif described.typeName() == "int" and not isinstance(value, (int, float)):
                raise AttributeError(f"Property '{name}' of type 'int' does not accept an object of type {type(value).__name__}")
            elif described.typeName() == "int":
                value = int(value)
            elif described.typeName() == "bool":
                value = bool(value)
        qt_object.setProperty(name, unwrap(value))

    def __bool__(self) -> bool:
        return Shiboken.isValid(self._object) if isinstance(self._object, Shiboken.Object) else True

    def __dir__(self):
        return dir(self._object)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Wrapped) and self._object == other._object

    def __hash__(self) -> int:
        return id(self._object)

    def __repr__(self) -> str:
        return f"{type(self).__name__} (stand-in)"


class _Signal:
    """``widget.clicked`` with ``connect`` and ``disconnect``; a call emits it."""

    def __init__(self, qt_object: QtCore.QObject, name: str):
        self._object, self._name = qt_object, name

    def __call__(self, *args) -> None:
        getattr(self._object, self._name).emit(*[unwrap(a) for a in args])

    def connect(self, receiver: Callable) -> bool:
        return _attach(self._object, self._name, receiver)

    def disconnect(self, receiver: Callable) -> bool:
        return _detach(self._object, self._name, receiver)


def wrap(value: Any) -> Any:
    """A value of PySide6 as PythonQt gives it."""
    if isinstance(value, enum.Enum):
        return EnumInt(value)
    if isinstance(value, (list, tuple)):
        return tuple(wrap(v) for v in value)
    if isinstance(value, type) and issubclass(value, Shiboken.Object):
        return class_for(value)
    if not isinstance(value, Shiboken.Object):
        return value
    if not isinstance(value, QtCore.QObject):
        return _new(value)
    # The same C++ object is always the same Python object; another one may come to lie at its address later.
    address = Shiboken.getCppPointer(value)[0]
    known = _objects.get(address)
    if known is None or known._object is not value:
        known = _objects[address] = _new(value)
    return known


def forget() -> None:
    """Let go of all objects and connections: the next panel starts with none of the last one's."""
    _objects.clear()
    _connections.clear()
    slot_errors.clear()


def unwrap(value: Any) -> Any:
    """What PySide6 wants for a value of the module's code."""
    if isinstance(value, Wrapped):
        return value._object
    if isinstance(value, QtClass):
        return value._qt
    if isinstance(value, EnumInt):
        return value.original
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(v) for v in value)
    if isinstance(value, types.FunctionType):
        return _guard(value)
    return value


def class_for(qt_class: type) -> type:
    """The wrapped class of a class of PySide6."""
    if qt_class not in _classes:
        _classes[qt_class] = QtClass(qt_class.__name__, (Wrapped,), {"_qt": qt_class})
    return _classes[qt_class]


def module(name: str, extra: dict[str, type]) -> types.ModuleType:
    """A module such as ``qt``, whose names are looked up in PySide6."""
    made = types.ModuleType(name)
    for key, value in extra.items():
        setattr(made, key, class_for(value))

    def lookup(wanted: str) -> Any:
        for namespace in _NAMESPACES:
            if hasattr(namespace, wanted) and wanted.startswith("Q"):
                return wrap(getattr(namespace, wanted))
        raise AttributeError(f"module '{name}' has no attribute '{wanted}'")

    made.__getattr__ = lookup
    return made


def _new(qt_object: Any) -> Wrapped:
    made = object.__new__(class_for(type(qt_object)))
    object.__setattr__(made, "_object", qt_object)
    return made


def _is_property(qt_object: QtCore.QObject, name: str) -> bool:
    return qt_object.metaObject().indexOfProperty(name) >= 0 or name.encode() in [bytes(n.data()) for n in qt_object.dynamicPropertyNames()]


def _wrap_callable(function: Callable) -> Callable:
    def call(*args):
        try:
            return wrap(function(*[unwrap(a) for a in args]))
        except TypeError as error:
            raise ValueError(f"Called {function} with wrong arguments: {args} ({error})") from None

    return call


def _connect(qt_object: QtCore.QObject, signal: str, receiver: Callable) -> bool:
    normalized = QtCore.QMetaObject.normalizedSignature(signal)
    normalized = normalized if isinstance(normalized, str) else bytes(normalized.data()).decode()
    normalized = normalized.replace("vtkMRMLNode*", "PyObject")  # as PySide6 calls it
    if qt_object.metaObject().indexOfSignal(normalized) < 0:
        return False
    return _attach(qt_object, normalized.split("(")[0], receiver)


def _disconnect(qt_object: QtCore.QObject, signal: str, receiver: Callable | None) -> bool:
    return _detach(qt_object, signal.split("(")[0], receiver)


def _attach(qt_object: QtCore.QObject, name: str, receiver: Callable) -> bool:
    guarded = _guard(receiver)
    getattr(qt_object, name).connect(guarded)
    _connections[Shiboken.getCppPointer(qt_object)[0], name, receiver] = guarded
    return True


def _detach(qt_object: QtCore.QObject, name: str, receiver: Callable) -> bool:
    guarded = _connections.pop((Shiboken.getCppPointer(qt_object)[0], name, receiver), None)
    if guarded is not None:
        getattr(qt_object, name).disconnect(guarded)
    return True


def _guard(receiver: Callable) -> Callable:
    """Trim the arguments, print an exception and go on."""
    parameters = inspect.signature(receiver).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        count = 99
    else:
        count = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)

    def slot(*args):
        try:
            receiver(*[wrap(a) for a in args[:count]])
        except Exception as error:
            traceback.print_exc()
            slot_errors.append(error)

    return slot

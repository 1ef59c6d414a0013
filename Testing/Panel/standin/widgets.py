"""The qMRML and ctk widgets of the panel, as far as the panel uses them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import ClassVar

import slicer
from PySide6 import QtCore, QtUiTools, QtWidgets

Property, Signal, Slot = QtCore.Property, QtCore.Signal, QtCore.Slot


def _plain(kind: str, name: str, default):
    """A property that only keeps its value."""
    return Property(kind, lambda self: self._kept.get(name, default), lambda self, value: self._kept.__setitem__(name, value))


class qMRMLWidget(QtWidgets.QWidget):
    """Passes the scene on to the widgets that the .ui file connects to ``mrmlSceneChanged``."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.receivers: list[QtWidgets.QWidget] = []

    def setMRMLScene(self, scene) -> None:
        """As qMRML's, for all receivers."""
        for receiver in self.receivers:
            receiver.setMRMLScene(scene)


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A title with an arrow above contents that can be folded away."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed = False
        self._button = QtWidgets.QToolButton(self)
        self._button.setToolButtonStyle(QtCore.Qt.ToolButtonTextBesideIcon)
        self._button.setAutoRaise(True)
        self._button.clicked.connect(lambda: self._set_collapsed(not self._collapsed))
        font = self._button.font()
        font.setBold(True)
        self._button.setFont(font)
        self._arrow()

    def _set_collapsed(self, collapsed: bool) -> None:
        changed, self._collapsed = collapsed != self._collapsed, collapsed
        self._arrow()
        if changed:
            self._fold()
            self.contentsCollapsed.emit(collapsed)

    def _fold(self) -> None:
        """Hide all but the title; what was hidden for itself stays hidden on unfolding."""
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            if child is self._button:
                continue
            if self._collapsed:
                child.setProperty("wasHidden", child.isHidden())
                child.hide()
            else:
                child.setVisible(not child.property("wasHidden"))

    def _arrow(self) -> None:
        self._button.setArrowType(QtCore.Qt.RightArrow if self._collapsed else QtCore.Qt.DownArrow)

    def showEvent(self, event) -> None:
        """The title across the whole width, the contents below it."""
        if self.layout():
            self.layout().setContentsMargins(12, self._button.sizeHint().height() + 4, 4, 4)
        if self._collapsed:
            self._fold()
        self._button.setFixedWidth(self.width())
        super().showEvent(event)

    def resizeEvent(self, event) -> None:
        """The title stays across the whole width."""
        self._button.resize(self.width(), self._button.sizeHint().height())

    def sizeHint(self) -> QtCore.QSize:
        """The title alone where the contents are folded away."""
        title = self._button.sizeHint()
        return title if self._collapsed else super().sizeHint().expandedTo(title)

    def minimumSizeHint(self) -> QtCore.QSize:
        """As :meth:`sizeHint`."""
        return self._button.sizeHint() if self._collapsed else super().minimumSizeHint()

    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)
    text = Property(str, lambda self: self._button.text(), lambda self, text: self._button.setText(text))


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of the scene; follows nodes that come and go."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._kept: dict = {}
        self._scene = None
        self._tags: list[int] = []
        self._nodes: list = []
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._box.currentIndexChanged.connect(lambda: self.currentNodeChanged.emit(self.currentNode()))

    nodeTypes = Property("QStringList", lambda self: self._kept.get("nodeTypes", []), lambda self, v: (self._kept.__setitem__("nodeTypes", list(v)), self._fill()))
    showChildNodeTypes = _plain("bool", "showChildNodeTypes", True)
    noneEnabled = _plain("bool", "noneEnabled", False)
    noneDisplay = _plain("QString", "noneDisplay", "None")
    addEnabled = _plain("bool", "addEnabled", True)
    removeEnabled = _plain("bool", "removeEnabled", True)
    renameEnabled = _plain("bool", "renameEnabled", False)
    selectNodeUponCreation = _plain("bool", "selectNodeUponCreation", True)
    baseName = _plain("QString", "baseName", "")

    def setMRMLScene(self, scene) -> None:
        """Whose nodes are offered; None: no scene."""
        if self._scene is not None:
            for tag in self._tags:
                self._scene.RemoveObserver(tag)
        self._scene = scene
        events = (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent, slicer.vtkMRMLScene.EndCloseEvent)
        self._tags = [scene.AddObserver(event, lambda *_: self._fill()) for event in events] if scene is not None else []
        self._fill()

    def currentNode(self):
        """The chosen node, or None."""
        index = self._box.currentIndex()
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def setCurrentNode(self, node) -> None:
        """Choose a node; nothing is chosen if it is not offered."""
        if node not in self._nodes:
            self._fill()
        self._box.setCurrentIndex(self._nodes.index(node) if node in self._nodes else -1)

    def _fill(self) -> None:
        if self._scene is None:
            return
        chosen = self.currentNode()
        nodes = ([None] if self.noneEnabled else []) + self._fitting()
        texts = [self.noneDisplay if n is None else n.GetName() for n in nodes]
        was_blocked = self._box.blockSignals(True)
        self._nodes = nodes
        self._box.clear()
        self._box.addItems(texts)
        self._box.setCurrentIndex(nodes.index(chosen) if chosen in nodes else (0 if nodes else -1))
        self._box.blockSignals(was_blocked)
        if self.currentNode() is not chosen:
            self.currentNodeChanged.emit(self.currentNode())

    def _fitting(self) -> list:
        """The scene's nodes of the wanted types."""
        found = [n for kind in self.nodeTypes for n in slicer.util.getNodesByClass(kind, self._scene)]
        return found if self.showChildNodeTypes else [n for n in found if n.GetClassName() in self.nodeTypes]


CUSTOM = {kind.__name__: kind for kind in (qMRMLWidget, ctkCollapsibleButton, qMRMLNodeComboBox)}


class UiLoader(QtUiTools.QUiLoader):
    """Qt's own loader, with the custom widgets and the connections that need their C++ signals."""

    _kept: ClassVar[list] = []  # PySide6 would drop the Python half of a custom widget as soon as it is made

    @classmethod
    def forget(cls) -> None:
        """Let go of all widgets that were made."""
        cls._kept.clear()

    def createWidget(self, class_name: str, parent=None, name: str = ""):
        """As Qt's, for the custom widgets too."""
        if class_name not in CUSTOM:
            return super().createWidget(class_name, parent, name)
        made = CUSTOM[class_name](parent)
        made.setObjectName(name)
        self._kept.append(made)
        return made

    def load(self, file):
        """As Qt's, with the scene's connections of the .ui file."""
        content = bytes(file.readAll().data())
        root = ElementTree.fromstring(content)
        links = [(c.findtext("sender"), c.findtext("receiver")) for c in root.iter("connection") if c.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"]
        for connections in root.findall("connections"):
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer)
        for _sender, receiver in links:
            widget.receivers.append(widget.findChild(QtWidgets.QWidget, receiver))
        self._kept.append(widget)
        return widget


"""The reader's panel: a thin picture of :class:`superres3d.study.session.Session`, which decides everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from superres3d.errors import SuperResolutionError
from superres3d.study.session import DONE, INSTRUCTIONS, PAUSED, TRIAL, Session
from superres3d.study.sheet import Sheet, read_picture, read_sheet

from .package_words import in_language
from .study_views import StudyViews

ROLES = ("radiologist", "other physician", "technologist", "scientist", "other")
ANSWERS = "answers"  # folder in the readers' folder
#: keys of Qt -> those of the session
_KEYS = {"Left": "left", "Right": "right", "F": "f", "J": "j", "S": "s", "Backspace": "backspace", "U": "u", "P": "p", "Space": " ", "Return": "enter", "Enter": "enter", **{str(n): str(n) for n in range(1, 6)}}


class StudyPanel:
    """Form, keys and views of one reader.

    Args:
        layout: of the module's panel, to which the form is added.
        parent: the window in which keys count.
        views: where cases are shown.
    """

    def __init__(self, layout: Any, parent: Any, views: StudyViews):
        self.views = views
        self.session: Session | None = None
        self._sheet: Sheet | None = None
        self._shown = ""
        self._make_form(layout)
        self._shortcuts: list[Any] = []
        looks: dict[str, Callable] = {
            "+": lambda: views.magnify(1.25), "=": lambda: views.magnify(1.25), "-": lambda: views.magnify(0.8), "R": views.reset, "Up": lambda: views.leaf(1), "Down": lambda: views.leaf(-1),
        }  # fmt: skip
        for key, name in _KEYS.items():
            self._shortcut(parent, key, lambda name=name: self.key(name))
        for key, look in looks.items():
            self._shortcut(parent, key, look)
        self.listen(False)
        self._refresh()

    def open(self) -> None:
        """Read the study in the named folder, and show the instructions."""
        self.close()
        self._told(lambda: setattr(self, "_sheet", read_sheet(Path(self.folder.text))))
        self._refresh()

    def begin(self) -> None:
        """Start, or go on after a pause."""
        self._told(self._begin)
        self._refresh()

    def key(self, name: str) -> None:
        """What a key does; see :meth:`superres3d.study.session.Session.key`."""
        session = self.session
        if session and (session.state != TRIAL or self._shown == session.trial.name or name == "p"):  # what is not shown is not answered
            self._told(lambda: session.key(name))
            self._refresh()

    def close(self) -> None:
        """Leave the study; its answers are on the disk."""
        self.session = self._sheet = None
        self._shown = ""
        self.listen(False)
        self.views.leave()

    def leave_for_now(self) -> None:
        """Another module is opened: a pause, and keys are that module's."""
        if self.session and self.session.state == TRIAL:
            self.key("p")
        self.listen(False)

    def listen(self, listening: bool) -> None:
        """Whether keys count: they do while a study is open and the module is seen."""
        for shortcut in self._shortcuts:
            shortcut.enabled = listening and self.session is not None

    def _begin(self) -> None:
        if self._sheet is None:
            return
        if self.session is None:
            folder = Path(self.folder.text) / ANSWERS
            folder.mkdir(exist_ok=True)
            self.session = Session(self._sheet, folder, self.reader.value, self.role.currentText)
        self.session.begin()
        self.listen(True)

    def _told(self, action: Callable[[], Any]) -> None:
        """Do something; what goes wrong is told in the panel, and no further answer is taken."""
        self.note.text = ""
        try:
            action()
        except (SuperResolutionError, OSError) as error:
            self.session = None
            self.listen(False)
            self.note.text = in_language(str(error))

    def _refresh(self) -> None:
        """The form and the views as the session is."""
        session, sheet = self.session, self._sheet
        state = session.state if session else INSTRUCTIONS
        running = state == TRIAL
        for widget in (self.folder, self.browse, self.reader, self.role):
            widget.enabled = session is None
        self.start.enabled = sheet is not None and state in (INSTRUCTIONS, PAUSED)
        self.start.text = _("Go on (Enter)") if state == PAUSED else _("Start")
        for button in (*self.choices, self.pause):
            button.enabled = running
        self.undo.enabled = state in (TRIAL, DONE)
        self._show_choices(sheet)
        self.told.text = self._text(sheet, session, state)
        self.progress.maximum = session.total if session else 1
        self.progress.value = session.position if session else 0
        if session and running:
            self._told(lambda: self._show(session))
        else:
            self._shown = ""
            self.views.hide()

    def _show_choices(self, sheet: Sheet | None) -> None:
        rating = bool(sheet and sheet.asks.items)
        for button, seen in zip(self.choices, (not rating, bool(sheet and sheet.same), not rating)):
            button.visible = seen
        self.ratings.visible = rating

    def _text(self, sheet: Sheet | None, session: Session | None, state: str) -> str:
        if sheet is None:
            return _("Choose the folder of a study that was made for readers.")
        if session is None or state == INSTRUCTIONS:
            return "\n".join(f"- {line}" for line in sheet.instructions)
        if state == DONE:
            return _("Thank you. All {count} cases are answered. Send {file} back, and note the receipt: {receipt}").format(count=session.total, file=session.file.path, receipt=session.file.receipt)
        if state == PAUSED:
            return _("Pause. {done} of {count} cases are answered.").format(done=session.position, count=session.total)
        item = session.item
        asked = f"{item.name}: 1 = {item.low}, 5 = {item.high}" if item else sheet.asks.question
        return _("Case {number} of {count}. {asked}").format(number=session.position + 1, count=session.total, asked=asked)

    def _show(self, session: Session) -> None:
        trial = session.trial
        if trial.name == self._shown:
            return
        panels = read_picture(Path(self.folder.text), trial)
        results = [panels[side + trial.panels - session.sheet.asks.panels] for side in session.sides]
        if session.sheet.asks.original:
            results.insert(1, panels[0])
        self.views.show(results, trial.pixel_mm, trial.window)
        self._shown = trial.name
        session.shown()

    def _shortcut(self, parent: Any, key: str, action: Callable) -> None:
        shortcut = qt.QShortcut(qt.QKeySequence(key), parent)
        shortcut.setContext(qt.Qt.ApplicationShortcut)
        shortcut.autoRepeat = False
        shortcut.connect("activated()", action)
        self._shortcuts.append(shortcut)

    def _make_form(self, layout: Any) -> None:
        form = qt.QFormLayout()
        layout.addLayout(form)
        self.folder, self.browse = qt.QLineEdit(), qt.QPushButton(_("Choose folder"))
        self.reader, self.role = qt.QSpinBox(), qt.QComboBox()
        self.reader.minimum, self.reader.maximum = 1, 200
        for role in ROLES:
            self.role.addItem(_(role))
        self.start = qt.QPushButton(_("Start"))
        for label, widget in ((_("Study"), self.folder), ("", self.browse), (_("Reader number"), self.reader), (_("Role"), self.role), ("", self.start)):
            form.addRow(label, widget)
        self.told, self.note, self.progress = qt.QLabel(), qt.QLabel(), qt.QProgressBar()
        self.told.wordWrap = self.note.wordWrap = True
        row, self.ratings = qt.QHBoxLayout(), qt.QLabel(_("Rate with the keys 1 to 5."))
        self.choices = [self._button(row, text, key) for text, key in ((_("Left"), "left"), (_("No difference"), "s"), (_("Right"), "right"))]
        layout.addWidget(self.told)
        layout.addWidget(self.progress)
        layout.addLayout(row)
        layout.addWidget(self.ratings)
        below = qt.QHBoxLayout()
        self.undo, self.pause = self._button(below, _("Take back"), "u"), self._button(below, _("Pause"), "p")
        layout.addLayout(below)
        layout.addWidget(self.note)
        layout.addStretch(1)
        self.folder.connect("editingFinished()", self._edited)
        self.browse.connect("clicked()", self._choose)
        self.start.connect("clicked()", self.begin)

    def _button(self, row: Any, text: str, key: str) -> Any:
        button = qt.QPushButton(text)
        button.focusPolicy = qt.Qt.NoFocus  # Space and Enter are keys of the study
        button.connect("clicked()", lambda: self.key(key))
        row.addWidget(button)
        return button

    def _edited(self) -> None:
        """Also told when the field loses the focus, as it does when it is switched off."""
        if self.session is None:
            self.open()

    def _choose(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of the study"))
        if folder:
            self.folder.text = folder
            self.open()

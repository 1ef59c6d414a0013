"""Mouse and keys in the views of a reader study, asked of Slicer's own widget."""

import pytest
import slicer
import vtk
from SuperResolution3DLib.study_gestures import as_instructed

PRESS, WHEEL, DOUBLE, KEY = (getattr(vtk.vtkCommand, name) for name in ("RightButtonPressEvent", "MouseWheelForwardEvent", "LeftButtonDoubleClickEvent", "KeyPressEvent"))


@pytest.fixture
def asked():
    """What Slicer's widget makes of an event, after our setting (twice, as with each case)."""
    widget = slicer.vtkMRMLSliceIntersectionWidget()
    names = {value: name.removeprefix("WidgetEvent") for name, value in vars(type(widget)).items() if name.startswith("WidgetEvent") and isinstance(value, int)}

    def ask(event, modifiers=0, key=""):
        data = slicer.vtkMRMLInteractionEventData()
        data.SetType(event)
        data.SetModifiers(modifiers)
        data.SetKeySym(key)
        return names.get(widget.TranslateInteractionEventToWidgetEvent(data), "None")

    before = ask(PRESS), ask(DOUBLE), ask(KEY, key="bracketright")
    assert before == ("ZoomSliceStart", "MaximizeView", "ShowNextBackgroundVolume")  # else this module is needed no longer
    as_instructed(widget)
    as_instructed(widget)
    return ask


def test_the_right_button_moves_the_picture(asked):
    assert asked(PRESS) == "TranslateSliceStart"


def test_the_wheel_leafs_and_with_control_zooms(asked):
    assert asked(WHEEL) == "IncrementSlice" and asked(WHEEL, vtk.vtkEvent.ControlModifier) == "ZoomOutSlice"


@pytest.mark.parametrize("key", ["bracketleft", "bracketright", "braceleft", "braceright", "v", "t", "g"])
def test_no_key_puts_another_picture_into_a_view(asked, key):
    assert asked(KEY, key=key) == "None"


def test_a_double_click_leaves_the_other_pictures_where_they_are(asked):
    assert asked(DOUBLE) == "None"

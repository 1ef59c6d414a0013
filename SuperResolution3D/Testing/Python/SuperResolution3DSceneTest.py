"""Slicer's own ctest: nodes in the real application's scene; needs no package that Slicer does not ship.

The broader tests of the repository (Testing/Scene, Testing/Panel) run without the application.
"""

import unittest

import numpy as np
import slicer

from SuperResolution3D import SuperResolution3DLogic


class SuperResolution3DSceneTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_geometry_and_place_of_a_result(self):
        """A result covers the same space and lies beside its input in the subject hierarchy."""
        from SuperResolution3DLib import nodes

        hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
        study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
        volume = slicer.util.addVolumeFromArray(np.arange(120, dtype=np.int16).reshape(4, 5, 6), name="CT chest")
        volume.SetSpacing(0.7, 0.8, 5.0)
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
        image = nodes.image_from_voxels(np.zeros((8, 5, 6), np.int16))
        product = nodes.Product(image, "CT chest SR x2 through-plane", (1, 1, 2), {"SuperResolution3D.Method": "test"})
        result = nodes.put_into_scene(slicer.mrmlScene, nodes.Source.of(volume, None), product)
        before, after = [0.0] * 6, [0.0] * 6
        volume.GetRASBounds(before)
        result.GetRASBounds(after)
        np.testing.assert_allclose(after, before, atol=1e-9)
        self.assertEqual(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)), study)
        self.assertEqual(result.GetName(), "CT chest SR x2 through-plane")

    def test_panel_opens_and_says_what_to_do(self):
        """The panel needs no further package to open."""
        slicer.util.selectModule("SuperResolution3D")
        widget = slicer.modules.SuperResolution3DWidget
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertIn("Choose an input volume", widget.ui.reasonLabel.text)

    def test_label_map_is_refused(self):
        from superres3d.errors import InputError

        label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Liver")
        count = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaises(InputError):
            SuperResolution3DLogic().upscale(label)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)


if __name__ == "__main__":
    unittest.main()

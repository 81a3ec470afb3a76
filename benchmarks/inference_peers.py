"""nnU-Net v2's predictor and lungmask's inferer as contenders of `benchmarks/inference.py`.

In: a CT, a folder, the child's clock. Out: a label map, seconds by step. Neither reads DICOM folders by itself, so
SimpleITK's reader does it for them, and that is a step of its own. nnU-Net is given our nodule network: the same size
and the same cost a window. lungmask finds lungs only, with random weights, as its own cannot be had from an index.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SPACING_MM = [1.0, 1.0, 1.0]
_PATCH = [96, 96, 96]


def nnunet(source: Path, out: Path, steps: Any) -> None:
    """nnU-Net 2: windows of 96 x 96 x 96 at 1 mm, step 0.5, Gaussian, no mirroring, fp32 as on every CPU."""
    import torch
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from lungseg3d.inference import open_bundle, shipped_bundle

    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "nodule": 1},
        "file_ending": ".nii.gz",
        "numTraining": 1,
    }
    with steps.step("load models"):
        how = {"device": torch.device("cpu"), "precision": "fp32", "backend": "torch"}
        network = open_bundle(shipped_bundle("lung_nodule_ct_segmentation"), roi="full", skip=1, **how).network
        plans = PlansManager(_plans())
        predictor = nnUNetPredictor(
            tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
        )
        configuration = plans.get_configuration("3d_fullres")
        weights = [network.state_dict()]
        predictor.manual_initialization(network, plans, configuration, weights, dataset, "nnUNetTrainer", None)
    with steps.step("read"):
        file = _as_nifti(source, out)
    with steps.step("preprocess"):
        preprocessor = configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case([str(file)], None, plans, configuration, dataset)
    with steps.step("sliding window"):
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
    with steps.step("export"):
        export_prediction_from_logits(
            logits, properties, configuration, plans, dataset, str(out / "nnunet"), save_probabilities=False
        )


def lungmask(source: Path, out: Path, steps: Any) -> None:
    """lungmask 0.2: its 2D U-Net of three classes slice by slice, batches of 20; without its postprocessing.

    What random weights mark is noise, and postprocessing takes minutes for its thousands of pieces, of which lungs have
    few.
    """
    import SimpleITK
    import torch
    from lungmask import LMInferer
    from lungmask.resunet import UNet

    with steps.step("load models"):
        torch.manual_seed(0)
        network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
        torch.save(network.state_dict(), out / "random.pth")
        how = {"force_cpu": True, "tqdm_disable": True, "volume_postprocessing": False}
        inferer = LMInferer(modelpath=str(out / "random.pth"), **how)
    with steps.step("read"):
        image = _read(source)
    with steps.step("lungs"):
        found = inferer.apply(image)
    with steps.step("write"):
        labels = SimpleITK.GetImageFromArray(found)
        labels.CopyInformation(image)
        SimpleITK.WriteImage(labels, str(out / "lungmask.nii.gz"), useCompression=True)


def _read(source: Path) -> Any:
    import SimpleITK

    if not source.is_dir():
        return SimpleITK.ReadImage(str(source))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
    return reader.Execute()


def _as_nifti(source: Path, out: Path) -> Path:
    import SimpleITK

    if not source.is_dir():
        return source
    file = out / "ct_0000.nii.gz"
    SimpleITK.WriteImage(_read(source), str(file), useCompression=True)
    return file


def _plans() -> dict[str, Any]:
    """What nnU-Net's planner writes for a CT dataset, as far as its predictor asks for it."""
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "dataset_name": "Dataset001_Nodules",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": -300.0, "std": 400.0, "percentile_00_5": -1000.0, "percentile_99_5": 400.0}
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": _PATCH,
                "spacing": _SPACING_MM,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "architecture": {
                    "network_class_name": "",
                    "arch_kwargs": {},
                    "_kw_requires_import": [],
                },  # given as it is
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": resampling,
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
            }
        },
    }

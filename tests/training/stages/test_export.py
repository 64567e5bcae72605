"""Export of small untrained networks: files that agree with torch and say what they are, and one that is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from scans.intensity import Window
from scans.measures.metrics import OrganCounts
from scans.model.drift import grey_quantiles
from scans.model.manifest import ModelManifest, file_sha256
from tests.training.tiny_volumes import ORGANS, WINDOW, fish, write_catalogue, write_volume
from training.data.prepared import Catalogue, SliceReader
from training.evaluation.comparison import score_exported
from training.export.agreement import ExportError, compare_quality, compare_segmentation, spread_slices
from training.export.files import write_onnx
from training.export.golden import golden_slice
from training.export.graph import SegmentationModel
from training.export.onnx_session import OnnxModel
from training.export.precision import write_variants
from training.export.seen import ExportedModels, seen_volumes
from training.learning.checkpoints import QUALITY_CLASSIFIER, STUDENT, save_checkpoint
from training.learning.networks import (
    Architecture,
    ClassifierArchitecture,
    QualityClassifier,
    SegmentationNetwork,
    build_classifier,
    build_unet,
)
from training.learning.prediction import predictor
from training.params import Export
from training.quality.classifier_input import classifier_input, scorer
from training.stages.export import export

pytestmark = pytest.mark.slow
SECTION = Export(
    name="fish",
    agreement_slices=5,
    most_disagreement=0.001,
    precisions=("int8", "float16"),
    precision_slices=6,
    calibration_slices=4,
    seen_slices=128,
    greatest_precision_loss=1.0,
    greatest_precision_organ_loss=1.0,
)
UNET = Architecture(encoder="resnet18", encoder_depth=3, organs=3)
CLASSIFIER = ClassifierArchitecture(organs=3, side=32, encoder_depth=3, expects_dice=True)
ORGAN_FIGURES = {name: {"dice": 0.8, "iou": 0.7, "left_out": 0} for name in ORGANS.names}


@dataclass(frozen=True)
class Exported:
    """A working directory where the stage has done its work."""

    root: Path
    catalogue: Catalogue
    network: SegmentationNetwork
    classifier: QualityClassifier
    report: dict[str, dict[str, float]]

    @property
    def reader(self) -> SliceReader:
        return SliceReader(self.root / "data/prepared", cache_megabytes=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """Two validation fish, one to train on and one without labels; networks with random weights."""
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        catalogue = _prepared(root / "data/prepared")
        torch.manual_seed(3)
        network, classifier = build_unet(UNET), build_classifier(CLASSIFIER)
        save_checkpoint(STUDENT, network, UNET, details={})
        save_checkpoint(QUALITY_CLASSIFIER, classifier, CLASSIFIER, details={})
        scores = {"mean_dice": 0.8, "mean_iou": 0.7, "organs": ORGAN_FIGURES, "volumes": {}}
        evaluation = {"student": scores, "control": scores | {"mean_dice": 0.75}}
        (root / "metrics").mkdir()
        (root / "metrics/evaluate.json").write_text(json.dumps(evaluation))
        (root / "metrics/refine.json").write_text('{"kept": 5}')
        (root / "metrics/train_classifier.json").write_text('{"roc_auc": 0.9, "auc_missing": null}')
        report = export(SECTION, threshold=0.4, mlflow_run="a run")
        yield Exported(root, catalogue, network.eval(), classifier.eval(), report)


def _prepared(folder: Path) -> Catalogue:
    folder.mkdir(parents=True)
    records = [write_volume(folder, f"validation_{n}", *fish(n), split="validation") for n in range(2)]
    records.append(write_volume(folder, "train_0", *fish(5), split="train"))
    unlabelled = write_volume(folder, "unlabelled_0", fish(6)[0], None, split="unlabelled")
    return write_catalogue(folder, *records, unlabelled)


def test_both_models_agree_with_torch_on_real_slices(exported: Exported) -> None:
    """As many slices as were asked for were compared, and next to nothing differed."""
    student, classifier = exported.report["student"], exported.report["quality_classifier"]
    assert (student["slices"], student["odd_batches"], classifier["slices"]) == (5, 3, 5)
    assert student["largest_difference"] <= SECTION.most_disagreement
    assert classifier["largest_difference"] < 1e-4


def test_the_manifests_say_what_the_models_are(exported: Exported) -> None:
    """Hashes, organs, ranges seen in training, figures, agreement, commit and run; the files hold what they state."""
    student, quality = (ModelManifest.read(exported.root / path.parent) for path in (STUDENT, QUALITY_CLASSIFIER))
    student.verify(exported.root / STUDENT.parent)
    quality.verify(exported.root / QUALITY_CLASSIFIER.parent)
    assert (student.name, student.kind, student.threshold) == ("fish", "segmentation", None)
    assert (quality.name, quality.kind, quality.threshold) == ("fish-quality", "quality", 0.4)
    assert student.organs == quality.organs == ORGANS
    assert (student.data_sha256, student.data_set) == ("of the test's volumes", "tiny")
    assert student.intensity_range == (WINDOW.lower, WINDOW.upper)
    assert student.spacing_mm[0] == pytest.approx((0.1, 0.1))
    assert [student.metrics[name] for name in ("mean_dice", "iou.heart", "control.mean_dice")] == [0.8, 0.7, 0.75]
    assert quality.metrics == {"roc_auc": 0.9}
    assert (student.mlflow_run, student.agreement["slices"]) == ("a run", 5)


def test_the_manifest_says_what_was_seen(exported: Exported) -> None:
    """Grey values of all volumes; what the model answers to those whose labels it did not learn from, as it is."""
    seen = ModelManifest.read(exported.root / STUDENT.parent).seen
    assert seen is not None and ModelManifest.read(exported.root / QUALITY_CLASSIFIER.parent).seen is None
    validation, _, unlabelled, train = seen.volumes
    assert {volume.window for volume in seen.volumes} == {WINDOW}
    image = exported.reader.volume(exported.catalogue.split("train")[0]).read()
    assert train.quantiles == grey_quantiles(WINDOW, image)
    assert train.answer is None and unlabelled.answer is not None
    model = OnnxModel(exported.root / STUDENT.parent / "model.onnx")
    image = exported.reader.volume(exported.catalogue.split("validation")[0]).read()
    segmentation, confidence = model.segment_with_confidence(image, WINDOW)
    assert validation.answer is not None
    voxels = [np.count_nonzero(segmentation == organ) for organ in (1, 2, 3)]
    assert validation.answer.sizes_mm3 == pytest.approx([count * 0.001 for count in voxels])
    assert validation.answer.confidence == pytest.approx(float(confidence[segmentation > 0].mean()), abs=1e-5)
    classifier = exported.root / QUALITY_CLASSIFIER.parent
    good = OnnxModel(classifier / "model.onnx").verdicts(image, segmentation, WINDOW).good
    bad = good[segmentation.any(axis=(1, 2))] < ModelManifest.read(classifier).threshold
    assert validation.answer.bad_share == pytest.approx(float(bad.mean()))


def test_the_dice_that_is_expected_of_organs_is_torch_s(exported: Exported) -> None:
    """ONNX says it for each slice and organ; the manifest has the differences of both validation volumes."""
    calibration = ModelManifest.read(folder := exported.root / QUALITY_CLASSIFIER.parent).expected_dice
    assert calibration is not None and (calibration.volumes, len(calibration.middle)) == (2, 3)
    image, masks = fish(0)
    shown = classifier_input(torch.from_numpy(WINDOW.normalise(image)), torch.from_numpy(masks), organs=3, side=32)
    said = exported.classifier(*shown).sigmoid().detach().numpy()
    assert OnnxModel(folder / "model.onnx").verdicts(image, masks, WINDOW).dice == pytest.approx(said[:, 1:], abs=1e-4)


def test_of_many_slices_an_even_choice_stands_for_all(tmp_path: Path, exported: Exported) -> None:
    """A volume of 300 slices is looked at in every third: sizes and places are those of the whole, all but."""
    image = np.repeat(fish(0)[0], 50, axis=0)
    catalogue = write_catalogue(tmp_path, write_volume(tmp_path, "long", image, None, split="unlabelled"))
    model, classifier = (OnnxModel(exported.root / at.parent / "model.onnx") for at in (STUDENT, QUALITY_CLASSIFIER))
    models = ExportedModels(model, classifier, 0.5)
    (volume,) = seen_volumes(catalogue, SliceReader(tmp_path, cache_megabytes=0), models, slices=128).volumes
    assert volume.answer is not None
    segmentation = model.segment(image, WINDOW)
    for organ in np.unique(segmentation[segmentation > 0]):
        where = np.argwhere(segmentation == organ)
        assert volume.answer.sizes_mm3[organ - 1] == pytest.approx(len(where) * 0.001, rel=0.03)
        assert volume.answer.places_mm[organ - 1] == pytest.approx(where.mean(axis=0) * 0.1, abs=0.3)


def test_variants_are_described_by_what_they_do(exported: Exported) -> None:
    """Each is beside the model, has the stated hash, and answers the golden slice as stated."""
    folder = exported.root / STUDENT.parent
    manifest = ModelManifest.read(folder)
    assert set(manifest.variants) == {"int8", "float16"}
    assert set(manifest.files) == {"model.onnx", "variants/int8.onnx", "variants/float16.onnx"}
    for precision, variant in manifest.variants.items():
        answer = OnnxModel(folder / variant.file).segment(manifest.golden.slice[None], manifest.golden.window)[0]
        np.testing.assert_array_equal(answer, variant.segmentation)
        assert exported.report[precision]["kept"] == 1.0
        assert 0 <= variant.disagreement <= 1
    assert manifest.variants["float16"].disagreement < 0.02


def test_a_variant_that_segments_worse_is_not_kept(exported: Exported) -> None:
    """Its figures are reported, its file is not written, and the manifest does not name it."""
    reader = exported.reader
    folder = exported.root / "strict"
    folder.mkdir()
    (folder / "model.onnx").write_bytes((exported.root / STUDENT.parent / "model.onnx").read_bytes())
    golden = ModelManifest.read(exported.root / STUDENT.parent).golden
    section = replace(SECTION, precisions=("int8",), greatest_precision_loss=-0.1)
    variants, (check,) = write_variants(folder, section, catalogue=exported.catalogue, reader=reader, golden=golden)
    assert (variants, check.kept) == ({}, False)
    assert not any((folder / "variants").iterdir())


def test_the_golden_slice_is_answered_as_the_manifest_says(exported: Exported) -> None:
    """A server that runs the file on it gets exactly the stated segmentation, and the stated probability."""
    for path in (STUDENT, QUALITY_CLASSIFIER):
        folder = exported.root / path.parent
        golden, model = ModelManifest.read(folder).golden, OnnxModel(folder / "model.onnx")
        image, segmentation = golden.slice[None], golden.segmentation[None]
        if golden.good is None:
            np.testing.assert_array_equal(model.segment(image, golden.window), segmentation)
        else:
            assert model.verdicts(image, segmentation, golden.window).good[0] == pytest.approx(golden.good, abs=1e-6)


def test_the_golden_slice_is_the_one_with_most_organs(exported: Exported) -> None:
    """The first three slices of a fish hold two eyes, the others one heart: it is one of the first."""
    segmenter = OnnxModel(exported.root / "models/student/model.onnx")
    golden = golden_slice(exported.catalogue, exported.reader, segmenter)
    held_out = [(record.id, z) for record in exported.catalogue.split("validation") for z in range(3)]
    assert any(np.array_equal(exported.reader.image(*place), golden.slice) for place in held_out)


def test_a_golden_slice_of_a_large_scan_is_cut_around_its_organs(exported: Exported, tmp_path: Path) -> None:
    """Of 300 x 400 pixels 256 x 256 are kept, with the organ at the far edge among them."""
    labels = np.zeros((1, 300, 400), dtype=np.uint8)
    labels[0, 290:295, 380:390] = 2
    image = np.where(labels == 2, 900, 300).astype(np.uint16)
    catalogue = write_catalogue(tmp_path, write_volume(tmp_path, "large", image, labels, split="validation"))
    segmenter = OnnxModel(exported.root / "models/student/model.onnx")
    golden = golden_slice(catalogue, SliceReader(tmp_path, cache_megabytes=0), segmenter)
    assert golden.slice.shape == golden.segmentation.shape == (256, 256)
    assert int((golden.slice == 900).sum()) == 50


def test_a_file_of_another_network_is_refused(exported: Exported) -> None:
    """The error names the slice and the share of its pixels that differ."""
    torch.manual_seed(4)
    another = build_unet(UNET)
    segmenter = OnnxModel(exported.root / "models/student/model.onnx")
    slices = spread_slices(exported.catalogue, 4)
    with pytest.raises(ExportError, match=r"slice 0 of volume validation_0, .* differ in \d+\.\d+% of the pixels"):
        compare_segmentation(segmenter, another, slices=slices, reader=exported.reader, limit=0.001)
    judge = OnnxModel(exported.root / "models/quality_classifier/model.onnx")
    other = scorer(build_classifier(CLASSIFIER), organs=3, side=32)
    with pytest.raises(ExportError, match="slice 0 of volume validation_0: the Quality Classifier says"):
        compare_quality(judge, other, segmenter=segmenter, slices=slices, reader=exported.reader)


def test_slices_are_spread_over_volumes_that_nothing_learnt_labels_from(exported: Exported) -> None:
    """Eighteen slices of the validation and unlabelled volumes: four of them are the first, two between, the last."""
    chosen = spread_slices(exported.catalogue, 4)
    assert [(c.record.id, c.slice_index) for c in chosen] == [
        ("validation_0", 0),
        ("validation_1", 0),
        ("validation_1", 5),
        ("unlabelled_0", 5),
    ]
    assert len(spread_slices(exported.catalogue, 1000)) == 18


def test_the_file_stands_alone_and_takes_any_size(exported: Exported) -> None:
    """One file that the ONNX checker passes, without paths of this machine; batch, height and width are free."""
    folder = exported.root / "models/student"
    assert {path.name for path in folder.iterdir()} == {"checkpoint.pt", "manifest.json", "model.onnx", "variants"}
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert b"site-packages" not in model.SerializeToString()
    shapes = {
        tensor.name: [axis.dim_param or axis.dim_value for axis in tensor.type.tensor_type.shape.dim]
        for tensor in (*model.graph.input, *model.graph.output)
    }
    image = ["batch", "height", "width"]
    assert shapes == {"slices": image, "window": ["batch", 2], "segmentation": image, "confidence": image}


def test_confidence_is_the_winning_probability(exported: Exported) -> None:
    """It is what softmax gives to the class that was chosen."""
    model = OnnxModel(exported.root / "models/student/model.onnx")
    image = exported.reader.image("validation_0", 0)[None]
    with torch.inference_mode():
        logits = exported.network(torch.from_numpy(WINDOW.normalise(image)).unsqueeze(1))
    expected = logits.softmax(dim=1).amax(dim=1).numpy()
    np.testing.assert_allclose(model.confidence(image, WINDOW), expected, atol=1e-5)


def test_a_registered_model_is_scored_on_the_volumes_that_are_prepared_now(exported: Exported) -> None:
    """The exported Student scores as its torch network does; its window is its own rule's, here all grey values."""
    folder = exported.root / "models/student"
    found = score_exported(folder, catalogue=exported.catalogue, prepared_dir=exported.root / "data/prepared")
    for record in exported.catalogue.split("validation"):
        image, labels = exported.reader.volume(record).read(), exported.reader.label_volume(record).read()
        window = Window(float(image.min()), float(image.max()))
        torch_says = predictor(exported.network, window=window, device=torch.device("cpu"))(image)
        counts = OrganCounts.of(torch_says, labels, classes=ORGANS.classes)
        assert found[record.id].dice == pytest.approx(dict(zip(ORGANS.names, counts.dice, strict=True)), abs=1e-3)


def test_the_same_weights_give_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    """So a rerun registers no second version of the same model."""
    write_onnx(tmp_path / "again.onnx", SegmentationModel(exported.network))
    assert file_sha256(tmp_path / "again.onnx") == file_sha256(exported.root / "models/student/model.onnx")

"""Faults of src/formats: safetensors and TensorBoard files."""
from planting import Fault

FAULTS = [
    Fault("formats.safetensors_not_aligned", "src/formats/safetensors.cpp", "«text.resize((text.size() + 7) / 8 * 8, ' ');»", "",
          "The data of a safetensors file does not begin on a multiple of 8."),
    Fault("formats.safetensors_shape_unchecked", "src/formats/safetensors.cpp",
          "if («tensor.sizes() != like.sizes() || tensor.scalar_type() != like.scalar_type()») {",
          "tensor.numel() != like.numel()", "A tensor of another shape or dtype is taken for the one that is expected."),
]

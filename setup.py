"""Packaging. `pip install .` installs chatcli and the library, `pip install '.[server]'` also the server.

Pinned versions are in requirements.txt and requirements-server.txt.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

VERSION = re.search(r'^__version__ = "(.+)"', Path("forkchat/__init__.py").read_text(), re.MULTILINE)
assert VERSION

setup(
    name="forkchat",
    version=VERSION[1],
    description="A cluster chat server: pre-fork workers, presence in Redis, messages in MySQL",
    license="MIT",
    python_requires=">=3.11",
    package_data={"client": ["locale/*/LC_MESSAGES/*.mo"]},
    py_modules=["chatcli"],
    packages=find_packages(include=["forkchat", "forkchat.*", "client", "client.*"]),
    # forkchat.config looks for these under sysconfig's data path, or in the checkout.
    data_files=[
        (f"share/forkchat/{folder}", sorted(map(str, Path(folder).glob(pattern))))
        for folder, pattern in [("sql", "*.sql"), ("etc", "*")]
    ],
    # Dependencies of chatcli and the library. All of them are available as wheels.
    install_requires=[
        "confusable-homoglyphs>=3.3.1,<3.4",
        "orjson>=3.13,<4",
        "platformdirs>=4.14,<5",
        "precis-i18n>=1.1.2,<2",
        "prompt_toolkit>=3.0.53,<4",
        "tomlkit>=0.13,<1",
        "wcwidth>=0.2.13,<1",
    ],
    extras_require={
        # Lets chatcli store session tokens in the desktop's keyring instead of a file.
        "keyring": ["keyring>=25.2,<26"],
        # Further dependencies of the command forkchat. mysqlclient is compiled against libmariadb.
        "server": [
            "argon2-cffi>=25.1,<26",
            "hiredis>=3.5,<4",
            "mysqlclient>=2.3,<3",
            "redis>=8.1,<9",
            "setproctitle>=1.3.8,<2",
            "supervisor>=4.3,<5",
            "zxcvbn-rs-py>=0.3,<0.4",
        ],
    },
    entry_points={"console_scripts": ["forkchat = forkchat.cli:main", "chatcli = chatcli:main"]},
)

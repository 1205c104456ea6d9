# Everything sets itself up: the first call makes .venv and installs what pyproject.toml names.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
# Most tests wait for other processes or for a time to pass, so eight at a time suit two cores. PYTEST="-x tests/e2e" for some of them.
PYTEST ?= -n 8 --dist worksteal
# What is compiled once is compiled for all of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check catalogues bench validation man screenshots clean dist release test-wheel lowest sbom deb test-system soak stories

# A .venv whose Python has gone (an upgrade of the system, a clone that was moved) is made anew.
ifeq ($(shell $(VENV)/bin/python -c 'import dropcap; print("well")' 2>/dev/null),)
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml src/dropcap/__init__.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "dropcap needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@rm -f $(STAMP)
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip --disable-pip-version-check -q install -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	@$(VENV)/bin/dropcap demo

test: $(STAMP)
	$(VENV)/bin/python -m pytest $(PYTEST)

check: $(STAMP)
	$(VENV)/bin/ruff check src tests bench release tools
	$(VENV)/bin/ruff format --check src tests bench release tools
	$(VENV)/bin/mypy

# What is promised, the tests that show it, and their results: validation.md.
validation: $(STAMP)
	$(VENV)/bin/python -m tests.validation -n8 --dist=worksteal

catalogues: $(STAMP)
	$(VENV)/bin/python -m tools.catalogues

bench: $(STAMP)
	$(VENV)/bin/python bench/run.py

# Into build/man, from what --help says; deploy them to /usr/local/share/man/man1.
man: $(STAMP)
	$(VENV)/bin/python tools/man_pages.py build/man

# The README's pictures, anew: real output of real commands.
screenshots: $(STAMP)
	$(VENV)/bin/python tools/screenshots.py

RELEASE := $(VENV)/.release

$(RELEASE): $(STAMP)
	$(VENV)/bin/python -m pip --disable-pip-version-check -q install -e '.[release]'
	@touch $(RELEASE)

# sdist and wheel, the same bytes each time; `release` refuses a version between two releases.
dist: $(RELEASE)
	$(VENV)/bin/python release/dist.py

release: $(RELEASE)
	$(VENV)/bin/python release/dist.py --release

# The wheel without its sources, with the newest and with the oldest libraries. TESTS="tests/cli" for some of them.
test-wheel: dist
	PYTHON=$(VENV)/bin/python release/wheel_test.sh newest

lowest: dist
	PYTHON=$(VENV)/bin/python release/wheel_test.sh lowest

sbom: dist
	PYTHON=$(VENV)/bin/python release/sbom.sh

# A Debian package for Python 3.11 to 3.14; it goes by the licences that `make sbom` has found, if it has.
deb: dist
	$(VENV)/bin/python release/deb.py

# The package in a clean Debian under a booted systemd: as root, a few minutes, with mmdebstrap and systemd-nspawn.
test-system: deb
	DROPCAP_SYSTEM_TESTS=1 $(VENV)/bin/python -m pytest -q -rs --timeout 900 tests/system

# Does anything grow in the long run? MINUTES=10 for a shorter one.
MINUTES ?= 60
soak: $(STAMP)
	$(VENV)/bin/python bench/years.py --minutes $(MINUTES)

# Mixes of all that can befall an installation; the seed of each that ends wrong is told.
stories: $(STAMP)
	DROPCAP_MINUTES=$(MINUTES) $(VENV)/bin/python -m pytest -q -s -rs -k as_long tests/crash/test_anything_in_any_order.py

clean:
	rm -rf $(VENV)

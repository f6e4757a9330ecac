# Needs Rust (rustup), Python 3.11 and a C compiler. Everything else is installed into .tools by `make report` or `make tools`.
PYTHON ?= python3
DXLAB_PYTHON = .tools/venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help report lint test tools kernel notebooks check check-own book lab bench

help:           ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

report:         ## everything: tools, notebooks, book (HTML and PDF), results.xlsx
	@$(PYTHON) scripts/report.py

test:           ## the tests of the crate, of the book's preprocessor and of the scripts; no network but for smollm2, once
	@$(PYTHON) scripts/models.py smollm2 || echo "make test: warning: smollm2 is not there, so the tests that read it are left out"
	cargo test --locked --package dxlab
	cargo test --locked --package mdbook-dxlab
	$(PYTHON) -m unittest discover --start-directory scripts/tests

lint:           ## formatting and lints, of the notebooks' cells, the documents and the labels too; nothing may be wrong
	cargo fmt --all --check
	$(PYTHON) scripts/format_cells.py --check
	$(PYTHON) scripts/tests/test_docs.py
	cargo clippy --locked --tests --package dxlab --package mdbook-dxlab -- -D warnings

tools:          ## only install what is missing
	@$(PYTHON) scripts/tools.py

notebooks:      ## run the notebooks and store what they show
	@$(DXLAB_PYTHON) scripts/notebooks.py --write

check:          ## run the notebooks and compare with what is stored; also that the runner sees failures
	@$(DXLAB_PYTHON) scripts/notebooks.py --check
	@$(DXLAB_PYTHON) scripts/tests/failures.py

check-own:      ## run the chapters on findings of somebody else: a small made-up spreadsheet
	@$(DXLAB_PYTHON) scripts/tests/own_data.py

book:           ## the report from the notebooks as they are stored
	@$(PYTHON) scripts/report.py book

kernel:         ## bring the kernel's seed up to date, with what it needs to explain errors quickly
	@$(PYTHON) scripts/kernel.py --seed --check

lab: kernel     ## open the notebooks
	$(DXLAB_PYTHON) -m jupyterlab notebooks

bench:          ## speed of every operation alone; ONLY=attention for those with that word in the name
	cargo bench --locked --profile dev --bench operations -- --noplot $(ONLY)

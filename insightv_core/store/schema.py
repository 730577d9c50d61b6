"""The schema of a project file, as numbered migrations: a change is a new one, never an edit of an old one.

Rows that a stage makes point to their run. Scores that could not be read are NULL, never 0. The columns `source`,
`family`, `model`, `outcome`, `score` and `reviewed` of `paths` repeat what other tables say, so that no listing has to
join or scan.
"""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("insightv")


@migrations()
def m001_questions_and_runs(db: Database) -> None:
    """Pictures, questions, model versions and runs."""
    create(
        db,
        """
        images (sha256 TEXT PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL, bytes INTEGER NOT NULL)
        """,
        """
        questions (
            id TEXT PRIMARY KEY, text TEXT NOT NULL, answer TEXT NOT NULL, image TEXT NOT NULL REFERENCES images,
            source TEXT NOT NULL, answer_type TEXT NOT NULL, family TEXT NOT NULL, level INTEGER,
            options TEXT NOT NULL, tolerance REAL NOT NULL, metadata TEXT NOT NULL, position INTEGER NOT NULL UNIQUE
        )
        """,
        """
        models (
            fingerprint TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL DEFAULT 'base', base TEXT,
            folder TEXT, run TEXT, created REAL NOT NULL
        )
        """,
        """
        runs (
            id TEXT PRIMARY KEY, stage TEXT NOT NULL, model TEXT REFERENCES models, prompt_version TEXT NOT NULL,
            settings TEXT NOT NULL, code_version TEXT NOT NULL, status TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0,
            total INTEGER, message TEXT, command TEXT, pid INTEGER, started REAL NOT NULL, updated REAL NOT NULL,
            ended REAL
        )
        """,
    )
    index(db, "questions (family, position)", "questions (source, position)", "questions (image)")
    index(db, "runs (stage, started)")


@migrations()
def m002_paths(db: Database) -> None:
    """Paths, their steps, and full-text search over the steps."""
    create(
        db,
        """
        paths (
            key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, question TEXT NOT NULL REFERENCES questions,
            run TEXT NOT NULL REFERENCES runs, sample INTEGER NOT NULL, status TEXT NOT NULL, answer TEXT, failure TEXT,
            final_raw TEXT NOT NULL, step_count INTEGER NOT NULL, tokens INTEGER NOT NULL, logprob REAL,
            seconds REAL NOT NULL, created REAL NOT NULL, source TEXT NOT NULL, family TEXT NOT NULL, model TEXT,
            outcome TEXT, score INTEGER CHECK (score BETWEEN 1 AND 100), reviewed INTEGER NOT NULL DEFAULT 0,
            score_order INTEGER GENERATED ALWAYS AS (coalesce(score, 0)) VIRTUAL
        )
        """,
        """
        steps (
            key INTEGER PRIMARY KEY, path INTEGER NOT NULL REFERENCES paths ON DELETE CASCADE, turn INTEGER NOT NULL,
            number INTEGER, summary TEXT, content TEXT, action TEXT, raw TEXT NOT NULL, tokens INTEGER NOT NULL,
            logprob REAL, seconds REAL NOT NULL, UNIQUE (path, turn)
        )
        """,
        "search_state (only INTEGER PRIMARY KEY CHECK (only = 1), last_step INTEGER NOT NULL)",
    )
    db.execute("INSERT INTO search_state VALUES (1, 0)")
    db.execute("CREATE VIRTUAL TABLE steps_search USING fts5(summary, content, content=steps, content_rowid=key)")
    index(db, "paths (question, score_order DESC, key)", "paths (run, question, sample)")
    index(db, *(f"paths ({', '.join([*facet, 'score_order DESC', 'key'])})" for facet in PATH_FACETS))


PATH_FACETS = ((), ("family",), ("source",), ("outcome",), ("run",), ("model",), ("reviewed",))


@migrations()
def m003_assessments(db: Database) -> None:
    """What judges said: each call with its raw reply, and what was read from it for each path and step."""
    create(
        db,
        """
        judge_calls (
            id TEXT PRIMARY KEY, run TEXT NOT NULL REFERENCES runs, question TEXT NOT NULL REFERENCES questions,
            mode TEXT NOT NULL, attempt INTEGER NOT NULL, paths TEXT NOT NULL, raw TEXT NOT NULL, problem TEXT,
            tokens INTEGER NOT NULL, seconds REAL NOT NULL
        )
        """,
        """
        assessments (
            key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, run TEXT NOT NULL REFERENCES runs,
            path INTEGER NOT NULL REFERENCES paths, outcome TEXT NOT NULL, outcome_reason TEXT NOT NULL,
            outcome_by TEXT NOT NULL, score INTEGER CHECK (score BETWEEN 1 AND 100), score_reason TEXT NOT NULL,
            position INTEGER, call TEXT REFERENCES judge_calls, created REAL NOT NULL, UNIQUE (run, path)
        )
        """,
        """
        step_assessments (
            assessment INTEGER NOT NULL REFERENCES assessments ON DELETE CASCADE, number INTEGER NOT NULL,
            verdict TEXT NOT NULL, PRIMARY KEY (assessment, number)
        )
        """,
    )
    index(db, "assessments (path)", "judge_calls (run, question)")


@migrations()
def m004_curated_sets(db: Database) -> None:
    """Training sets with every row that went in or was left out, and preference pairs."""
    create(
        db,
        """
        sets (
            id TEXT PRIMARY KEY, run TEXT NOT NULL REFERENCES runs, name TEXT NOT NULL, manifest TEXT NOT NULL,
            created REAL NOT NULL
        )
        """,
        """
        set_rows (
            set_id TEXT NOT NULL REFERENCES sets ON DELETE CASCADE, number INTEGER NOT NULL,
            question TEXT NOT NULL REFERENCES questions, path INTEGER REFERENCES paths, kind TEXT NOT NULL,
            target TEXT NOT NULL, excluded TEXT, PRIMARY KEY (set_id, number)
        )
        """,
        """
        pairs (
            key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, run TEXT NOT NULL REFERENCES runs,
            question TEXT NOT NULL REFERENCES questions, chosen INTEGER NOT NULL REFERENCES paths,
            rejected INTEGER NOT NULL REFERENCES paths, kind TEXT NOT NULL, shared_steps INTEGER NOT NULL,
            reason TEXT NOT NULL, margin REAL, edited TEXT, excluded TEXT, created REAL NOT NULL
        )
        """,
    )
    index(db, "pairs (run, key)", "pairs (question)", "pairs (chosen)", "pairs (rejected)", "set_rows (path)")


@migrations()
def m005_reviews(db: Database) -> None:
    """Reviewers and their votes: append-only events, whose fold is the state."""
    create(
        db,
        "reviewers (name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT, created REAL NOT NULL)",
        """
        reviews (
            key INTEGER PRIMARY KEY AUTOINCREMENT, pair INTEGER NOT NULL REFERENCES pairs,
            reviewer TEXT NOT NULL REFERENCES reviewers, event TEXT NOT NULL, choice TEXT, step INTEGER,
            details TEXT NOT NULL, seconds REAL, created REAL NOT NULL, token TEXT UNIQUE
        )
        """,
        """
        reservations (
            pair INTEGER NOT NULL REFERENCES pairs, reviewer TEXT NOT NULL REFERENCES reviewers, expires REAL NOT NULL,
            PRIMARY KEY (pair, reviewer)
        )
        """,
    )
    index(db, "reviews (pair, key)", "reviews (reviewer, key)")


@migrations()
def m006_training_and_evaluation(db: Database) -> None:
    """Metrics of training, rounds of DPO, log-probabilities of pairs by model, and evaluations."""
    create(
        db,
        """
        metrics (
            run TEXT NOT NULL REFERENCES runs, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
            PRIMARY KEY (run, name, step)
        )
        """,
        """
        rounds (
            id TEXT PRIMARY KEY, number INTEGER NOT NULL, run TEXT NOT NULL REFERENCES runs, previous TEXT,
            policy TEXT NOT NULL REFERENCES models, reference TEXT NOT NULL REFERENCES models,
            adapter TEXT REFERENCES models, sampling TEXT REFERENCES runs, assessing TEXT REFERENCES runs,
            curating TEXT REFERENCES runs, created REAL NOT NULL
        )
        """,
        """
        pair_logprobs (
            pair INTEGER NOT NULL REFERENCES pairs, model TEXT NOT NULL REFERENCES models, chosen REAL NOT NULL,
            rejected REAL NOT NULL, PRIMARY KEY (pair, model)
        )
        """,
        """
        evaluations (
            id TEXT PRIMARY KEY, run TEXT NOT NULL REFERENCES runs, benchmark TEXT NOT NULL, system TEXT NOT NULL,
            figures TEXT NOT NULL, created REAL NOT NULL
        )
        """,
        """
        evaluation_items (
            run TEXT NOT NULL REFERENCES runs, benchmark TEXT NOT NULL, system TEXT NOT NULL, item TEXT NOT NULL,
            seed INTEGER NOT NULL, answer TEXT, outcome TEXT NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL,
            details TEXT NOT NULL, PRIMARY KEY (run, benchmark, system, item, seed)
        )
        """,
    )


@migrations()
def m007_chats(db: Database) -> None:
    """Chats with the two agents, turn by turn."""
    create(
        db,
        "chats (id TEXT PRIMARY KEY, title TEXT NOT NULL, image TEXT REFERENCES images, created REAL NOT NULL)",
        """
        chat_turns (
            chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE, number INTEGER NOT NULL, speaker TEXT NOT NULL,
            content TEXT NOT NULL, details TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (chat, number)
        )
        """,
    )


def create(db: Database, *tables: str) -> None:
    """Create STRICT tables."""
    for table in tables:
        db.execute(f"CREATE TABLE {table.strip()} STRICT")


def index(db: Database, *columns: str) -> None:
    """Create an index for each "table (columns)", named after both."""
    for each in columns:
        table, _, rest = each.partition(" ")
        name = "_".join(word.strip("(),") for word in rest.split() if word != "DESC")
        db.execute(f"CREATE INDEX {table}_by_{name} ON {each}")

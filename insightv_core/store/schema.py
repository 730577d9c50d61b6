"""The schema of a project file, as numbered migrations: a change is a new one, never an edit of an old one.

Rows that a stage makes point to their run. Scores that could not be read are NULL, never 0. The columns `source`,
`family`, `model`, `outcome`, `score` and `reviewed` of `paths` repeat what other tables say, so that no listing has to
join or scan.

Each combination of what paths can be filtered by is a row of `facets`, to which its paths point: any filter is a set
of such rows, so an index that begins with `facets` serves every filter, and the counts of all filters are sums over
`facets` and `facet_scores`. `Store.add_paths` counts new paths there, triggers count what changes later. `place` orders
by score, then by age, in one integer; where there is no score it counts as 0. `best` of a question is its best score.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

# place = score * SCORE_SPAN + key, and a step's key = its path's key * STEP_SPAN + turn: one integer holds an order.
SCORE_SPAN = 10**12
STEP_SPAN = 10**4


def m001_questions_and_runs(db: "Database") -> None:
    """Pictures, questions, model versions and runs."""
    create(
        db,
        """
        images (sha256 TEXT PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL, bytes INTEGER NOT NULL)
        """,
        f"""
        questions (
            id TEXT PRIMARY KEY, text TEXT NOT NULL, answer TEXT NOT NULL, image TEXT NOT NULL REFERENCES images,
            source TEXT NOT NULL, answer_type TEXT NOT NULL, family TEXT NOT NULL, level INTEGER,
            options TEXT NOT NULL, tolerance REAL NOT NULL, metadata TEXT NOT NULL, position INTEGER NOT NULL UNIQUE,
            best INTEGER NOT NULL DEFAULT 0,
            place INTEGER GENERATED ALWAYS AS (best * {SCORE_SPAN} + position) STORED
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
    for columns in ("", "family, ", "source, ", "source, family, "):
        index(db, f"questions ({columns}place)", *([f"questions ({columns}position)"] if columns else []))
    index(db, "questions (image)", "runs (stage, started)")
    db.execute("CREATE VIRTUAL TABLE questions_search USING fts5(text, content=questions, content_rowid=position)")
    db.execute(
        "CREATE TRIGGER search_question AFTER INSERT ON questions "
        "BEGIN INSERT INTO questions_search (rowid, text) VALUES (new.position, new.text); END"
    )


def m002_paths(db: "Database") -> None:
    """Paths, their steps, the counts of every filter, and full-text search over the steps."""
    create(
        db,
        f"""
        facets (
            key INTEGER PRIMARY KEY, source TEXT NOT NULL, family TEXT NOT NULL, run TEXT NOT NULL,
            model TEXT NOT NULL, status TEXT NOT NULL, outcome TEXT NOT NULL, reviewed INTEGER NOT NULL,
            paths INTEGER NOT NULL DEFAULT 0, UNIQUE ({", ".join(FACETS)})
        )
        """,
        """
        facet_scores (
            facets INTEGER NOT NULL REFERENCES facets, score INTEGER NOT NULL, paths INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (facets, score)
        ) WITHOUT ROWID,
        """,
        f"""
        paths (
            key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, question TEXT NOT NULL REFERENCES questions,
            run TEXT NOT NULL REFERENCES runs, sample INTEGER NOT NULL, status TEXT NOT NULL, answer TEXT, failure TEXT,
            final_raw TEXT NOT NULL, step_count INTEGER NOT NULL, tokens INTEGER NOT NULL, logprob REAL,
            seconds REAL NOT NULL, created REAL NOT NULL, source TEXT NOT NULL, family TEXT NOT NULL, model TEXT,
            outcome TEXT, score INTEGER CHECK (score BETWEEN 1 AND 100), reviewed INTEGER NOT NULL DEFAULT 0,
            position INTEGER NOT NULL, facets INTEGER NOT NULL REFERENCES facets,
            score_order INTEGER GENERATED ALWAYS AS (coalesce(score, 0)) STORED,
            place INTEGER GENERATED ALWAYS AS (coalesce(score, 0) * {SCORE_SPAN} + key) STORED
        )
        """,
        f"""
        steps (
            key INTEGER PRIMARY KEY, path INTEGER NOT NULL REFERENCES paths ON DELETE CASCADE, turn INTEGER NOT NULL,
            number INTEGER, summary TEXT, content TEXT, action TEXT, raw TEXT NOT NULL, tokens INTEGER NOT NULL,
            logprob REAL, seconds REAL NOT NULL, UNIQUE (path, turn),
            CHECK (turn < {STEP_SPAN} AND key = path * {STEP_SPAN} + turn)
        )
        """,
        "search_state (only INTEGER PRIMARY KEY CHECK (only = 1), last_step INTEGER NOT NULL)",
    )
    db.execute("INSERT INTO search_state VALUES (1, 0)")
    db.execute("CREATE VIRTUAL TABLE steps_search USING fts5(summary, content, content=steps, content_rowid=key)")
    index(db, "paths (question, score_order, facets)", "paths (run, question, sample)", "paths (place, facets)")
    index(db, "paths (facets, place, position)", "paths (facets, key, score_order)")
    index(db, "paths (facets, position, score_order)")
    for trigger in PATH_TRIGGERS:
        db.execute(f"CREATE TRIGGER {trigger}")


FACETS = ("source", "family", "run", "model", "status", "outcome", "reviewed")
PATH_TRIGGERS = (
    """
    move_changed_path AFTER UPDATE OF source, family, run, model, status, outcome, reviewed, score ON paths BEGIN
        INSERT OR IGNORE INTO facets (source, family, run, model, status, outcome, reviewed) VALUES (
            new.source, new.family, new.run, coalesce(new.model, ''), new.status, coalesce(new.outcome, ''),
            new.reviewed
        );
        UPDATE facets SET paths = paths - 1 WHERE key = old.facets;
        UPDATE facet_scores SET paths = paths - 1 WHERE facets = old.facets AND score = old.score_order;
        UPDATE paths SET facets = (
            SELECT key FROM facets WHERE source = new.source AND family = new.family AND run = new.run
            AND model = coalesce(new.model, '') AND status = new.status AND outcome = coalesce(new.outcome, '')
            AND reviewed = new.reviewed
        ) WHERE key = new.key;
        UPDATE facets SET paths = paths + 1 WHERE key = (SELECT facets FROM paths WHERE key = new.key);
        INSERT OR IGNORE INTO facet_scores (facets, score)
        SELECT facets, score_order FROM paths WHERE key = new.key;
        UPDATE facet_scores SET paths = paths + 1
        WHERE (facets, score) = (SELECT facets, score_order FROM paths WHERE key = new.key);
        UPDATE questions SET best = (SELECT max(score_order) FROM paths WHERE question = new.question)
        WHERE id = new.question AND old.score_order <> new.score_order;
    END
    """,
    """
    forget_path AFTER DELETE ON paths BEGIN
        UPDATE facets SET paths = paths - 1 WHERE key = old.facets;
        UPDATE facet_scores SET paths = paths - 1 WHERE facets = old.facets AND score = old.score_order;
        UPDATE questions SET best = (
            SELECT coalesce(max(score_order), 0) FROM paths WHERE question = old.question
        ) WHERE id = old.question;
    END
    """,
    """
    forget_step BEFORE DELETE ON steps WHEN old.number IS NOT NULL AND old.key <= (SELECT last_step FROM search_state)
    BEGIN
        INSERT INTO steps_search (steps_search, rowid, summary, content)
        VALUES ('delete', old.key, old.summary, old.content);
    END
    """,
)


def m003_assessments(db: "Database") -> None:
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
            key INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs, path INTEGER NOT NULL REFERENCES paths,
            outcome TEXT NOT NULL CHECK (outcome IN ('correct', 'wrong', 'unparsed')), outcome_reason TEXT NOT NULL,
            outcome_by TEXT NOT NULL, score INTEGER CHECK (score BETWEEN 1 AND 100), score_reason TEXT NOT NULL,
            position INTEGER, call TEXT REFERENCES judge_calls, created REAL NOT NULL, UNIQUE (run, path)
        )
        """,
        """
        step_assessments (
            assessment INTEGER NOT NULL REFERENCES assessments ON DELETE CASCADE, number INTEGER NOT NULL,
            verdict TEXT NOT NULL CHECK (verdict IN ('sound', 'flawed')), PRIMARY KEY (assessment, number)
        )
        """,
    )
    index(db, "assessments (path)", "judge_calls (run, question)")


def m004_curated_sets(db: "Database") -> None:
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


def m005_reviews(db: "Database") -> None:
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


def m006_training_and_evaluation(db: "Database") -> None:
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


def m007_chats(db: "Database") -> None:
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


def m008_accounts(db: "Database") -> None:
    """Accounts of those who open the project in the app, and their logins."""
    create(
        db,
        """
        accounts (
            name TEXT PRIMARY KEY REFERENCES reviewers,
            role TEXT NOT NULL CHECK (role IN ('viewer', 'reviewer', 'admin')), password TEXT NOT NULL,
            created REAL NOT NULL
        )
        """,
        """
        logins (
            token TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
            expires REAL NOT NULL
        )
        """,
    )
    index(db, "logins (account)")


def m009_excluded_pairs(db: "Database") -> None:
    """What tells quickly whether anything was left out of a queue since."""
    db.execute("CREATE INDEX pairs_by_excluded ON pairs (run) WHERE excluded IS NOT NULL")


def migrations() -> "Migrations":
    """Return the migrations in their order; sqlite-utils is loaded here, as it takes longer than all the rest."""
    from sqlite_utils.migrations import Migrations

    known = Migrations("insightv")
    for step in (
        m001_questions_and_runs,
        m002_paths,
        m003_assessments,
        m004_curated_sets,
        m005_reviews,
        m006_training_and_evaluation,
        m007_chats,
        m008_accounts,
        m009_excluded_pairs,
    ):
        known()(step)
    return known


def create(db: "Database", *tables: str) -> None:
    """Create STRICT tables."""
    for table in tables:
        db.execute(f"CREATE TABLE {table.strip()} STRICT")


def index(db: "Database", *columns: str) -> None:
    """Create an index for each "table (columns)", named after both."""
    for each in columns:
        table, _, rest = each.partition(" ")
        name = "_".join(word.strip("(),") for word in rest.split() if word != "DESC")
        db.execute(f"CREATE INDEX {table}_by_{name} ON {each}")

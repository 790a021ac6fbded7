"""Formats 1 and 3 of `catalogue.sqlite`. Times are float64 seconds on the presentation timeline, spans half-open.

In format 1 nothing reads or writes `kv_clips`, `kv_frames` and `landmarks`: the first catalogues of that format do
not have them.
"""

from __future__ import annotations

HAS_BLOCKS = 3
"""The first format with KV blocks."""

SCHEMA = """
CREATE TABLE store (
    -- One row. `removals` grows whenever frames leave, so that an index that still holds them is known as stale.
    removals INTEGER NOT NULL
);
INSERT INTO store VALUES (0);

CREATE TABLE videos (
    video_id TEXT PRIMARY KEY,
    content_id TEXT NOT NULL,
    settings_hash TEXT NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    width INTEGER,
    height INTEGER,
    average_fps REAL,
    codec TEXT,
    pts_offset_seconds REAL NOT NULL,
    duration_seconds REAL,
    is_finished INTEGER NOT NULL DEFAULT 0,
    committed_until REAL NOT NULL DEFAULT 0,
    added_at TEXT NOT NULL,
    memory_file TEXT,
    memory_bytes INTEGER NOT NULL DEFAULT 0,
    memory_sha256 TEXT,
    UNIQUE (content_id, settings_hash)
);

CREATE TABLE clips (
    clip_id INTEGER PRIMARY KEY AUTOINCREMENT,
    video_id TEXT NOT NULL REFERENCES videos ON DELETE CASCADE,
    start_seconds REAL NOT NULL,
    end_seconds REAL NOT NULL,
    segment_file TEXT,
    segment_bytes INTEGER NOT NULL,
    segment_sha256 TEXT
);
-- How far the video's log of KV blocks is durable with this clip: `vidmem.kv.records.Position`.
CREATE TABLE kv_clips (
    clip_id INTEGER PRIMARY KEY REFERENCES clips ON DELETE CASCADE,
    segment INTEGER NOT NULL,
    end_offset INTEGER NOT NULL,
    num_blocks INTEGER NOT NULL
);

-- What internal retrieval looks at, of a few frames in a row: `vidmem.kv.landmarks`.
CREATE TABLE landmarks (
    clip_id INTEGER NOT NULL REFERENCES clips ON DELETE CASCADE,
    first_frame INTEGER NOT NULL, -- its place in its video
    num_frames INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (clip_id, first_frame)
) WITHOUT ROWID;

CREATE INDEX clips_of_video ON clips (video_id, start_seconds);

CREATE TABLE frames (
    frame_id INTEGER PRIMARY KEY AUTOINCREMENT,
    video_id TEXT NOT NULL REFERENCES videos ON DELETE CASCADE,
    clip_id INTEGER NOT NULL REFERENCES clips ON DELETE CASCADE,
    segment_row INTEGER NOT NULL,
    pts_seconds REAL NOT NULL,
    end_seconds REAL NOT NULL,
    tokens_crc32 INTEGER NOT NULL,
    thumbnail_file TEXT,
    thumbnail_bytes INTEGER NOT NULL,
    thumbnail_crc32 INTEGER
);
CREATE INDEX frames_of_video ON frames (video_id, pts_seconds);
CREATE INDEX frames_of_clip ON frames (clip_id);

-- The KV block of each frame, by its place in the video's log. Over the frames of a video ids rise by 0 or 1, and by 1
-- from clip to clip.
CREATE TABLE kv_frames (
    frame_id INTEGER PRIMARY KEY REFERENCES frames ON DELETE CASCADE,
    block_id INTEGER NOT NULL
);

-- Apart from `frames`: a vector is ten times as long as the rest of its row, which is read far more often.
CREATE TABLE embeddings (
    frame_id INTEGER PRIMARY KEY REFERENCES frames ON DELETE CASCADE,
    vector BLOB NOT NULL -- little-endian float32, unit length
);

CREATE TABLE questions (
    question_id INTEGER PRIMARY KEY AUTOINCREMENT,
    asked_at TEXT NOT NULL,
    question TEXT NOT NULL,
    text TEXT NOT NULL,
    evidence TEXT NOT NULL, -- JSON list of hits
    timings TEXT NOT NULL   -- JSON object, seconds by step
);
"""

OBJECTS = (
    # The first object that comes to a store brings these tables: a catalogue without them is of the same format, and
    # has no objects. A program that does not know them leaves them alone. Where it removes a video, the rows of its
    # objects go with it, because they refer to it and every writer keeps references; `removals` of `store` grows, which
    # says that looks have left. Their crops are in a folder that it does not look into: leftovers, which the next
    # opening by a program that knows them removes.
    """
    CREATE TABLE object_store (
        -- One row. `removals` grows whenever objects leave, but not when they leave with their video: see `store`.
        removals INTEGER NOT NULL
    )
    """,
    "INSERT INTO object_store VALUES (0)",
    """
    CREATE TABLE objects (
        object_id INTEGER PRIMARY KEY AUTOINCREMENT,
        video_id TEXT NOT NULL REFERENCES videos ON DELETE CASCADE,
        label TEXT NOT NULL, -- empty if it has none
        label_score REAL NOT NULL,
        origin TEXT NOT NULL, -- asked or found
        added_at TEXT NOT NULL
    )
    """,
    "CREATE INDEX objects_of_video ON objects (video_id)",
    """
    CREATE TABLE object_pieces (
        object_id INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE,
        first_seconds REAL NOT NULL, -- of the first and the last box of this piece of the track
        last_seconds REAL NOT NULL,
        data BLOB NOT NULL, -- `vidmem.index.tracks`
        PRIMARY KEY (object_id, first_seconds)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE object_spans (
        object_id INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE,
        start_seconds REAL NOT NULL,
        end_seconds REAL NOT NULL,
        PRIMARY KEY (object_id, start_seconds)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE looks (
        look_id INTEGER PRIMARY KEY AUTOINCREMENT,
        object_id INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE,
        seconds REAL NOT NULL,
        box_left REAL NOT NULL, -- fractions of the frame
        box_top REAL NOT NULL,
        box_right REAL NOT NULL,
        box_bottom REAL NOT NULL,
        crop_file TEXT NOT NULL,
        crop_bytes INTEGER NOT NULL,
        crop_crc32 INTEGER NOT NULL,
        mask_height INTEGER NOT NULL,
        mask_width INTEGER NOT NULL,
        mask_crc32 INTEGER NOT NULL,
        mask BLOB NOT NULL -- `vidmem.index.masks`
    )
    """,
    "CREATE INDEX looks_of_object ON looks (object_id, seconds)",
    """
    CREATE TABLE look_embeddings (
        look_id INTEGER PRIMARY KEY REFERENCES looks ON DELETE CASCADE,
        vector BLOB NOT NULL -- little-endian float32, unit length
    )
    """,
)

EXPIRED = (
    # The first clips that leave a stream, or whoever first says what is to leave, bring these tables: a catalogue
    # without them is of the same format. A program that does not know them finds fewer clips in a stream, and in kv
    # mode takes the blocks of those that have left for lost.
    """
    CREATE TABLE expired (
        video_id TEXT PRIMARY KEY REFERENCES videos ON DELETE CASCADE,
        until_seconds REAL NOT NULL, -- each clip that begins before was looked at: it has left, or stayed behind
        num_clips INTEGER NOT NULL, -- that have left
        num_frames INTEGER NOT NULL,
        first_segment INTEGER NOT NULL, -- where the log of KV blocks begins: `vidmem.kv.records.Beginning`
        first_block INTEGER NOT NULL
    )
    """,
    # One row: what was last said of how long clips are kept. NULL is no bound.
    "CREATE TABLE retention (days REAL, num_bytes INTEGER, important_days REAL)",
    "INSERT INTO retention VALUES (NULL, NULL, NULL)",
)

STREAMS = (
    # The first stream that comes to a store brings these tables, as the first object does its own: a catalogue without
    # them is of the same format, and a program that does not know them reads its streams as videos.
    "CREATE TABLE streams (video_id TEXT PRIMARY KEY REFERENCES videos ON DELETE CASCADE)",
    # From `start_seconds` on, up to the next row, time of day is `wall_seconds` (since 1970) plus what has passed. Only
    # where the clocks part is there another row: a row for each clip would be 86,400 a day.
    """
    CREATE TABLE stream_clocks (
        video_id TEXT NOT NULL REFERENCES videos ON DELETE CASCADE,
        start_seconds REAL NOT NULL,
        wall_seconds REAL NOT NULL,
        PRIMARY KEY (video_id, start_seconds)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE stream_gaps (
        video_id TEXT NOT NULL REFERENCES videos ON DELETE CASCADE,
        start_seconds REAL NOT NULL,
        end_seconds REAL NOT NULL,
        wall_start REAL NOT NULL,
        wall_end REAL NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (video_id, start_seconds)
    ) WITHOUT ROWID
    """,
)

ALERTS = (
    # The first standing question that is put to a store brings these tables, as the first object does its own: a
    # catalogue without them is of the same format, and a program that does not know them leaves them alone.
    """
    CREATE TABLE alerts (
        alert_id INTEGER PRIMARY KEY AUTOINCREMENT,
        text TEXT NOT NULL,
        phrase TEXT NOT NULL,
        change TEXT NOT NULL, -- appears or disappears
        comes_back INTEGER NOT NULL,
        once INTEGER NOT NULL,
        gone_seconds REAL NOT NULL,
        source TEXT, -- of a stream; NULL: of every one
        asked_by TEXT NOT NULL,
        asked_at TEXT NOT NULL,
        is_done INTEGER NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE alerts_told (
        told_id INTEGER PRIMARY KEY AUTOINCREMENT,
        alert_id INTEGER NOT NULL REFERENCES alerts ON DELETE CASCADE,
        video_id TEXT NOT NULL REFERENCES videos ON DELETE CASCADE,
        told_at TEXT NOT NULL,
        message TEXT NOT NULL,
        evidence TEXT NOT NULL -- JSON of a hit
    )
    """,
    "CREATE INDEX told_of_alert ON alerts_told (alert_id)",
    "CREATE INDEX told_of_video ON alerts_told (video_id)",
    """
    CREATE TABLE alert_progress (
        video_id TEXT PRIMARY KEY REFERENCES videos ON DELETE CASCADE,
        checked_until REAL NOT NULL -- what was committed of it up to here was checked
    )
    """,
    """
    CREATE TABLE alert_sights (
        alert_id INTEGER NOT NULL REFERENCES alerts ON DELETE CASCADE,
        video_id TEXT NOT NULL REFERENCES videos ON DELETE CASCADE,
        sight TEXT NOT NULL, -- JSON of `vidmem.pipelines.sight.Sight` at that time
        PRIMARY KEY (alert_id, video_id)
    ) WITHOUT ROWID
    """,
)

-- The views and macros beside the tables. Each statement begins with CREATE at the start of a line. Names that begin with an
-- underscore are the reader's own:
--   _streams(symbol, feed, class, depth, since, until)  every stream ever covered; until is null while its run is open;
--                                                class says how completely it can prove itself
--   _turns(symbol, feed, pos, next_pos, since, until)  of streams whose clock was set back, the stretches where it was not
--   _doubts(symbol, feed, low, high)             instants that lie in several of them, of which nothing is promised
--   _archive(horizon)                            receive time of the newest record, null in an empty archive
-- What is between --[turns and --] is left out where no stream's clock was set back: it costs half as much again.
-- A bare name that is also a parameter is the parameter, so columns are qualified throughout.

-- A time given as any timestamp or date, as text (UTC unless it says otherwise) or as integer ns.
CREATE MACRO _instant(ts) AS
    coalesce(try_cast(ts::VARCHAR AS TIMESTAMPTZ_NS)::TIMESTAMP_NS, make_timestamp_ns(try_cast(ts::VARCHAR AS BIGINT)));

-- Whether nothing is missing in a stream at an instant: inside its life and not inside a gap.
CREATE MACRO _covered(of_symbol, of_feed, at_time) AS (
    at_time IS NOT NULL
    AND EXISTS (
        FROM _streams s
        WHERE s.symbol = of_symbol AND s.feed = of_feed AND s.since <= at_time AND (s.until IS NULL OR at_time <= s.until)
    )
    AND NOT EXISTS (
        FROM _doubts d WHERE d.symbol = of_symbol AND d.feed = of_feed AND d.low <= at_time AND at_time <= d.high
    )
    AND NOT EXISTS (
        FROM gaps g
        WHERE g.symbol = of_symbol AND g.feed = of_feed AND g.start < at_time AND (g."end" IS NULL OR at_time < g."end")
    )
);

-- The turn of a stream that an instant is answered from: the last one it lies in, else the one that had ended last. No row
-- where the clock was never set back.
CREATE MACRO _turn(of_symbol, of_feed, at_time) AS TABLE
SELECT t.pos, t.next_pos FROM _turns t
WHERE t.symbol = of_symbol AND t.feed = of_feed AND t.since <= at_time
ORDER BY t.until >= at_time DESC, CASE WHEN t.until >= at_time THEN t.pos END DESC, t.until DESC, t.pos DESC LIMIT 1;

-- The same for a stretch of time. A gap's times are receive times, so it is widened by a second for what was on its way.
CREATE MACRO _whole(of_symbol, of_feed, from_time, to_time) AS (
    EXISTS (
        FROM _streams s
        WHERE s.symbol = of_symbol AND s.feed = of_feed AND s.since <= from_time AND (s.until IS NULL OR to_time <= s.until)
    )
    AND NOT EXISTS (
        FROM gaps g
        WHERE g.symbol = of_symbol AND g.feed = of_feed AND g.start < to_time + INTERVAL 1 SECOND
            AND (g."end" IS NULL OR from_time - INTERVAL 1 SECOND < g."end")
    )
);

-- The levels of a book at an instant, best first. The feed is the deepest one that is sequenced, unless it is given. Of a feed
-- that is not, they are those of the newest push, age_ns says how old it is, and after a gap nothing is valid until the next.
CREATE MACRO book_at(symbol, ts, feed := NULL, depth := NULL) AS TABLE
WITH chosen AS (
    SELECT s.feed AS name, s.class = 'sequenced' AS sequenced,
        s.since <= _instant(ts) AND (s.until IS NULL OR _instant(ts) <= s.until) AS living
    FROM _streams s
    WHERE s.symbol = symbol AND s.depth IS NOT NULL AND (feed IS NULL OR s.feed = feed)
    ORDER BY s.depth DESC LIMIT 1
),
--[turns
turn AS (FROM _turn(symbol, (SELECT c.name FROM chosen c), _instant(ts))),
--]
wholes AS (
    SELECT b.ts_recv, b.pos, b.seq, b.epoch, b.source, 9223372036854775807 AS rank
    FROM book_snapshots b
    WHERE b.symbol = symbol AND b.feed = (SELECT c.name FROM chosen c) AND b.ts_recv <= _instant(ts)
        --[turns
        AND b.pos >= coalesce((SELECT t.pos FROM turn t), 0)
        AND b.pos < coalesce((SELECT t.next_pos FROM turn t), 9223372036854775807)
        --]
        -- An answer to a request that came while the book was live is kept to compare with; it begins nothing.
        AND (b.source <> 'refresh' OR b.epoch = b.pos)
    --[turns
    UNION ALL
    -- All that the turn went on from, whenever the clock said that it was.
    SELECT b.ts_recv, b.pos, b.seq, b.epoch, b.source, b.pos AS rank
    FROM book_snapshots b JOIN turn t ON b.pos < t.pos
    WHERE b.symbol = symbol AND b.feed = (SELECT c.name FROM chosen c) AND (b.source <> 'refresh' OR b.epoch = b.pos)
    --]
),
newest AS (
    SELECT w.ts_recv, w.pos, w.seq, w.epoch, w.source
    FROM wholes w ORDER BY w.rank DESC, w.ts_recv DESC, w.seq DESC NULLS LAST, w.pos DESC LIMIT 1
),
-- Whether the instant is inside a gap, and where the newest one before it ended.
holes AS (
    SELECT coalesce(bool_or(g.start < _instant(ts) AND (g."end" IS NULL OR _instant(ts) < g."end")), false) AS inside,
        max(g.repaired_by) FILTER (WHERE g."end" <= _instant(ts)
            --[turns
            AND g.repaired_by < coalesce((SELECT t.next_pos FROM turn t), 9223372036854775807)
            --]
        ) AS ended
    FROM gaps g WHERE g.symbol = symbol AND g.feed = (SELECT c.name FROM chosen c)
),
told AS (
    SELECT CASE WHEN NOT c.sequenced AND n.ts_recv <= _instant(ts) THEN epoch_ns(_instant(ts)) - epoch_ns(n.ts_recv) END AS age_ns,
        c.living AND NOT h.inside AND (c.sequenced OR (n.source = 'push' AND coalesce(h.ended, 0) <= n.pos))
        AND NOT EXISTS (
            FROM _doubts d
            WHERE d.symbol = symbol AND d.feed = c.name AND d.low <= _instant(ts) AND _instant(ts) <= d.high
        ) AS valid
    FROM newest n, chosen c, holes h
),
-- In two steps, so that the levels of one book are read and not those of every book before it.
base AS (
    SELECT b.epoch, b.seq, b.ts_recv, b.bids, b.asks
    FROM book_snapshots b
    WHERE b.symbol = symbol AND b.feed = (SELECT c.name FROM chosen c)
        AND b.ts_recv = (SELECT n.ts_recv FROM newest n) AND b.pos = (SELECT n.pos FROM newest n)
        AND b.seq IS NOT DISTINCT FROM (SELECT n.seq FROM newest n)
    LIMIT 1
),
changes AS (
    SELECT d.side, d.price, d.size, d.seq, d.ts_recv
    FROM book_deltas d
    WHERE d.symbol = symbol AND d.feed = (SELECT c.name FROM chosen c) AND d.ts_recv <= _instant(ts)
        AND d.epoch = (SELECT n.epoch FROM newest n) AND d.seq > (SELECT n.seq FROM newest n)
        --[turns
        AND d.pos >= coalesce((SELECT t.pos FROM turn t), 0)
        AND d.pos < coalesce((SELECT t.next_pos FROM turn t), 9223372036854775807)
    UNION ALL
    SELECT d.side, d.price, d.size, d.seq, d.ts_recv
    FROM book_deltas d JOIN turn t ON d.pos < t.pos
    WHERE d.symbol = symbol AND d.feed = (SELECT c.name FROM chosen c)
        AND d.epoch = (SELECT n.epoch FROM newest n) AND d.seq > (SELECT n.seq FROM newest n)
        --]
),
newer AS (SELECT max(c.seq) AS seq, arg_max(c.ts_recv, c.seq) AS ts_recv FROM changes c),
found AS (
    SELECT 'bid' AS side, unnest(b.bids, max_depth := 2), -1 AS seq FROM base b
    UNION ALL BY NAME
    SELECT 'ask' AS side, unnest(b.asks, max_depth := 2), -1 AS seq FROM base b
    UNION ALL BY NAME
    SELECT c.side, c.price, c.size, c.seq FROM changes c WHERE c.price IS NOT NULL
),
levels AS (
    SELECT f.side, f.price, arg_max(f.size, f.seq) AS size FROM found f GROUP BY f.side, f.price
),
ranked AS (
    SELECT l.side, l.price, l.size,
        row_number() OVER (PARTITION BY l.side ORDER BY CASE WHEN l.side = 'bid' THEN -l.price ELSE l.price END) AS level
    FROM levels l WHERE l.size > 0
)
SELECT r.side, r.level, r.price, r.size, c.name AS feed, b.epoch,
    coalesce(n.seq, b.seq) AS seq, coalesce(n.ts_recv, b.ts_recv) AS ts_recv, t.valid, t.age_ns
FROM ranked r, base b, newer n, chosen c, told t
WHERE depth IS NULL OR r.level <= depth
ORDER BY r.side DESC, r.level;

-- The newest n levels of each side: the book as of the last record, or of the stream's end.
CREATE MACRO top(symbol, n, feed := NULL) AS TABLE
FROM book_at(
    symbol,
    (SELECT least(a.horizon, (
        SELECT arg_max(coalesce(s.until, a.horizon), s.depth) FROM _streams s
        WHERE s.symbol = symbol AND s.depth IS NOT NULL AND (feed IS NULL OR s.feed = feed)
    )) FROM _archive a),
    feed := feed, depth := n
);

-- The newest recorded best bid and offer at an instant.
CREATE MACRO bbo_at(symbol, ts) AS TABLE
WITH
--[turns
turn AS (FROM _turn(symbol, 'bbo', _instant(ts))),
--]
quotes AS (
    SELECT q.ts_event, q.ts_recv, q.symbol, q.pos, q.seq, q.bid, q.bid_size, q.ask, q.ask_size, 9223372036854775807 AS rank
    FROM bbo q
    WHERE q.symbol = symbol AND q.ts_recv <= _instant(ts)
        --[turns
        AND q.pos >= coalesce((SELECT t.pos FROM turn t), 0)
        AND q.pos < coalesce((SELECT t.next_pos FROM turn t), 9223372036854775807)
    UNION ALL
    SELECT q.ts_event, q.ts_recv, q.symbol, q.pos, q.seq, q.bid, q.bid_size, q.ask, q.ask_size, q.pos AS rank
    FROM bbo q JOIN turn t ON q.pos < t.pos WHERE q.symbol = symbol
        --]
)
SELECT q.ts_event, q.ts_recv, q.symbol, q.pos,
    q.seq, q.bid, q.bid_size, q.ask, q.ask_size, _covered(symbol, 'bbo', _instant(ts)) AS valid
FROM quotes q ORDER BY q.rank DESC, q.ts_recv DESC, q.pos DESC LIMIT 1;

-- Bars made from trades, by the venue's time. A bar that a gap of the trades overlaps, or that began before they were recorded or
-- ends after, is not valid.
CREATE MACRO ohlcv(symbol, "interval") AS TABLE
WITH bars AS (
    SELECT time_bucket("interval"::INTERVAL, make_timestamp(epoch_ns(t.ts_event) // 1000)) AS bucket,
        t.price, t.size, (t.ts_event, coalesce(t.trade_seq, t.pos)) AS key
    FROM trades t WHERE t.symbol = symbol
),
sums AS (
    SELECT b.bucket, arg_min(b.price, b.key) AS open, max(b.price) AS high, min(b.price) AS low,
        arg_max(b.price, b.key) AS close, sum(b.size) AS volume, sum(b.price * b.size) AS turnover, count(*) AS count
    FROM bars b GROUP BY b.bucket
),
ends AS (SELECT s.*, s.bucket + "interval"::INTERVAL AS bucket_end FROM sums s),
-- Trades have numbers, which are no chain: no other feed is of that class.
made_of AS (SELECT min(s.feed) AS feed FROM _streams s WHERE s.symbol = symbol AND s.class = 'id-only')
SELECT e.bucket, e.open, e.high, e.low, e.close, e.volume, e.turnover, e.count,
    _whole(symbol, (SELECT m.feed FROM made_of m), e.bucket, e.bucket_end) AS valid
FROM ends e ORDER BY e.bucket;

-- The life of each stream as intervals. A null end is open. Where there is no gap, a stream that is not sequenced is only
-- connected: what was lost on the way does not show in it, so nothing says that it is complete.
CREATE VIEW _coverage AS
WITH runs AS (
    SELECT s.symbol, s.feed, s.class, s.since AS start, s.until FROM _streams s
    UNION ALL
    SELECT g.symbol, g.feed, s.class, g."end" AS start, s.until
    FROM gaps g JOIN _streams s ON s.symbol = g.symbol AND s.feed = g.feed WHERE g."end" IS NOT NULL
),
ended AS (
    SELECT r.symbol, r.feed, r.class, r.start, r.until,
        (SELECT min(g.start) FROM gaps g WHERE g.symbol = r.symbol AND g.feed = r.feed AND g.start >= r.start) AS broken
    FROM runs r
)
SELECT g.symbol, g.feed, g.start, g."end", g.cause AS state, s.class
FROM gaps g LEFT JOIN _streams s ON s.symbol = g.symbol AND s.feed = g.feed
UNION ALL
SELECT e.symbol, e.feed, e.start, coalesce(e.broken, e.until) AS "end",
    CASE e.class WHEN 'unsequenced' THEN 'connected' ELSE 'covered' END AS state, e.class
FROM ended e
WHERE e.broken IS NULL OR e.broken > e.start;

CREATE MACRO coverage(symbol) AS TABLE
SELECT c.symbol, c.feed, c.start, c."end", c.state, c.class
FROM _coverage c WHERE c.symbol = symbol ORDER BY c.feed, c.start, c."end";

-- Each bar as last pushed.
CREATE VIEW bars AS
SELECT k.symbol, k.period, k.open_time, k.open, k.high, k.low, k.close, k.volume, k.turnover, k.count,
    k.ts_event, k.ts_recv, k.venue, k.pos
FROM klines k
QUALIFY row_number() OVER (PARTITION BY k.venue, k.symbol, k.period, k.open_time ORDER BY k.ts_recv DESC, k.pos DESC) = 1;
